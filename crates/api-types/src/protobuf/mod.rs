//! Kubernetes protobuf over values and schemas: the messages themselves, the storage envelope (`k8s\0` +
//! `runtime.Unknown`), lists and watch events spliced from encoded parts.

mod decode;
mod encode;
mod print;
mod wire;

pub use decode::{DecodeError, Projection, Unknown, decode_envelope, decode_fields, decode_message, decode_object};
pub use encode::{encode_envelope, encode_message, encode_object, encode_watch_event, list_ends, list_item_head};
pub use print::{Identity, print_object, with_resource_version};

/// What every enveloped object starts with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_beginning_of_the_epoch_is_a_time() {
        let schema = crate::schema::lookup("", "v1", "Pod").expect("Pod");
        let pod =
            json!({"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {}, "status": {}});
        let again = decode_message(&encode_message(&pod, &schema), &schema).expect("decodes");
        assert_eq!(again["metadata"], pod["metadata"]);
    }

    #[test]
    fn some_fields_read_as_they_do_with_all_others() {
        let schema = crate::schema::lookup("", "v1", "Pod").expect("Pod");
        let crate::schema::Type::Struct(of) = &schema else { panic!("no struct") };
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b", "c": ""}, "annotations": {"x": "y"}},
            "spec": {"nodeName": "node", "restartPolicy": "Never", "containers": [{"name": "c", "resources": {}}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
        });
        let message = encode_message(&pod, &schema);
        let wanted = Projection::of([
            "metadata.name",
            "metadata.labels",
            "spec.nodeName",
            "status.podIPs",
            "spec.none",
            "none.at",
        ]);
        assert_eq!(
            decode_fields(&message, of, &wanted).expect("decodes"),
            json!({
                "metadata": {"name": "p", "labels": {"a": "b", "c": ""}},
                "spec": {"nodeName": "node"},
                "status": {"podIPs": [{"ip": "10.0.0.1"}]},
            })
        );
        assert!(decode_fields(&message[..message.len() - 1], of, &wanted).is_err(), "torn bytes are told");
    }
}
