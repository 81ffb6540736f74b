//! Calls to extenders. A decision cannot go on without the answer, so its thread waits for it; the connections live on a
//! runtime of their own, so that waiting blocks nothing that the answer needs.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use kube::client::Body;
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// The runtime of the connections.
#[derive(Debug)]
pub(super) struct Connections(Option<Runtime>);

impl Connections {
    pub(super) fn new() -> std::io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("extenders")
            .enable_all()
            .build()
            .map(|runtime| Connections(Some(runtime)))
    }

    fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The way to one extender.
pub(super) struct Transport {
    connections: Arc<Connections>,
    client: kube::Client,
    prefix: String,
    timeout: Duration,
}

/// A call under way.
pub(super) struct Call(mpsc::Receiver<Result<Value, String>>);

impl Call {
    /// Waits for the answer.
    pub(super) fn wait(self) -> Result<Value, String> {
        let ended = || Err("the connection ended".to_owned());
        let wait = || self.0.recv().unwrap_or_else(|_| ended());
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }
}

impl Transport {
    pub(super) fn new(
        connections: Arc<Connections>,
        config: kube::Config,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Self, String> {
        let handle = connections.handle().ok_or("no runtime")?;
        let _inside = handle.enter();
        component_base::kubeconfig::install_crypto_provider();
        let client = kube::Client::try_from(config).map_err(|error| error.to_string())?;
        Ok(Transport { client, prefix: prefix.trim_end_matches('/').to_owned(), timeout, connections })
    }

    /// Starts a call.
    pub(super) fn start(&self, verb: &str, body: &Value) -> Call {
        let (answer, receiver) = mpsc::sync_channel(1);
        let exchange = self.exchange(verb, body);
        if let Some(handle) = self.connections.handle() {
            // Who waits may have gone.
            handle.spawn(async move { drop(answer.send(exchange.await)) });
        }
        Call(receiver)
    }

    /// Makes a call without blocking the thread.
    pub(super) async fn call(&self, verb: &str, body: &Value) -> Result<Value, String> {
        let exchange = self.exchange(verb, body);
        match self.connections.handle() {
            Some(handle) => handle.spawn(exchange).await.map_err(|error| error.to_string())?,
            None => Err("no runtime".to_owned()),
        }
    }

    fn exchange(&self, verb: &str, body: &Value) -> impl Future<Output = Result<Value, String>> + Send + 'static {
        let (client, url) = (self.client.clone(), format!("{}/{verb}", self.prefix));
        let (verb, body, timeout) = (verb.to_owned(), body.to_string(), self.timeout);
        async move {
            let request = http::Request::post(format!("/{verb}"))
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.into_bytes()))
                .map_err(|error| error.to_string())?;
            let exchange = async {
                let failed = |error: String| format!("Post {url:?}: {error}");
                let response = client.send(request).await.map_err(|error| failed(chain(&error)))?;
                let status = response.status();
                if status != http::StatusCode::OK {
                    return Err(format!("failed {verb} with extender at URL {url}, code {}", status.as_u16()));
                }
                let bytes = response.into_body().collect_bytes().await.map_err(|error| failed(error.to_string()))?;
                serde_json::from_slice(&bytes).map_err(|error| error.to_string())
            };
            let late =
                format!("Post {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
            tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(late))
        }
    }
}

/// The error and what caused it: the client's own words do not name the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
