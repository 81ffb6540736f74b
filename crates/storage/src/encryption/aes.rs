//! AES: with Galois counters (nonce, ciphertext and tag; the key in the store is authenticated with it) and in chained blocks (initial
//! vector, ciphertext padded by PKCS#7).

use ::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{
    Aes128Gcm, Aes256Gcm,
    aead::{Aead, AeadCore, Payload, consts::U12},
};
use async_trait::async_trait;
use bytes::Bytes;
use cbc::cipher::{
    BlockCipher, BlockDecryptMut, BlockEncryptMut, KeyInit, KeyIvInit, block_padding::NoPadding, block_padding::Pkcs7,
};

use super::{Opened, Result, TransformError, Transformer, random};

const NONCE: usize = 12;
const BLOCK: usize = 16;

/// `aesgcm`.
pub struct AesGcm(Box<dyn Cipher>);

/// `aescbc`.
pub struct AesCbc(Vec<u8>);

/// AES-GCM with any size of key.
trait Cipher: Send + Sync + 'static {
    fn seal(&self, nonce: &[u8; NONCE], value: Payload<'_, '_>) -> Result<Vec<u8>>;
    fn open(&self, nonce: &[u8; NONCE], sealed: Payload<'_, '_>) -> Result<Vec<u8>>;
}

impl<C: Aead + AeadCore<NonceSize = U12> + Send + Sync + 'static> Cipher for C {
    fn seal(&self, nonce: &[u8; NONCE], value: Payload<'_, '_>) -> Result<Vec<u8>> {
        // Fails for values of more than 64 GiB alone.
        self.encrypt(nonce.into(), value).map_err(|_| TransformError::Short)
    }

    fn open(&self, nonce: &[u8; NONCE], sealed: Payload<'_, '_>) -> Result<Vec<u8>> {
        self.decrypt(nonce.into(), sealed).map_err(|_| TransformError::Unauthentic)
    }
}

// === impl AesGcm ===

impl AesGcm {
    /// # Errors
    /// If the secret has not 16, 24 or 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self> {
        fn make<C: KeyInit + Cipher>(secret: &[u8]) -> Option<Box<dyn Cipher>> {
            Some(Box::new(C::new_from_slice(secret).ok()?))
        }
        let cipher = match secret.len() {
            16 => make::<Aes128Gcm>(secret),
            24 => make::<aes_gcm::AesGcm<Aes192, U12>>(secret),
            _ => make::<Aes256Gcm>(secret),
        };
        cipher.map(Self).ok_or(TransformError::KeySize(secret.len()))
    }

    pub(super) fn open_now(&self, key: &str, stored: &[u8]) -> Result<Bytes> {
        let (nonce, sealed) = stored.split_first_chunk::<NONCE>().ok_or(TransformError::Short)?;
        self.0.open(nonce, Payload { msg: sealed, aad: key.as_bytes() }).map(Bytes::from)
    }

    pub(super) fn seal_now(&self, key: &str, value: &[u8]) -> Result<Bytes> {
        let nonce = random::<NONCE>()?;
        let sealed = self.0.seal(&nonce, Payload { msg: value, aad: key.as_bytes() })?;
        Ok([nonce.as_slice(), &sealed].concat().into())
    }
}

#[async_trait]
impl Transformer for AesGcm {
    async fn open(&self, key: &str, stored: &Bytes) -> Result<Opened> {
        Ok(Opened { value: self.open_now(key, stored)?, stale: false })
    }

    async fn seal(&self, key: &str, value: &Bytes) -> Result<Bytes> {
        self.seal_now(key, value)
    }
}

// === impl AesCbc ===

impl AesCbc {
    /// # Errors
    /// If the secret has not 16, 24 or 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self> {
        match secret.len() {
            16 | 24 | 32 => Ok(Self(secret.to_vec())),
            other => Err(TransformError::KeySize(other)),
        }
    }

    fn encrypt<C: BlockCipher + BlockEncryptMut + KeyInit>(&self, iv: &[u8; BLOCK], value: &[u8]) -> Result<Vec<u8>> {
        let cipher = cbc::Encryptor::<C>::new_from_slices(&self.0, iv);
        let cipher = cipher.map_err(|_| TransformError::KeySize(self.0.len()))?;
        Ok(cipher.encrypt_padded_vec_mut::<Pkcs7>(value))
    }

    fn decrypt<C: BlockCipher + BlockDecryptMut + KeyInit>(&self, iv: &[u8; BLOCK], data: &[u8]) -> Result<Vec<u8>> {
        let cipher = cbc::Decryptor::<C>::new_from_slices(&self.0, iv);
        let cipher = cipher.map_err(|_| TransformError::KeySize(self.0.len()))?;
        cipher.decrypt_padded_vec_mut::<NoPadding>(data).map_err(|_| TransformError::Blocks)
    }
}

#[async_trait]
impl Transformer for AesCbc {
    async fn open(&self, _key: &str, stored: &Bytes) -> Result<Opened> {
        let (iv, data) = stored.split_first_chunk::<BLOCK>().ok_or(TransformError::Short)?;
        let mut value = match self.0.len() {
            16 => self.decrypt::<Aes128>(iv, data),
            24 => self.decrypt::<Aes192>(iv, data),
            _ => self.decrypt::<Aes256>(iv, data),
        }?;
        let padding = value.last().map_or(0, |last| usize::from(*last));
        if padding == 0 || padding > value.len() {
            return Err(TransformError::Unpadded);
        }
        let end = value.len() - padding;
        if value[end..].iter().any(|byte| usize::from(*byte) != padding) {
            return Err(TransformError::Padding);
        }
        value.truncate(end);
        Ok(Opened { value: value.into(), stale: false })
    }

    async fn seal(&self, _key: &str, value: &Bytes) -> Result<Bytes> {
        let iv = random::<BLOCK>()?;
        let sealed = match self.0.len() {
            16 => self.encrypt::<Aes128>(&iv, value),
            24 => self.encrypt::<Aes192>(&iv, value),
            _ => self.encrypt::<Aes256>(&iv, value),
        }?;
        Ok([iv.as_slice(), &sealed].concat().into())
    }
}
