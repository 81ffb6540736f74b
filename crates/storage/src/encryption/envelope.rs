//! Envelopes of KMS v2: a key management service encrypts one seed, and each value has a key of its own, derived from the seed
//! (HKDF-SHA-256) and random bytes that are stored with it. The encrypted seed is stored with each value, so the service is asked only
//! when it changes its key and for seeds of others (of earlier lives of this server, of its neighbours).
//!
//! Fails: values are written with the last seed for three minutes after the service was last well, and not at all after that; they are
//! read as long as their seed is known or the service answers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use ring::hkdf;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{AesGcm, Opened, Result, TransformError, Transformer, random};

/// Upstream's `kmsv2PluginWriteDEKSourceMaxTTL`.
const COAST: Duration = Duration::from_secs(3 * 60);
/// Seeds of others are kept for so long after their last use.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Length of a seed, of the bytes that are stored with a value, and of a derived key.
const SEED: usize = 32;
const MAX_KEY_ID: usize = 1024;
const MAX_SOURCE: usize = 1024;
const MAX_ANNOTATIONS: usize = 32 * 1024;

/// How the key of a value follows from the source that is stored encrypted: it is the source, or is derived from it.
const KEY: i32 = 0;
const SEEDED: i32 = 1;

/// What a service says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `v2` or `v2beta1`.
    pub version: String,
    /// `ok`, or what is wrong.
    pub healthz: String,
    /// The key that it encrypts with now.
    pub key_id: String,
}

/// Something that a service encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapped {
    pub ciphertext: Vec<u8>,
    pub key_id: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// A key management service (KMS v2). Errors are texts for people.
#[async_trait]
pub trait KeyService: Send + Sync + 'static {
    async fn status(&self) -> std::result::Result<Status, String>;
    async fn encrypt(&self, plaintext: &[u8]) -> std::result::Result<Wrapped, String>;
    async fn decrypt(&self, wrapped: &Wrapped) -> std::result::Result<Vec<u8>, String>;
}

/// What is stored; upstream's `EncryptedObject` (`kmsv2/v2/api.proto`).
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    source_type: i32,
}

/// What values are encrypted with.
enum Source {
    Seed([u8; SEED]),
    Key(AesGcm),
}

/// The seed that this server writes with.
#[derive(Clone)]
struct Current {
    /// Without data.
    object: EncryptedObject,
    source: Arc<Source>,
    /// Nothing is written with it after this.
    expires: Instant,
}

/// See the module. [`Envelope::probe`] has to be called from time to time.
pub struct Envelope {
    name: String,
    service: Arc<dyn KeyService>,
    current: Mutex<Option<Current>>,
    /// By what is stored of them (without data), with their last use.
    known: Mutex<HashMap<EncryptedObject, (Instant, Arc<Source>)>>,
    /// What the service said first.
    version: Mutex<Option<String>>,
}

fn envelope(text: impl Into<String>) -> TransformError {
    TransformError::Envelope(text.into())
}

// === impl Envelope ===

impl Envelope {
    /// Values of the service that the configuration calls `name`.
    pub fn new(name: &str, service: Arc<dyn KeyService>) -> Self {
        Self {
            name: name.to_owned(),
            service,
            current: Mutex::default(),
            known: Mutex::default(),
            version: Mutex::default(),
        }
    }

