//! Questions to a webhook whose address and credentials are in a kubeconfig file, and the memory of its answers.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::Context;
use component_base::kubeconfig;
use http::{Request, Uri, header};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Upstream's back-off of such questions (`webhook.DefaultRetryBackoff`).
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const GROWTH: f64 = 1.5;
const JITTER: f64 = 0.2;
/// Answers that are remembered; at more, those go that are over, or else all.
const MAX_ANSWERS: usize = 8192;

/// The way to one webhook.
#[derive(Clone)]
pub(crate) struct Remote {
    client: kube::Client,
    /// Path and query of the webhook.
    place: String,
}

// === impl Remote ===

impl Remote {
    /// As the current context of the kubeconfig file says; its server's URL is where questions go.
    ///
    /// # Errors
    /// If the file can't be read, or leads nowhere.
    pub(crate) async fn open(file: &Path) -> anyhow::Result<Self> {
        let mut config = kubeconfig::load(file, "").await?;
        let whole = config.cluster_url.clone();
        let place = whole.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut server = whole.into_parts();
        server.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        config.cluster_url = Uri::from_parts(server).with_context(|| format!("the server of {}", file.display()))?;
        Ok(Self { client: kubeconfig::client(config, "kube-apiserver")?, place })
    }

    /// The review with its status. A webhook that can't be reached, or says that it is in trouble, is asked again.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn ask(&self, review: &Value, timeout: Duration) -> Result<Value, String> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.try_once(review, timeout).await {
                Err(error) if is_passing(&error) => {
                    tracing::info!(%error, "a webhook of authentication or authorization failed, asking again");
                    tokio::time::sleep(pause.mul_f64(1.0 + JITTER * component_base::rng::fraction())).await;
                    pause = pause.mul_f64(GROWTH);
                }
                other => return other.map_err(|e| e.to_string()),
            }
        }
        self.try_once(review, timeout).await.map_err(|e| e.to_string())
    }

    async fn try_once(&self, review: &Value, timeout: Duration) -> Result<Value, kube::Error> {
        let request = Request::post(&self.place)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(review.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        let answer = tokio::time::timeout(timeout, self.client.request::<Value>(request));
        answer.await.unwrap_or_else(|_| Err(kube::Error::Service("context deadline exceeded".into())))
    }
}

fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// What a question is remembered by: nobody can read tokens off the memory.
type Digested = [u8; 32];

/// Answers, each for a while.
pub(crate) struct Answers<V>(Mutex<HashMap<Digested, (Instant, V)>>);

// === impl Answers ===

impl<V> Default for Answers<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> Answers<V> {
    pub(crate) fn get(&self, question: &str) -> Option<V> {
        let answers = self.0.lock();
        let (until, answer) = answers.get(&digest(question))?;
        (Instant::now() < *until).then(|| answer.clone())
    }

    pub(crate) fn put(&self, question: &str, answer: V, time_to_live: Duration) {
        if time_to_live.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut answers = self.0.lock();
        if answers.len() >= MAX_ANSWERS {
            answers.retain(|_, (until, _)| now < *until);
        }
        if answers.len() >= MAX_ANSWERS {
            answers.clear();
        }
        answers.insert(digest(question), (now + time_to_live, answer));
    }
}

fn digest(question: &str) -> Digested {
    Sha256::digest(question).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_are_remembered_for_a_while() {
        let answers = Answers::default();
        answers.put("a", 1, Duration::from_secs(10));
        answers.put("b", 2, Duration::ZERO);
        assert_eq!((answers.get("a"), answers.get("b")), (Some(1), None));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(answers.get("a"), None);
        for n in 0..2 * MAX_ANSWERS {
            answers.put(&n.to_string(), n, Duration::from_secs(10));
        }
        assert!(answers.0.lock().len() <= MAX_ANSWERS);
    }
}
