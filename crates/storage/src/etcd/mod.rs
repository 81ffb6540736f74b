//! The store on an etcd cluster (3.4 or later), for several API servers and for clusters that upstream wrote.
//!
//! Every operation is one RPC: a write is a transaction that compares the key's mod revision and reads the key where the
//! comparison fails. TTLs are leases, shared by writes that follow each other closely, since a lease per event would cost
//! etcd more than the event.
//!
//! Fails: what etcd can't answer is `Unavailable`; whether a write was carried out is then unknown.

mod compact;
mod lease;
mod retry;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, KvClient, PutOptions,
    ResponseHeader, TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    lease::Leases,
    retry::{Answer, until_sent},
};
use crate::{KeyValue, ListOptions, ListPage, Result, Revision, Store, StoreError, WatchStream, snapshot::Snapshot};

/// Answers and events may be as large as a page of the largest objects.
const MAX_MESSAGE: usize = i32::MAX as usize;

/// How long the cluster may take to answer at all, and between two attempts.
const START: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(200);

/// How to reach the cluster: upstream's `--etcd-*` flags.
#[derive(Clone, Debug, Default)]
pub struct EtcdConfig {
    /// `--etcd-servers`, with scheme.
    pub servers: Vec<String>,
    /// `--etcd-cafile`, its contents.
    pub ca_pem: Option<Vec<u8>>,
    /// `--etcd-certfile` and `--etcd-keyfile`, their contents.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// `--etcd-compaction-interval`; zero leaves compaction to others.
    pub compaction_interval: Duration,
}

/// A store in etcd.
pub struct Etcd {
    client: Client,
    kv: KvClient,
    leases: Leases,
    _compactor: AbortOnDropHandle<()>,
}

// === impl Etcd ===

impl Etcd {
    /// Connects and waits until the cluster answers, as upstream for 20 seconds at most.
    pub async fn connect(config: EtcdConfig) -> Result<Self> {
        let mut options = ConnectOptions::new()
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10))
            .with_connect_timeout(Duration::from_secs(20));
        if config.servers.iter().any(|server| server.starts_with("https:")) {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &config.ca_pem {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &config.identity_pem {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        let client = Client::connect(&config.servers, Some(options)).await.map_err(failed)?;
        let kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        let compactor = tokio::spawn(compact::keep_compacted(kv.clone(), config.compaction_interval));
        let store = Self {
            leases: Leases::new(client.lease_client()),
            kv,
            client,
            _compactor: AbortOnDropHandle::new(compactor),
        };
        let deadline = tokio::time::Instant::now() + START;
        loop {
            match store.revision().await {
                Ok(_) => return Ok(store),
                Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
                Err(error) => tracing::info!(%error, "waiting for etcd"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Makes a request of a member that can be reached.
    async fn ask<T, F>(&self, mut request: impl FnMut(KvClient) -> F) -> Answer<T>
    where
        F: Future<Output = Answer<T>>,
    {
        until_sent(|| request(self.kv.clone())).await
    }

    /// Carries out `then` if `key` stands at `expected`.
    async fn swap(&self, key: &str, expected: Revision, then: TxnOp) -> Result<Revision> {
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, expected.0 as i64)])
            .and_then([then])
            .or_else([TxnOp::get(key, None)]);
        let response = self
            .ask(|mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await
            .map_err(failed)?;
        let mut current = None;
        for op in response.op_responses() {
            match op {
                TxnOpResponse::Get(found) => current = found.kvs().first().map(key_value).transpose()?,
                // Removing a key that is not there passes a comparison with 0.
                TxnOpResponse::Delete(removed) if removed.deleted() == 0 => {}
                _ => return revision(response.header()),
            }
        }
        Err(StoreError::Conflict { key: key.to_owned(), current })
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let response = self.ask(|mut kv| async move { kv.get(key, None).await }).await.map_err(failed)?;
        let kv = response.kvs().first().map(key_value).transpose()?;
        Ok((kv, revision(response.header())?))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage> {
        let start = match options.after {
            Some(after) if after.as_str() >= prefix => [after.as_bytes(), b"\0"].concat(),
            _ => prefix.as_bytes().to_vec(),
        };
        let at = options.at.map_or(0, |at| at.0 as i64);
        let range = GetOptions::new().with_range(prefix_end(prefix)).with_limit(options.limit as i64).with_revision(at);
        let requested = options.at.unwrap_or_default();
        let response = self
            .ask(|mut kv| {
                let (start, range) = (start.clone(), range.clone());
                async move { kv.get(start, Some(range)).await }
            })
            .await;
        let response = response.map_err(|error| out_of_history(error, requested))?;
        let items = response.kvs().iter().map(key_value).collect::<Result<Vec<_>>>()?;
        Ok(ListPage {
            remaining: (response.count() as u64).saturating_sub(items.len() as u64),
            revision: match options.at {
                Some(at) => at,
                None => revision(response.header())?,
            },
            items,
        })
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<Revision> {
        let options = match ttl {
            Some(ttl) => Some(PutOptions::new().with_lease(self.leases.lease(ttl).await?)),
            None => None,
        };
        self.swap(key, expected, TxnOp::put(key, value, options)).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        self.swap(key, expected, TxnOp::delete(key, None)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        watch::watch(self.client.watch_client(), prefix, after).await
    }

    async fn revision(&self) -> Result<Revision> {
        // No key has this name: etcd answers with the header alone.
        let count = || Some(GetOptions::new().with_count_only());
        let response = self.ask(|mut kv| async move { kv.get("\0", count()).await }).await.map_err(failed)?;
        revision(response.header())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let done = self.ask(|mut kv| async move { kv.compact(revision.0 as i64, None).await }).await;
        match done.map_err(|error| out_of_history(error, revision)) {
            Ok(_) | Err(StoreError::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn size(&self) -> Result<u64> {
        let status = self.client.maintenance_client().status().await.map_err(failed)?;
        Ok(status.db_size() as u64)
    }

    async fn save(&self) -> Result<Snapshot> {
        Err(StoreError::Unsupported("the state is in etcd: use etcdctl snapshot save"))
    }
}

/// The first key after all that start with `prefix`; `\0` means "no end" to etcd.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn revision(header: Option<&ResponseHeader>) -> Result<Revision> {
    header
        .map(|header| Revision(header.revision() as u64))
        .ok_or_else(|| StoreError::Unavailable("etcd answered without a header".into()))
}

fn key_value(kv: &etcd_client::KeyValue) -> Result<KeyValue> {
    let key = kv.key_str().map_err(|_| StoreError::Corrupt(format!("key {:?} is not UTF-8", kv.key())))?;
    Ok(KeyValue {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(kv.value()),
        mod_revision: Revision(kv.mod_revision() as u64),
        create_revision: Revision(kv.create_revision() as u64),
        stale: false,
    })
}

fn failed(error: etcd_client::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn is_compacted(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("has been compacted"))
}

/// etcd tells these two apart by their text alone, and does not say where history begins or ends.
fn out_of_history(error: etcd_client::Error, requested: Revision) -> StoreError {
    match &error {
        _ if is_compacted(&error) => StoreError::Compacted { requested, oldest: Revision(0) },
        etcd_client::Error::GRpcStatus(status) if status.message().contains("future revision") => {
            StoreError::Future { requested, newest: Revision(0) }
        }
        _ => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(prefix_end("/a/"), b"/a0");
        assert_eq!(prefix_end(""), [0]);
        assert_eq!(prefix_end("a\u{7f}"), b"a\x80");
    }
}
