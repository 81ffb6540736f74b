//! Encryption at rest: upstream's formats, and a store that is plain above and encrypted below.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use storage::{
    Event, ListOptions, Revision, StoreError,
    embedded::Embedded,
    encryption::{
        AesCbc, AesGcm, Assignment, Encrypted, Identity, Opened, Provider, Providers, SecretBox, TransformError,
        Transformer,
        envelope::{Envelope, KeyService, Status, Wrapped},
        unreadable,
    },
};
use tokio::sync::watch;

use crate::{
    Db,
    backends::{Backend, EtcdServer},
    bytes, cases, change, create,
};

const KEY: &str = "/registry/secrets/ns/name";
const VALUE: &[u8] = b"k8s\0 a secret value";

/// `VALUE` under `KEY`, encrypted by Python's `cryptography` 48 (AES, HKDF) and libsodium 1.0.18 (secretbox) with secrets of the bytes 0, 1, 2, ...,
/// nonces 100, 101, ...; the seeded envelope derives its key with the bytes 200, 201, ...
const VECTORS: [(&str, usize, &str); 7] = [
    ("aesgcm", 16, "6465666768696a6b6c6d6e6f715a3da5fb639889fe5d2575f2ea5d8d5cfd1d9f7ea2f2af74684f68ee31a457441c80"),
    ("aesgcm", 24, "6465666768696a6b6c6d6e6f8250c87c72ce2e4bb6b290648ed2eddfb12c3b27fc08bdb23640043bf2e2a1d4bf7bc3"),
    ("aesgcm", 32, "6465666768696a6b6c6d6e6f2323ad66598876ed5b012d8dae451c9c2eb7632707cf9ef3c27c12253a5053b59e7ef6"),
    ("aescbc", 16, "6465666768696a6b6c6d6e6f70717273ff36810d62c84f1c0d232d0f12c9b2d932df0e439bc6b2f980f3d699f4b11576"),
    ("aescbc", 24, "6465666768696a6b6c6d6e6f707172733a983a62ad39d71715751d6eb3587479b68966d4f29752550c911923370a687f"),
    ("aescbc", 32, "6465666768696a6b6c6d6e6f70717273039de4a6d7eec87683f5934a4736a504f05c9827f8992796c2d288d9d7ef5c6d"),
    (
        "secretbox",
        32,
        "6465666768696a6b6c6d6e6f707172737475767778797a7be260fed7fad27f05a16493c78ce91a806981eac91ad7ee9ad59e51f143a4d57952df5d",
    ),
];
const SEEDED: &str = "0a4fc8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e76465666768696a6b6c6d6e6f48c8b8eea47f093809fa0390fbd93ea1a556aed12ee26a0b66bf6c08187246306bc3b412056b65792d311a0c77726170706564207365656422180a1376657273696f6e2e6578616d706c652e636f6d1201372801";
const KEYED: &str = "0a2f6465666768696a6b6c6d6e6f2323ad66598876ed5b012d8dae451c9c2eb7632707cf9ef3c27c12253a5053b59e7ef612056b65792d311a0c777261707065642073656564";

fn secret(length: u8) -> Vec<u8> {
    (0..length).collect()
}

fn hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn transformer(name: &str, secret: &[u8]) -> Arc<dyn Transformer> {
    match name {
        "aesgcm" => Arc::new(AesGcm::new(secret).unwrap()),
        "aescbc" => Arc::new(AesCbc::new(secret).unwrap()),
        "secretbox" => Arc::new(SecretBox::new(secret.try_into().unwrap())),
        _ => Arc::new(Identity),
    }
}

/// Providers as a configuration makes them: (name, key, first byte of the secret).
fn providers(all: &[(&str, &str, u8)]) -> Arc<dyn Transformer> {
    let of_prefix = |prefix: String, transformer: Arc<dyn Transformer>| Provider { prefix, transformer };
    let provider = |(name, key, first): &(&str, &str, u8)| match *name {
        "identity" => of_prefix(String::new(), Arc::new(Identity)),
        name => {
            let secret: Vec<u8> = secret(32).iter().map(|byte| byte.wrapping_add(*first)).collect();
            let keys = vec![of_prefix(format!("{key}:"), transformer(name, &secret))];
            of_prefix(format!("k8s:enc:{name}:v1:"), Arc::new(Providers::new(keys, "no key", |_, _, _, _| {})))
        }
    };
    Arc::new(Providers::new(all.iter().map(provider).collect(), "no matching prefix found", |_, _, _, _| {}))
}

