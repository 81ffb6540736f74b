//! Compaction by one of the servers that share a cluster, in turn with upstream's: they agree by a key outside of the data.
//!
//! The key's version counts the rounds. Whoever swaps it in a round compacts to what was newest one interval ago; the
//! others learn the round and try the next one, so a server that goes away is replaced after one more interval.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, KvClient, ResponseHeader, Txn, TxnOp, TxnOpResponse};

use super::is_compacted;

/// Upstream's (`etcd3/compact.go`); its value is the revision, its version the round.
const ROUNDS: &str = "compact_rev_key";

/// What a server knows between two rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    number: i64,
    /// The newest revision then: what is older by the next round may go.
    revision: i64,
}

/// Forgets what is older than one interval.
pub(super) async fn keep_compacted(mut kv: KvClient, interval: Duration) {
    if interval.is_zero() {
        return;
    }
    let mut round = Round::default();
    loop {
        tokio::time::sleep(interval).await;
        match take_turn(&mut kv, round).await {
            Ok(next) => round = next,
            Err(error) => tracing::warn!(%error, "compaction failed"),
        }
    }
}

async fn take_turn(kv: &mut KvClient, last: Round) -> Result<Round, etcd_client::Error> {
    let txn = Txn::new()
        .when([Compare::version(ROUNDS, CompareOp::Equal, last.number)])
        .and_then([TxnOp::put(ROUNDS, last.revision.to_string(), None)])
        .or_else([TxnOp::get(ROUNDS, None)]);
    let response = kv.txn(txn).await?;
    let revision = response.header().map_or(0, ResponseHeader::revision);
    if !response.succeeded() {
        let found = response.op_responses().into_iter().find_map(|op| match op {
            TxnOpResponse::Get(found) => found.kvs().first().map(etcd_client::KeyValue::version),
            _ => None,
        });
        return Ok(Round { number: found.unwrap_or_default(), revision });
    }
    // In the first round nobody knows how old the newest revision is.
    if last.revision > 0
        && let Err(error) = kv.compact(last.revision, None).await
        && !is_compacted(&error)
    {
        return Err(error);
    }
    Ok(Round { number: last.number + 1, revision })
}
