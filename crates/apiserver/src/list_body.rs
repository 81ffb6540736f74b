//! The body of a list, put together from its items' bytes while it is sent.
//!
//! A body holds entries of the cache and asks each for its bytes when it is its turn, a chunk at a time. So what a list takes in memory
//! does not grow with the number of clients that read it, nor with what the cache has no room for.

use std::{
    io::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::{
    cache::{Entry, Form, Room},
    codec,
    error::Error,
    model::Format,
    negotiate::{self, Codec},
    respond,
    server::{Body, BoxError},
    table::ListMeta,
};

/// Pieces are joined up to this size before they are handed to the connection.
const CHUNK: usize = 64 * 1024;

/// What stands before each item.
#[derive(Clone, Copy)]
enum Joint {
    /// A comma, but not before the first; then this.
    Json(&'static str),
    /// Tag and length.
    Protobuf,
}

/// A list as the pieces of its body.
pub(crate) struct ListBody {
    /// `None` once it is sent.
    head: Option<Bytes>,
    joint: Joint,
    /// How much of the start of each item is left out: kind and version, which a list says once.
    skip: usize,
    items: std::vec::IntoIter<Arc<Entry>>,
    form: Form,
    first: bool,
    tail: Option<Bytes>,
    /// What is still to be sent.
    remaining: usize,
}

impl ListBody {
    /// The list of `items` in this form.
    ///
    /// # Errors
    /// If one of them can't be encoded.
    pub(crate) fn new(
        format: &Format,
        list_kind: &str,
        form: Form,
        meta: &ListMeta,
        items: Vec<Arc<Entry>>,
    ) -> Result<ListBody, Error> {
        let codec = form.codec;
        let (joint, skip) = match codec {
            Codec::Protobuf => (Joint::Protobuf, 0),
            _ if format.custom => (Joint::Json(""), 0),
            _ => (Joint::Json("{"), codec::json_type_prefix(format).len()),
        };
        let mut inner = 0;
        for (n, item) in items.iter().enumerate() {
            let length = item.length(form)? - skip;
            inner += joint.length(n == 0, length) + length;
        }
        let (head, tail) = ends(format, list_kind, codec, meta, inner);
        let remaining = head.len() + inner + tail.len();
        let items = items.into_iter();
        Ok(ListBody { head: Some(head), joint, skip, items, form, first: true, tail: Some(tail), remaining })
    }

    /// The whole of it at once.
    pub(crate) fn collect(mut self) -> Result<Bytes, Error> {
        let mut out = BytesMut::with_capacity(self.remaining);
        while self.next_piece(&mut out)? {}
        Ok(out.freeze())
    }

    /// The answer that sends it; compressed where the client takes it and it pays.
    pub(crate) fn respond(self, request: &HeaderMap, content_type: &'static str) -> Result<Response<Body>, Error> {
        if self.remaining < CHUNK {
            return Ok(respond::bytes(StatusCode::OK, content_type, self.collect()?));
        }
        let compress = self.remaining >= respond::GZIP_MINIMUM && negotiate::accepts_gzip(request);
        let mut response = respond::bytes(StatusCode::OK, content_type, Bytes::new());
        if compress {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            let encoder = GzEncoder::new(Vec::with_capacity(CHUNK), Compression::new(1));
            *response.body_mut() = Gzip { list: self, encoder: Some(encoder) }.boxed_unsync();
        } else {
            *response.body_mut() = self.boxed_unsync();
        }
        Ok(response)
    }

    /// Adds the next piece to `out`; `false` when there is none.
    fn next_piece(&mut self, out: &mut BytesMut) -> Result<bool, Error> {
        let before = out.len();
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
        } else if let Some(item) = self.items.next() {
            let item = item.bytes(self.form, Room::IfThere)?;
            let item = &item[self.skip..];
            self.joint.write(std::mem::take(&mut self.first), item.len(), out);
            out.extend_from_slice(item);
        } else if let Some(tail) = self.tail.take() {
            out.extend_from_slice(&tail);
        } else {
            return Ok(false);
        }
        self.remaining -= out.len() - before;
        Ok(true)
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let mut out = BytesMut::with_capacity(CHUNK.min(self.remaining) + 8 * 1024);
        while out.len() < CHUNK && self.next_piece(&mut out)? {}
        Ok((!out.is_empty()).then(|| out.freeze()))
    }
}

impl Joint {
    fn length(self, first: bool, item: usize) -> usize {
        match self {
            Joint::Json(open) => usize::from(!first) + open.len(),
            Joint::Protobuf => api_types::protobuf::list_item_head(item).len(),
        }
    }

    fn write(self, first: bool, item: usize, out: &mut BytesMut) {
        match self {
            Joint::Json(open) => {
                out.extend_from_slice(if first { b"" } else { b"," });
                out.extend_from_slice(open.as_bytes());
            }
            Joint::Protobuf => out.extend_from_slice(&api_types::protobuf::list_item_head(item)),
        }
    }
}

/// What stands before and after the items, whose length is `inner`.
fn ends(format: &Format, list_kind: &str, codec: Codec, meta: &ListMeta, inner: usize) -> (Bytes, Bytes) {
    let (api_version, meta) = (format.api_version(), meta.to_value());
    if codec == Codec::Protobuf {
        let (head, tail) = api_types::protobuf::list_ends(&api_version, list_kind, &meta, inner);
        return (head.into(), tail.into());
    }
    let (kind, version) = (json!(list_kind), json!(api_version));
    if format.custom {
        // Sorted keys, as upstream's unstructured lists have them.
        let tail = format!("],\"kind\":{kind},\"metadata\":{meta}}}\n");
        return (format!("{{\"apiVersion\":{version},\"items\":[").into(), tail.into());
    }
    let head = format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{meta},\"items\":[");
    (head.into(), Bytes::from_static(b"]}\n"))
}

