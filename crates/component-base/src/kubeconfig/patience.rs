//! A deadline for answers: a connection that has died silently must not keep who waits on it (a relist, a lease's renewal) for ever.
//! Watches, followed logs and upgraded connections last as long as they last.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use kube::client::{Body, DynBody};
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service};

/// Twice the time that servers give themselves by default.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service that gives up on answers that are not complete in time.
pub(super) struct Patience<S>(pub(super) S);

fn is_open_ended<B>(request: &Request<B>) -> bool {
    let flags = request.uri().query().unwrap_or_default().split('&');
    let lasts = |flag: &str| matches!(flag, "watch=true" | "watch=1" | "follow=true");
    request.headers().contains_key(header::UPGRADE) || flags.into_iter().any(lasts)
}

impl<S> Service<Request<Body>> for Patience<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let open_ended = is_open_ended(&request);
        let answer = self.0.call(request);
        if open_ended {
            return Box::pin(answer);
        }
        let deadline = Instant::now() + PATIENCE;
        Box::pin(async move {
            let whole = async {
                let (head, body) = answer.await?.into_parts();
                let body = Full::new(body.collect().await?.to_bytes()).map_err(|never| match never {});
                let body: Box<DynBody> = Box::new(body);
                Ok(Response::from_parts(head, body))
            };
            timeout_at(deadline, whole).await.unwrap_or_else(|late| Err(late.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tower::ServiceExt;

    use super::*;

    /// A server that sends a part of an answer and then nothing.
    async fn ask(uri: &str, upgrade: bool) -> Result<usize, BoxError> {
        let stalled = tower::service_fn(|_: Request<Body>| async {
            let part = futures::stream::iter([Ok::<_, BoxError>(Frame::data(bytes::Bytes::from("part")))]);
            let body: Box<DynBody> = Box::new(StreamBody::new(part.chain(futures::stream::pending()).boxed()));
            Ok::<_, BoxError>(Response::new(body))
        });
        let mut request = Request::get(uri);
        if upgrade {
            request = request.header(header::UPGRADE, "websocket");
        }
        let answer = Patience(stalled).oneshot(request.body(Body::empty())?).await?;
        let mut read = 0;
        let frames = async {
            let mut frames = answer.into_body().into_data_stream();
            while let Some(frame) = frames.next().await {
                read += frame.map_or(0, |data| data.len());
            }
        };
        let _endless = tokio::time::timeout(PATIENCE * 10, frames).await;
        Ok(read)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_should_end_has_a_deadline() {
        let began = Instant::now();
        assert!(ask("/api/v1/pods?limit=500", false).await.is_err());
        assert_eq!(began.elapsed(), PATIENCE);
        for (uri, upgrade) in [
            ("/api/v1/pods?resourceVersion=1&watch=true", false),
            ("/api/v1/namespaces/n/pods/p/log?follow=true", false),
            ("/api/v1/namespaces/n/pods/p/exec", true),
        ] {
            assert_eq!(ask(uri, upgrade).await.unwrap(), 4, "{uri}");
        }
    }
}
