//! gRPC health probes (grpc.health.v1). The two messages are small enough to be written here.

use super::run::{Outcome, address};
use std::time::Duration;
use tonic::Code;
use tonic::transport::Endpoint;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

fn status_name(status: i32) -> &'static str {
    match status {
        0 => "UNKNOWN",
        1 => "SERVING",
        2 => "NOT_SERVING",
        _ => "SERVICE_UNKNOWN",
    }
}

pub(super) async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let address = address(host, port);
    let limit = component_base::duration::format_duration(timeout);
    let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => endpoint.connect_timeout(timeout),
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    let connected = tokio::time::timeout(timeout, endpoint.connect()).await;
    let Ok(Ok(channel)) = connected else {
        let why = format!("timeout: failed to connect service {address:?} within {limit}: context deadline exceeded");
        return Outcome::Failure(why);
    };
    let mut client = tonic::client::Grpc::new(channel);
    let call = async {
        client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec: tonic_prost::ProstCodec<HealthCheckRequest, HealthCheckResponse> =
            tonic_prost::ProstCodec::default();
        client.unary(tonic::Request::new(HealthCheckRequest { service: service.to_owned() }), path, codec).await
    };
    match tokio::time::timeout(timeout, call).await {
        Err(_) => Outcome::Failure(format!("timeout: health rpc did not complete within {limit}")),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Outcome::Failure(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into(),
        ),
        Ok(Err(status)) => Outcome::Failure(format!("error: health rpc probe failed: {}", status.message())),
        Ok(Ok(answer)) => match answer.into_inner().status {
            SERVING => Outcome::Success,
            other => Outcome::Failure(format!("service unhealthy (responded with {:?})", status_name(other))),
        },
    }
}
