//! A copy of the whole store for `keelson snapshot save`: it has every secret, so only who may `get` this very path gets it.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{HeaderValue, Method, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use storage::snapshot::Snapshot;

use crate::{
    error::{Error, Result, from_store},
    server::{Body, BoxError, Core},
};

/// Answers with the state as it is now, streamed from a copy on the server's disk.
pub(crate) async fn serve(core: &Core, method: &Method) -> Result<Response<Body>> {
    if method != Method::GET {
        return Err(Error::method_not_allowed());
    }
    let snapshot = core.registry.store.save().await.map_err(|error| from_store(&error))?;
    let (summary, length) = (snapshot.summary(), snapshot.length());
    tracing::info!(revision = %summary.revision, objects = summary.objects, bytes = length, "snapshot taken");
    let mut response = Response::new(StreamBody::new(chunks(snapshot).map_ok(Frame::data)).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

/// The file's parts; each is read where waiting for the disk holds nobody up.
fn chunks(snapshot: Snapshot) -> impl Stream<Item = std::result::Result<Bytes, BoxError>> + Send {
    futures::stream::try_unfold(snapshot, |mut snapshot| async move {
        let read = tokio::task::spawn_blocking(move || Ok::<_, std::io::Error>((snapshot.next_chunk()?, snapshot)));
        let (chunk, snapshot) = read.await.map_err(std::io::Error::other)??;
        Ok::<_, BoxError>(chunk.map(|chunk| (chunk, snapshot)))
    })
}