    /// Asks the service how it is, and has it encrypt a new seed where it has changed its key.
    ///
    /// # Errors
    /// What is wrong with the service, in upstream's words.
    pub async fn probe(&self) -> std::result::Result<(), String> {
        let name = &self.name;
        let status = self.service.status().await.map_err(|error| {
            format!("failed to perform status section of the healthz check for KMS Provider {name}, error: {error}")
        })?;
        let mut errors = Vec::new();
        if status.healthz != "ok" {
            errors.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        errors.extend(self.check_version(&status.version).err());
        match check_key_id(&status.key_id) {
            Err(error) => errors.push(format!("got invalid KMSv2 KeyID hash {:?}: {error}", hash(&status.key_id))),
            Ok(()) => errors.extend(self.rotate(&status.key_id).await.err()),
        }
        match errors.as_slice() {
            [] => Ok(()),
            [error] => Err(format!("kmsv2 Provider {name} is not healthy, error: {error}")),
            errors => Err(format!("kmsv2 Provider {name} is not healthy, error: [{}]", errors.join(", "))),
        }
    }

    fn check_version(&self, version: &str) -> std::result::Result<(), String> {
        if !["v2", "v2beta1"].contains(&version) {
            return Err(format!("expected KMSv2 API version v2, got {version}"));
        }
        let mut first = self.version.lock();
        let first = first.get_or_insert_with(|| version.to_owned());
        if first != version {
            let text = "KMSv2 API version should not change after the initial status response version";
            return Err(format!("{text} {first}, got {version}"));
        }
        Ok(())
    }

    async fn rotate(&self, key_id: &str) -> std::result::Result<(), String> {
        // Counted from before the service is asked.
        let expires = Instant::now() + COAST;
        if let Some(current) = &mut *self.current.lock()
            && current.object.key_id == key_id
        {
            current.expires = expires;
            return Ok(());
        }
        let seed = random::<SEED>().map_err(|error| error.to_string())?;
        let wrapped = self.service.encrypt(&seed).await;
        let wrapped =
            wrapped.map_err(|error| format!("failed to rotate DEK: failed to encrypt DEK, error: {error}"))?;
        let Wrapped { ciphertext, key_id: used, annotations } = wrapped;
        let object =
            EncryptedObject { data: Vec::new(), key_id: used, source: ciphertext, annotations, source_type: SEEDED };
        object.check().map_err(|error| format!("failed to rotate DEK: {error}"))?;
        if object.key_id != key_id {
            let [status, used] = [hash(key_id), hash(&object.key_id)];
            return Err(format!("failed to rotate DEK: statusKeyIDHash={status:?}, encryptKeyIDHash={used:?}"));
        }
        let source = Arc::new(Source::Seed(seed));
        self.remember(object.clone(), source.clone());
        *self.current.lock() = Some(Current { object, source, expires });
        Ok(())
    }

    fn current(&self) -> Result<Current> {
        self.current.lock().clone().ok_or_else(|| envelope("got unexpected nil transformer"))
    }

    fn remember(&self, object: EncryptedObject, source: Arc<Source>) {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.retain(|_, (used, _)| now.duration_since(*used) < KEEP);
        known.insert(object, (now, source));
    }

    /// What a stored value was encrypted with; asks the service where that is not known yet.
    async fn source_of(&self, object: EncryptedObject) -> Result<Arc<Source>> {
        if let Some((used, source)) = self.known.lock().get_mut(&object) {
            *used = Instant::now();
            return Ok(source.clone());
        }
        let (key_id, annotations) = (object.key_id.clone(), object.annotations.clone());
        let wrapped = Wrapped { ciphertext: object.source.clone(), key_id, annotations };
        let plain = self.service.decrypt(&wrapped).await;
        let plain = plain.map_err(|error| envelope(format!("failed to decrypt DEK, error: {error}")))?;
        let source = Arc::new(if object.source_type == KEY {
            Source::Key(AesGcm::new(&plain)?)
        } else {
            let length = plain.len();
            let wrong = |_| envelope(format!("invalid seed length {length} used for key generation"));
            Source::Seed(plain.try_into().map_err(wrong)?)
        });
        self.remember(object, source.clone());
        Ok(source)
    }
}

#[async_trait]
impl Transformer for Envelope {
    async fn open(&self, key: &str, stored: &Bytes) -> Result<Opened> {
        let mut object = EncryptedObject::decode(stored.clone()).map_err(|error| envelope(error.to_string()))?;
        let data = std::mem::take(&mut object.data);
        if data.is_empty() {
            return Err(envelope("encrypted data is empty"));
        }
        object.check().map_err(envelope)?;
        let now = self.current()?.object;
        let stale = object.key_id != now.key_id || object.source_type != now.source_type;
        let source = self.source_of(object).await?;
        Ok(Opened { value: source.open(key, &data)?, stale })
    }

