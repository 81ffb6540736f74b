//! A connection in memory that can be cut, to an API server that may not be there.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apiserver::{
    chain::Server,
    local::Local,
    user::{ALL_AUTHENTICATED, MASTERS, UserInfo},
};
use bytes::Bytes;
use component_base::rng;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The way to the server; clones are the same way.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    server: Option<Arc<Server>>,
    /// Cancelled when the server dies: what it works on ends there and then.
    life: CancellationToken,
    /// Cancelled when connections are cut: the server goes on with what it has begun.
    connections: CancellationToken,
}

impl Line {
    /// From now on this server answers.
    pub fn connect(&self, server: Arc<Server>) {
        let mut state = self.0.lock();
        state.server = Some(server);
        state.life = CancellationToken::new();
        state.connections = CancellationToken::new();
    }

    /// The server is gone at once.
    pub fn kill(&self) {
        let mut state = self.0.lock();
        state.server = None;
        state.life.cancel();
        state.connections.cancel();
    }

    /// All connections break; new ones can be made.
    pub fn cut(&self) {
        let mut state = self.0.lock();
        state.connections.cancel();
        state.connections = CancellationToken::new();
    }

    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection is broken")
}

async fn moment() {
    tokio::time::sleep(Duration::from_micros(rng::range(0..2000))).await;
}

type LineBody = UnsyncBoxBody<Bytes, io::Error>;

impl tower::Service<Request<Body>> for Line {
    type Response = Response<LineBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = self.0.lock();
        let (server, life, connection) = (state.server.clone(), state.life.clone(), state.connections.clone());
        drop(state);
        Box::pin(async move {
            let server = server.ok_or_else(broken)?;
            let user = UserInfo::new("admin", &[MASTERS, ALL_AUTHENTICATED]);
            let served = async move {
                moment().await;
                let answer = Local::new(server, Some(user)).oneshot(request).await;
                moment().await;
                answer
            };
            // The server works in a task of its own, so that it can outlive the connection.
            let working = tokio::spawn(async move { life.run_until_cancelled(served).await });
            let answer = tokio::select! {
                () = connection.cancelled() => return Err(broken()),
                answer = working => answer.map_err(io::Error::other)?.ok_or_else(broken)?,
            };
            let Ok(response) = answer;
            Ok(response.map(|body| until(body, connection)))
        })
    }
}

/// The body, as far as it comes before the connection is cut.
fn until(body: apiserver::server::Body, connection: CancellationToken) -> LineBody {
    let frames = body.into_data_stream().map(|data| data.map(Frame::data).map_err(io::Error::other));
    let frames =
        futures::stream::unfold((frames.boxed(), connection, false), |(mut frames, connection, ended)| async move {
            if ended {
                return None;
            }
            let frame = tokio::select! {
                biased;
                () = connection.cancelled() => Some(Err(broken())),
                frame = frames.next() => frame,
            };
            let frame = frame?;
            let ended = frame.is_err();
            Some((frame, (frames, connection, ended)))
        });
    StreamBody::new(frames).boxed_unsync()
}