async fn open(transformer: &dyn Transformer, stored: &Bytes) -> Result<Bytes, TransformError> {
    transformer.open(KEY, stored).await.map(|opened| opened.value)
}

#[tokio::test]
async fn values_of_others_are_decrypted_and_ours_go_round() {
    let value = Bytes::from_static(VALUE);
    for (name, length, stored) in VECTORS {
        let transformer = transformer(name, &secret(length as u8));
        assert_eq!(open(&*transformer, &hex(stored)).await, Ok(value.clone()), "{name} {length}");
        let (one, two) = (transformer.seal(KEY, &value).await.unwrap(), transformer.seal(KEY, &value).await.unwrap());
        assert_ne!(one, two, "{name}: the same bytes twice");
        assert_eq!(one.len(), hex(stored).len(), "{name}");
        assert_eq!(open(&*transformer, &one).await, Ok(value.clone()), "{name} {length}");
        assert_eq!(open(&*transformer, &one.slice(..5)).await, Err(TransformError::Short), "{name}");
        let mut damaged = one.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_ne!(open(&*transformer, &damaged.into()).await, Ok(value.clone()), "{name}");
        let empty = transformer.seal(KEY, &Bytes::new()).await.unwrap();
        assert_eq!(open(&*transformer, &empty).await, Ok(Bytes::new()), "{name}");
    }
    let gcm = transformer("aesgcm", &secret(32));
    let moved = gcm.open("/registry/secrets/ns/other", &hex(VECTORS[2].2)).await;
    assert_eq!(moved, Err(TransformError::Unauthentic));
    assert_eq!(AesGcm::new(&secret(20)).err(), Some(TransformError::KeySize(20)));
}

#[tokio::test]
async fn the_first_provider_writes_and_all_read() {
    let value = Bytes::from_static(VALUE);
    let old = providers(&[("aescbc", "a", 1)]);
    let stored = old.seal(KEY, &value).await.unwrap();
    assert!(stored.starts_with(b"k8s:enc:aescbc:v1:a:"), "{stored:?}");
    let opened = |stale| Ok(Opened { value: value.clone(), stale });
    assert_eq!(old.open(KEY, &stored).await, opened(false));
    // Two providers of one algorithm: the first one's failure is not the end.
    let rotated = providers(&[("aescbc", "b", 2), ("aescbc", "a", 1), ("identity", "", 0)]);
    assert_eq!(rotated.open(KEY, &stored).await, opened(true));
    assert!(rotated.seal(KEY, &value).await.unwrap().starts_with(b"k8s:enc:aescbc:v1:b:"));
    assert_eq!(rotated.open(KEY, &value).await, opened(true));
    // Away from encryption.
    let plain = providers(&[("identity", "", 0), ("aescbc", "a", 1)]);
    assert_eq!(plain.open(KEY, &stored).await, opened(true));
    assert_eq!(plain.seal(KEY, &value).await, Ok(value.clone()));
    for (all, text) in [
        (&[("secretbox", "a", 1)][..], "no matching prefix found"),
        (&[("identity", "", 0)], "no matching prefix found"),
        (&[("aescbc", "b", 2)], "no key"),
        (&[("aescbc", "a", 2), ("aescbc", "c", 2)], "[invalid padding on input, no key]"),
    ] {
        let error = providers(all).open(KEY, &stored).await.unwrap_err().to_string();
        // A wrong key makes padding that is mostly, and not always, wrong in this way.
        assert!(error == text || error.ends_with("(empty or not padded), no key]"), "{error}");
    }
}

// === the store ===

/// One transformer for all keys, that can be changed.
struct Everything {
    transformer: Mutex<Arc<dyn Transformer>>,
    renewals: watch::Sender<u64>,
}

impl Everything {
    fn new(all: &[(&str, &str, u8)]) -> Arc<Self> {
        Arc::new(Self { transformer: Mutex::new(providers(all)), renewals: watch::Sender::new(0) })
    }

    fn change(&self, all: &[(&str, &str, u8)]) {
        *self.transformer.lock() = providers(all);
        self.renewals.send_modify(|count| *count += 1);
    }
}

impl Assignment for Everything {
    fn transformer(&self, _key: &str) -> Arc<dyn Transformer> {
        self.transformer.lock().clone()
    }

