//! Encryption at rest, byte for byte as upstream has it, so that either opens the other's store.
//!
//! What is stored of a value is a prefix that names how it was encrypted (`k8s:enc:aescbc:v1:KEY:`) and what that made of the value; the
//! key it is stored under is authenticated with it where the algorithm can. [`Encrypted`] is a store whose values are plain above and
//! encrypted below; which [`Transformer`] a key has is told by an [`Assignment`].
//!
//! Fails: a value that can't be decrypted is an error for who gets it; in lists and watches it stands as what [`unreadable`] tells from
//! a value, so that one such value does not hide the others.
//!
//! Invariant: opens no file and no socket; a key management service is a [`envelope::KeyService`].

mod aes;
pub mod envelope;
mod providers;
mod secretbox;
mod store;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub use self::{
    aes::{AesCbc, AesGcm},
    providers::{Direction, Identity, Observe, Provider, Providers},
    secretbox::SecretBox,
    store::{Encrypted, unreadable},
};

/// What every encrypted value begins with, and no plain one.
pub const ENCRYPTED: &[u8] = b"k8s:enc:";

/// A value as it was before it was encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub value: Bytes,
    /// It is not encrypted as it would be now.
    pub stale: bool,
}

/// Why a value can't be encrypted or decrypted; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    #[error("the stored data was shorter than the required size")]
    Short,
    #[error("cipher: message authentication failed")]
    Unauthentic,
    #[error("the stored data is not a multiple of the block size")]
    Blocks,
    #[error("invalid PKCS7 data (empty or not padded)")]
    Unpadded,
    #[error("invalid padding on input")]
    Padding,
    /// What upstream says of a box that does not open.
    #[error("output array was not large enough for encryption")]
    Box,
    #[error("identity transformer tried to read encrypted data")]
    Identity,
    #[error("{0}")]
    NoMatch(&'static str),
    #[error("crypto/aes: invalid key size {0}")]
    KeySize(usize),
    #[error("unable to read sufficient random bytes")]
    Random,
    /// Of an envelope or of its key management service.
    #[error("{0}")]
    Envelope(String),
    /// Each provider that should have been able to.
    #[error("[{}]", texts(.0))]
    Several(Vec<TransformError>),
}

fn texts(errors: &[TransformError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub type Result<T> = std::result::Result<T, TransformError>;

/// One way to encrypt values. `key` is where the value is stored.
#[async_trait]
pub trait Transformer: Send + Sync + 'static {
    async fn open(&self, key: &str, stored: &Bytes) -> Result<Opened>;
    async fn seal(&self, key: &str, value: &Bytes) -> Result<Bytes>;
}

/// Which values are encrypted how. May change at any time.
pub trait Assignment: Send + Sync + 'static {
    fn transformer(&self, key: &str) -> std::sync::Arc<dyn Transformer>;
    /// Counts up when values that could not be decrypted may be readable now.
    fn renewals(&self) -> watch::Receiver<u64>;
}

/// Bytes that nobody can foresee.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| TransformError::Random)?;
    Ok(bytes)
}