impl http_body::Body for ListBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.next_chunk().map_err(BoxError::from).transpose().map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining as u64)
    }
}

/// A list that is compressed while it is sent.
struct Gzip {
    list: ListBody,
    /// `None` once finished.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, BoxError> {
        while let Some(encoder) = &mut self.encoder {
            let packed = match self.list.next_chunk()? {
                Some(chunk) => {
                    encoder.write_all(&chunk)?;
                    if encoder.get_ref().len() < CHUNK / 4 {
                        continue;
                    }
                    std::mem::replace(encoder.get_mut(), Vec::with_capacity(CHUNK))
                }
                None => match self.encoder.take() {
                    Some(encoder) => encoder.finish()?,
                    None => return Ok(None),
                },
            };
            return Ok(Some(packed.into()));
        }
        Ok(None)
    }
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.next_chunk().transpose().map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use api_semantics::Strategy;
    use api_types::protobuf;

    use super::*;
    use crate::model::{StorageModel, StrategyHandle};

    struct NoRules;

    impl Strategy for NoRules {}

    fn config_maps(count: usize) -> (StorageModel, Vec<serde_json::Value>) {
        let format = Format {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            schema: api_types::schema::lookup("", "v1", "ConfigMap").unwrap(),
            strategy: StrategyHandle::BuiltIn(&NoRules),
            custom: false,
            columns: None,
            source: None,
        };
        let model = StorageModel {
            prefix: "/registry/configmaps/".into(),
            namespaced: false,
            formats: vec![Arc::new(format)],
            storage_format: 0,
            conversion: crate::conversion::Conversion::Local(|_, _, value| Ok(value)),
            fields: Vec::new(),
            selected: StorageModel::projection(&[]),
            unknown_field: |_, _| String::new(),
        };
        let object = |n| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": format!("map-{n}")}, "data": {"text": "x".repeat(n * 7)}});
        (model, (0..count).map(object).collect())
    }

    fn body(codec: Codec, count: usize) -> (ListBody, Vec<serde_json::Value>) {
        let (model, objects) = config_maps(count);
        let format = Arc::clone(&model.formats[0]);
        let model = Arc::new(model);
        let items = objects.iter().zip(1..).map(|(object, revision)| {
            let stored = codec::encode_stored(&format, object).unwrap();
            Arc::new(Entry::new(&model, &format!("map-{revision}"), stored, revision))
        });
        let meta = ListMeta { resource_version: "7".into(), ..ListMeta::default() };
        let list = ListBody::new(&format, "ConfigMapList", Form::new(0, codec), &meta, items.collect()).unwrap();
        (list, objects)
    }

    #[test]
    fn the_announced_length_is_what_chunks_and_whole_have() {
        for codec in [Codec::Json, Codec::Protobuf] {
            for count in [0, 1, 300] {
                let (mut chunked, _) = body(codec, count);
                let announced = chunked.remaining;
                let chunks: Vec<Bytes> = std::iter::from_fn(|| chunked.next_chunk().unwrap()).collect();
                assert!(chunks.iter().all(|chunk| chunk.len() < 2 * CHUNK));
                let whole = body(codec, count).0.collect().unwrap();
                assert_eq!(chunks.concat(), whole);
                assert_eq!(announced, whole.len());
            }
        }
    }

    #[test]
    fn lists_are_what_their_items_were() {
        let (list, objects) = body(Codec::Json, 5);
        let read: serde_json::Value = serde_json::from_slice(&list.collect().unwrap()).unwrap();
        assert_eq!(read["kind"], "ConfigMapList");
        assert_eq!(read["metadata"]["resourceVersion"], "7");
        let names =
            |items: &[serde_json::Value]| items.iter().map(|o| o["metadata"]["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(read["items"].as_array().unwrap()), names(&objects));
        let schema = api_types::schema::lookup("", "v1", "ConfigMapList").unwrap();
        let read = protobuf::decode_object(&body(Codec::Protobuf, 5).0.collect().unwrap(), &schema).unwrap();
        assert_eq!(names(read["items"].as_array().unwrap()), names(&objects));
    }

    #[test]
    fn compression_changes_nothing() {
        let (list, _) = body(Codec::Json, 300);
        let mut gzip = Gzip { list, encoder: Some(GzEncoder::new(Vec::new(), Compression::new(1))) };
        let mut packed = Vec::new();
        while let Some(chunk) = gzip.next_chunk().unwrap() {
            packed.extend_from_slice(&chunk);
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
        assert_eq!(text, body(Codec::Json, 300).0.collect().unwrap());
    }
}