    async fn seal(&self, key: &str, value: &Bytes) -> Result<Bytes> {
        let Current { mut object, source, expires } = self.current()?;
        let late = Instant::now().saturating_duration_since(expires);
        if !late.is_zero() {
            let key = hash(&object.key_id);
            return Err(envelope(format!(
                "encryptedDEKSource with keyID hash {key:?} expired {} s ago",
                late.as_secs()
            )));
        }
        object.data = source.seal(key, value)?.into();
        Ok(object.encode_to_vec().into())
    }
}

// === impl Source ===

impl Source {
    fn open(&self, key: &str, data: &[u8]) -> Result<Bytes> {
        match self {
            Self::Key(key_of_all) => key_of_all.open_now(key, data),
            Self::Seed(seed) => {
                let (info, sealed) = data.split_first_chunk::<SEED>().ok_or(TransformError::Short)?;
                derive(seed, info)?.open_now(key, sealed)
            }
        }
    }

    fn seal(&self, key: &str, value: &[u8]) -> Result<Bytes> {
        match self {
            Self::Key(key_of_all) => key_of_all.seal_now(key, value),
            Self::Seed(seed) => {
                let info = random::<SEED>()?;
                Ok([info.as_slice(), &derive(seed, &info)?.seal_now(key, value)?].concat().into())
            }
        }
    }
}

/// The key of one value.
fn derive(seed: &[u8; SEED], info: &[u8; SEED]) -> Result<AesGcm> {
    let mut key = [0; SEED];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|derived| derived.fill(&mut key))
        .map_err(|_| envelope("failed to KDF expand seed with info"))?;
    AesGcm::new(&key)
}

// === impl EncryptedObject ===

impl EncryptedObject {
    /// What upstream refuses, the data aside.
    fn check(&self) -> std::result::Result<(), String> {
        if ![KEY, SEEDED].contains(&self.source_type) {
            return Err(format!("unknown encryptedDEKSourceType: {}", self.source_type));
        }
        let source = match self.source.len() {
            0 => Err("encrypted DEK source is empty".to_owned()),
            size if size > MAX_SOURCE => {
                Err(format!("encrypted DEK source is {size} bytes, which exceeds the max size of {MAX_SOURCE}"))
            }
            _ => Ok(()),
        };
        source.map_err(|error| format!("failed to validate encrypted DEK source: {error}"))?;
        check_key_id(&self.key_id).map_err(|error| format!("failed to validate key id: {error}"))?;
        self.check_annotations().map_err(|error| format!("failed to validate annotations: {error}"))
    }

    fn check_annotations(&self) -> std::result::Result<(), String> {
        if let Some(name) = self.annotations.keys().find(|name| !is_domain(name)) {
            return Err(format!(
                "annotations: Invalid value: {name:?}: should be a domain with at least two segments separated by dots"
            ));
        }
        let size: usize = self.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > MAX_ANNOTATIONS {
            return Err(format!(
                "total size of annotations is {size}, which exceeds the max size of {MAX_ANNOTATIONS}"
            ));
        }
        Ok(())
    }
}

fn check_key_id(key_id: &str) -> std::result::Result<(), String> {
    match key_id.len() {
        0 => Err("keyID is empty".to_owned()),
        size if size > MAX_KEY_ID => Err(format!("keyID is {size} bytes, which exceeds the max size of {MAX_KEY_ID}")),
        _ => Ok(()),
    }
}

/// A fully qualified domain name of at least two labels (RFC 1123).
fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|byte| inside(*byte) || *byte == b'-')
            && [bytes.first(), bytes.last()].into_iter().all(|byte| byte.is_some_and(|byte| inside(*byte)))
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// How key ids are told to people: they may be secret.
fn hash(key_id: &str) -> String {
    if key_id.is_empty() {
        return String::new();
    }
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(key_id) {
        // Writing into a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
