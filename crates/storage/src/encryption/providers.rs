//! Several ways to encrypt a value, told apart by what the stored bytes begin with: the first writes, all read.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{ENCRYPTED, Opened, Result, TransformError, Transformer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    FromStorage,
    ToStorage,
}

/// Is told of every transformation: its direction, the provider's prefix (`identity`, `unknown` where there is none) and the outcome.
pub type Observe = fn(Direction, &str, Duration, std::result::Result<(), &TransformError>);

/// A way to encrypt, and what its values begin with.
#[derive(Clone)]
pub struct Provider {
    pub prefix: String,
    pub transformer: Arc<dyn Transformer>,
}

/// See the module.
pub struct Providers {
    all: Vec<Provider>,
    /// What is said of values that none of them wrote.
    no_match: &'static str,
    observe: Observe,
}

/// Values as they are. Encrypted ones are refused, so that the next provider is asked.
pub struct Identity;

// === impl Providers ===

impl Providers {
    /// `all` must not be empty; `no_match` is what is said of values that none of them wrote.
    pub fn new(all: Vec<Provider>, no_match: &'static str, observe: Observe) -> Self {
        Self { all, no_match, observe }
    }

    fn observed(
        &self,
        direction: Direction,
        prefix: &str,
        begin: Instant,
        outcome: std::result::Result<(), &TransformError>,
    ) {
        let prefix = if prefix.is_empty() && direction == Direction::FromStorage { "identity" } else { prefix };
        (self.observe)(direction, prefix, begin.elapsed(), outcome);
    }
}

#[async_trait]
impl Transformer for Providers {
    /// Providers may share a prefix (keys are changed by putting a second one first), so a failure is no reason not to ask the next.
    async fn open(&self, key: &str, stored: &Bytes) -> Result<Opened> {
        let begin = Instant::now();
        let mut errors = Vec::new();
        for (n, Provider { prefix, transformer }) in self.all.iter().enumerate() {
            if !stored.starts_with(prefix.as_bytes()) {
                continue;
            }
            let opened = transformer.open(key, &stored.slice(prefix.len()..)).await;
            if prefix.is_empty() && opened.is_err() {
                continue;
            }
            self.observed(Direction::FromStorage, prefix, begin, opened.as_ref().map(drop));
            match opened {
                Ok(Opened { value, stale }) => return Ok(Opened { value, stale: stale || n > 0 }),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            let error = TransformError::NoMatch(self.no_match);
            self.observed(Direction::FromStorage, "unknown", begin, Err(&error));
            return Err(error);
        }
        errors.dedup();
        Err(if errors.len() == 1 { errors.remove(0) } else { TransformError::Several(errors) })
    }

    async fn seal(&self, key: &str, value: &Bytes) -> Result<Bytes> {
        let begin = Instant::now();
        let Some(Provider { prefix, transformer }) = self.all.first() else {
            return Err(TransformError::NoMatch(self.no_match));
        };
        let sealed = transformer.seal(key, value).await;
        self.observed(Direction::ToStorage, prefix, begin, sealed.as_ref().map(drop));
        let sealed = sealed?;
        Ok(if prefix.is_empty() { sealed } else { [prefix.as_bytes(), &sealed].concat().into() })
    }
}

// === impl Identity ===

#[async_trait]
impl Transformer for Identity {
    async fn open(&self, _key: &str, stored: &Bytes) -> Result<Opened> {
        if stored.starts_with(ENCRYPTED) {
            return Err(TransformError::Identity);
        }
        Ok(Opened { value: stored.clone(), stale: false })
    }

    async fn seal(&self, _key: &str, value: &Bytes) -> Result<Bytes> {
        Ok(value.clone())
    }
}
