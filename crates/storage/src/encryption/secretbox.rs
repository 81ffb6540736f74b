//! NaCl's secretbox (XSalsa20 and Poly1305): nonce, tag and ciphertext. The key in the store is not authenticated with it.

use async_trait::async_trait;
use bytes::Bytes;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305, aead::Aead};

use super::{Opened, Result, TransformError, Transformer, random};

const NONCE: usize = 24;
const TAG: usize = 16;

/// `secretbox`.
pub struct SecretBox(XSalsa20Poly1305);

impl SecretBox {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(XSalsa20Poly1305::new(secret.into()))
    }
}

#[async_trait]
impl Transformer for SecretBox {
    async fn open(&self, _key: &str, stored: &Bytes) -> Result<Opened> {
        if stored.len() < NONCE + TAG {
            return Err(TransformError::Short);
        }
        let (nonce, sealed) = stored.split_first_chunk::<NONCE>().ok_or(TransformError::Short)?;
        let value = self.0.decrypt(nonce.into(), sealed).map_err(|_| TransformError::Box)?;
        Ok(Opened { value: value.into(), stale: false })
    }

    async fn seal(&self, _key: &str, value: &Bytes) -> Result<Bytes> {
        let nonce = random::<NONCE>()?;
        // Fails for associated data alone, and there is none.
        let sealed = self.0.encrypt((&nonce).into(), value.as_ref()).map_err(|_| TransformError::Box)?;
        Ok([nonce.as_slice(), &sealed].concat().into())
    }
}
