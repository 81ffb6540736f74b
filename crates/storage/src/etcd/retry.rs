//! Requests that no member has taken are sent again.
//!
//! The client spreads requests over the members and learns by a request that one of them is down: the request fails,
//! although another member would have answered, and was never sent, so that writes may be tried again too. Upstream's
//! client does the same (`retry_interceptor.go`).

use std::{error::Error as _, time::Duration};

use tonic::ConnectError;

/// Tries, and the longest pause between two: together as long as upstream's client.
const TRIES: u64 = 100;
const PAUSE_MS: u64 = 25;

pub(super) type Answer<T> = Result<T, etcd_client::Error>;

/// Makes a request until it was sent.
pub(super) async fn until_sent<T, F>(mut request: impl FnMut() -> F) -> Answer<T>
where
    F: Future<Output = Answer<T>>,
{
    let mut tries = 0;
    loop {
        match request().await {
            Err(error) if tries < TRIES && was_not_sent(&error) => {
                tokio::time::sleep(Duration::from_millis(tries.min(PAUSE_MS))).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

fn was_not_sent(error: &etcd_client::Error) -> bool {
    let mut cause = match error {
        etcd_client::Error::GRpcStatus(status) => status.source(),
        etcd_client::Error::TransportError(error) => error.source(),
        _ => None,
    };
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
