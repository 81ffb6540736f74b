//! The server as a `tower::Service`, so that clients of the same process reach it without a socket.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    authn::{PeerAddress, TrustedIdentity},
    chain::Server,
    server::{Body, BoxError},
    user::UserInfo,
};

/// A connection in memory. With an identity, requests are that user's; without, they authenticate like any other.
#[derive(Clone)]
pub struct Local {
    server: Arc<Server>,
    identity: Option<UserInfo>,
    agent: Option<HeaderValue>,
}

impl Local {
    pub fn new(server: Arc<Server>, identity: Option<UserInfo>) -> Self {
        Local { server, identity, agent: None }
    }

    /// The same for a program of this name, which is the manager of the fields that it writes.
    pub fn named(self, program: &'static str) -> Self {
        Local { agent: Some(HeaderValue::from_static(program)), ..self }
    }
}

impl<B> tower::Service<Request<B>> for Local
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        if let Some(user) = &self.identity {
            request.extensions_mut().insert(TrustedIdentity(user.clone()));
        }
        if let Some(agent) = &self.agent {
            request.headers_mut().insert(header::USER_AGENT, agent.clone());
        }
        let server = Arc::clone(&self.server);
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}

impl component_base::serving::Handler for Local {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let extensions = request.extensions_mut();
        if let Some(address) = extensions.get::<std::net::SocketAddr>().copied() {
            extensions.insert(PeerAddress(address));
        }
        Box::pin(self.server.handle(request))
    }
}
