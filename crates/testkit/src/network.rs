//! A connection that a test can break: requests that never arrive, answers that get lost, watches that end.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apiserver::local::Local;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyDataStream, BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered.
    None,
    /// It arrives after a while.
    Delay(Duration),
    /// It never arrives, and the sender learns of it.
    LoseRequest,
    /// It arrives, and the answer is lost.
    LoseAnswer,
    /// It never arrives, and the sender waits for ever.
    Hang,
    /// The server says that the past it asks for is gone.
    Gone,
}

type Answer = UnsyncBoxBody<Bytes, io::Error>;
type Decide = dyn Fn(&Request<Body>) -> Fault + Send + Sync;

/// A network between a client and the API server. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    decide: Arc<Mutex<Arc<Decide>>>,
    /// Ends every answer that is still coming.
    cut: Arc<Mutex<CancellationToken>>,
}

impl Default for Network {
    fn default() -> Self {
        Network { decide: Arc::new(Mutex::new(Arc::new(|_| Fault::None))), cut: Arc::default() }
    }
}

impl Network {
    /// From now on `decide` says what becomes of each request.
    pub fn set(&self, decide: impl Fn(&Request<Body>) -> Fault + Send + Sync + 'static) {
        *self.decide.lock() = Arc::new(decide);
    }

    /// From now on every request is answered.
    pub fn heal(&self) {
        self.set(|_| Fault::None);
    }

    /// Ends every watch that is open.
    pub fn cut(&self) {
        std::mem::take(&mut *self.cut.lock()).cancel();
    }

    pub(crate) fn client(&self, server: Local) -> Client {
        Client::new(Connection { network: self.clone(), server }, "default")
    }
}

#[derive(Clone)]
struct Connection {
    network: Network,
    server: Local,
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Answer>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let decide = self.network.decide.lock().clone();
        let (fault, cut, mut server) = (decide(&request), self.network.cut.lock().clone(), self.server.clone());
        Box::pin(async move {
            match fault {
                Fault::LoseRequest => return Err(io::ErrorKind::ConnectionReset.into()),
                Fault::Hang => return std::future::pending().await,
                Fault::Gone => return gone(),
                Fault::Delay(time) => tokio::time::sleep(time).await,
                Fault::None | Fault::LoseAnswer => {}
            }
            let Ok(response) = tower::Service::call(&mut server, request).await;
            if fault == Fault::LoseAnswer {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let (head, body) = response.into_parts();
            let frames = BodyDataStream::new(body).map_ok(http_body::Frame::data).map_err(io::Error::other);
            let body = StreamBody::new(frames.take_until(cut.cancelled_owned()));
            Ok(Response::from_parts(head, body.boxed_unsync()))
        })
    }
}

fn gone() -> io::Result<Response<Answer>> {
    let status =
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}"#;
    let body = Full::new(Bytes::from_static(status.as_bytes())).map_err(|never| match never {});
    Response::builder().status(StatusCode::GONE).body(body.boxed_unsync()).map_err(io::Error::other)
}
