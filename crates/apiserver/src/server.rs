//! The parts of a running API server, and the seam to what answers other than the generic verbs.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::BytesMut;
pub use component_base::serving::{Body, BoxError};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;

use crate::{
    admission::AdmissionChain,
    authz::Authorizer,
    catalog::Catalog,
    error::{Error, Result},
    model::Resource,
    query::Query,
    registry::Registry,
    request_info::RequestInfo,
    user::UserInfo,
    warnings::Warnings,
};

/// The largest request body that is read (upstream's limit).
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// So much of a body that is too large is read and thrown away, so that the client gets to see the answer.
const MAX_DRAINED: usize = 32 * 1024 * 1024;

/// What requests are answered from.
pub struct Core {
    pub catalog: Catalog,
    /// What others answer.
    pub aggregation: crate::aggregation::Aggregation,
    pub registry: Registry,
    pub admission: AdmissionChain,
    pub authorizer: Arc<dyn Authorizer>,
    /// Which requests may run.
    pub gate: crate::chain::Gate,
    pub health: crate::health::Health,
    pub metrics: crate::metrics::Metrics,
    pub openapi: crate::documents::OpenApi,
}

/// A request's body. Unlike [`Body`] it can be shared between threads, and so can a [`Call`]: handlers may lend it to
/// each other across awaits.
pub struct RequestBody(parking_lot::Mutex<Body>);

impl RequestBody {
    pub fn new(body: Body) -> Self {
        RequestBody(parking_lot::Mutex::new(body))
    }

    pub fn empty() -> Self {
        RequestBody::new(component_base::serving::full(bytes::Bytes::new()))
    }
}

impl http_body::Body for RequestBody {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<bytes::Bytes>, BoxError>>> {
        Pin::new(self.get_mut().0.get_mut()).poll_frame(context)
    }
}

/// One authenticated, authorized request on its way to an [`Endpoint`].
pub struct Call {
    /// Whole: its body unread, its upgrade extension in place.
    pub request: Request<RequestBody>,
    pub info: RequestInfo,
    pub user: UserInfo,
    pub query: Query,
    /// The resource of the path (of the parent, for a subresource).
    pub resource: Arc<Resource>,
    pub warnings: Warnings,
    pub core: Arc<Core>,
}

/// What answers a subresource or a resource that is not stored: reviews, bindings, evictions, tokens, exec, proxy. The
/// verb was checked against discovery, and authorization has been done.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    async fn serve(&self, call: Call) -> Result<Response<Body>>;
}

/// Reads a request body to its end, within [`MAX_BODY`].
pub async fn read_body(mut body: RequestBody) -> Result<bytes::Bytes> {
    let mut out = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::bad_request(format!("the request body could not be read: {e}")))?;
        if let Some(data) = frame.data_ref() {
            size += data.len();
            if size > MAX_DRAINED {
                break;
            }
            if size <= MAX_BODY {
                out.extend_from_slice(data);
            }
        }
    }
    if size > MAX_BODY { Err(Error::too_large(MAX_BODY)) } else { Ok(out.freeze()) }
}