    fn renewals(&self) -> watch::Receiver<u64> {
        self.renewals.subscribe()
    }
}

/// `inner` with everything in it encrypted.
fn encrypted(inner: Db) -> Db {
    Arc::new(Encrypted::new(inner, Everything::new(&[("aesgcm", "a", 1), ("identity", "", 0)])))
}

#[tokio::test(start_paused = true)]
async fn an_encrypted_store_is_a_store() {
    for (name, case) in cases::CASES {
        println!("{name}");
        case(encrypted(Arc::new(Embedded::in_memory()))).await;
    }
}

#[tokio::test]
async fn an_encrypted_etcd_is_a_store() {
    let Some(backend) = EtcdServer::start().map(Backend::Etcd) else { return };
    for (name, case) in cases::CASES {
        println!("{name}");
        case(encrypted(backend.open().await)).await;
        backend.clear().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_lies_below_is_encrypted() {
    let inner: Db = Arc::new(Embedded::in_memory());
    let plain = create(&inner, "/a/0", "plain").await;
    let keys = Everything::new(&[("secretbox", "a", 1), ("identity", "", 0)]);
    let db: Db = Arc::new(Encrypted::new(inner.clone(), keys.clone()));
    create(&db, "/a/1", "one").await;
    let below = inner.get("/a/1").await.unwrap().0.unwrap();
    assert!(below.value.starts_with(b"k8s:enc:secretbox:v1:a:"), "{below:?}");
    let stale = |kv: storage::KeyValue| (kv.value, kv.stale);
    assert_eq!(stale(db.get("/a/0").await.unwrap().0.unwrap()), (bytes("plain"), true));
    assert_eq!(stale(db.get("/a/1").await.unwrap().0.unwrap()), (bytes("one"), false));
    // Written unchanged, it is no longer stale.
    db.put("/a/0", bytes("plain"), plain, None).await.unwrap();
    assert_eq!(stale(db.get("/a/0").await.unwrap().0.unwrap()), (bytes("plain"), false));
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_decrypted_hides_nothing_else() {
    let inner: Db = Arc::new(Embedded::in_memory());
    let keys = Everything::new(&[("aesgcm", "a", 1)]);
    let db: Db = Arc::new(Encrypted::new(inner.clone(), keys.clone()));
    let sealed = create(&db, "/a/1", "one").await;
    keys.change(&[("aesgcm", "b", 2)]);
    let newest = create(&db, "/a/2", "two").await;
    let page = db.list("/a/", ListOptions::default()).await.unwrap();
    let why: Vec<_> = page.items.iter().map(|kv| unreadable(&kv.value)).collect();
    assert_eq!(why, [Some("no key"), None]);
    let error = db.get("/a/1").await.unwrap_err();
    assert!(matches!(&error, StoreError::Transform { .. }) && error.to_string() == "no key", "{error}");
    assert!(matches!(db.put("/a/1", bytes("x"), newest, None).await, Err(StoreError::Transform { .. })));

    // When the key comes back, who was shown an unreadable value is told to begin anew; others go on.
    let mut watch = db.watch("/a/", page.revision).await.unwrap();
    assert!(futures::poll!(watch.next()).is_pending());
    keys.change(&[("aesgcm", "b", 2), ("aesgcm", "a", 1)]);
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    assert!(watch.next().await.is_none());
    let mut watch = db.watch("/a/", Revision(0)).await.unwrap();
    assert!(
        matches!(change(&mut watch).await, Event::Put { kv, .. } if kv.mod_revision == sealed && kv.value == "one")
    );
    keys.change(&[("aesgcm", "c", 3), ("aesgcm", "b", 2), ("aesgcm", "a", 1)]);
    assert_eq!(change(&mut watch).await.revision(), newest);
}

// === envelopes ===

/// A service that encrypts by counting the plaintexts.
struct Service {
    key_id: Mutex<String>,
    well: Mutex<bool>,
    known: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    decrypted: AtomicUsize,
}

impl Service {
    fn new() -> Arc<Self> {
        let known = BTreeMap::from([(b"wrapped seed".to_vec(), secret(32))]);
        Arc::new(Self {
            key_id: Mutex::new("key-1".into()),
            well: Mutex::new(true),
            known: Mutex::new(known),
            decrypted: AtomicUsize::new(0),
        })
    }

    fn check(&self) -> Result<(), String> {
        if *self.well.lock() { Ok(()) } else { Err("it is down".into()) }
    }
}

#[async_trait]
impl KeyService for Service {
    async fn status(&self) -> Result<Status, String> {
        self.check()?;
        Ok(Status { version: "v2".into(), healthz: "ok".into(), key_id: self.key_id.lock().clone() })
    }

    async fn encrypt(&self, plaintext: &[u8]) -> Result<Wrapped, String> {
        self.check()?;
        let mut known = self.known.lock();
        let ciphertext = format!("wrapped {}", known.len()).into_bytes();
        known.insert(ciphertext.clone(), plaintext.to_vec());
        let annotations = BTreeMap::from([("version.example.com".to_owned(), b"7".to_vec())]);
        Ok(Wrapped { ciphertext, key_id: self.key_id.lock().clone(), annotations })
    }

    async fn decrypt(&self, wrapped: &Wrapped) -> Result<Vec<u8>, String> {
        self.check()?;
        self.decrypted.fetch_add(1, Ordering::Relaxed);
        self.known.lock().get(&wrapped.ciphertext).cloned().ok_or_else(|| "never seen".to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn envelopes_are_upstreams() {
    let service = Service::new();
    let envelope = Envelope::new("kms", service.clone());
    assert_eq!(
        envelope.open(KEY, &hex(SEEDED)).await.unwrap_err().to_string(),
        "got unexpected nil transformer",
        "before it was asked"
    );
    envelope.probe().await.unwrap();
    let value = Bytes::from_static(VALUE);
    assert_eq!(envelope.open(KEY, &hex(SEEDED)).await, Ok(Opened { value: value.clone(), stale: false }));
    assert_eq!(envelope.open(KEY, &hex(SEEDED)).await, Ok(Opened { value: value.clone(), stale: false }));
    assert_eq!(service.decrypted.load(Ordering::Relaxed), 1, "a seed is asked for once");
    // The key of all values that earlier versions wrote with is read, and replaced.
    assert_eq!(envelope.open(KEY, &hex(KEYED)).await, Ok(Opened { value, stale: true }));
    let moved = envelope.open("/registry/secrets/ns/other", &hex(SEEDED)).await;
    assert_eq!(moved, Err(TransformError::Unauthentic));
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_makes_a_new_seed_and_an_unwell_service_stops_writes() {
    let service = Service::new();
    let envelope = Envelope::new("kms", service.clone());
    envelope.probe().await.unwrap();
    let value = Bytes::from_static(VALUE);
    let first = envelope.seal(KEY, &value).await.unwrap();
    assert_eq!(envelope.open(KEY, &first).await, Ok(Opened { value: value.clone(), stale: false }));
    "key-2".clone_into(&mut service.key_id.lock());
    envelope.probe().await.unwrap();
    assert_eq!(envelope.open(KEY, &first).await, Ok(Opened { value: value.clone(), stale: true }));
    let second = envelope.seal(KEY, &value).await.unwrap();

    *service.well.lock() = false;
    let text = "failed to perform status section of the healthz check for KMS Provider kms, error: it is down";
    assert_eq!(envelope.probe().await, Err(text.to_owned()));
    tokio::time::sleep(Duration::from_secs(170)).await;
    envelope.seal(KEY, &value).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let late = envelope.seal(KEY, &value).await.unwrap_err().to_string();
    assert!(late.starts_with("encryptedDEKSource with keyID hash \"sha256:") && late.contains("expired"), "{late}");
    assert_eq!(envelope.open(KEY, &second).await, Ok(Opened { value: value.clone(), stale: false }));
    // Another life of the server knows no seed.
    let restarted = Envelope::new("kms", service.clone());
    assert!(restarted.probe().await.is_err());
    *service.well.lock() = true;
    restarted.probe().await.unwrap();
    *service.well.lock() = false;
    let error = restarted.open(KEY, &second).await.unwrap_err().to_string();
    assert_eq!(error, "failed to decrypt DEK, error: it is down");
    *service.well.lock() = true;
    assert_eq!(restarted.open(KEY, &second).await, Ok(Opened { value, stale: false }));
    "".clone_into(&mut service.key_id.lock());
    let text = "kmsv2 Provider kms is not healthy, error: got invalid KMSv2 KeyID hash \"\": keyID is empty";
    assert_eq!(restarted.probe().await, Err(text.to_owned()));
}
