//! Leases for keys with a time to live, reused for a while: a key may live a little longer than asked for, never shorter.

use std::{collections::BTreeMap, time::Duration};

use etcd_client::LeaseClient;
use tokio::{sync::Mutex, time::Instant};

use super::{failed, retry::until_sent};
use crate::Result;

/// A lease with too many keys makes its expiry one large transaction.
const MAX_KEYS: u32 = 1000;
const MAX_REUSE: Duration = Duration::from_secs(60);

pub(super) struct Leases {
    client: LeaseClient,
    by_ttl: Mutex<BTreeMap<u64, Lease>>,
}

#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    reuse_until: Instant,
    keys: u32,
}

// === impl Leases ===

impl Leases {
    pub(super) fn new(client: LeaseClient) -> Self {
        Self { client, by_ttl: Mutex::default() }
    }

    /// A lease that lasts at least `ttl` from now.
    pub(super) async fn lease(&self, ttl: Duration) -> Result<i64> {
        let seconds = ttl.as_millis().div_ceil(1000).max(1) as u64;
        let mut by_ttl = self.by_ttl.lock().await;
        if let Some(lease) = by_ttl.get_mut(&seconds)
            && lease.keys < MAX_KEYS
            && Instant::now() < lease.reuse_until
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        // Whole seconds, as etcd counts; short times are not stretched.
        let reuse = MAX_REUSE.min(Duration::from_secs(seconds / 20));
        let granted = until_sent(|| {
            let mut client = self.client.clone();
            async move { client.grant((seconds + reuse.as_secs()) as i64, None).await }
        });
        let id = granted.await.map_err(failed)?.id();
        let reuse_until = Instant::now() + reuse;
        by_ttl.insert(seconds, Lease { id, reuse_until, keys: 1 });
        Ok(id)
    }
}
