//! What only the store in etcd promises.

use std::time::Duration;

use storage::{Revision, Store, etcd::Etcd};

use crate::{backends::EtcdServer, bytes};

/// Several servers on one cluster: history is forgotten once per interval, by one of them.
#[tokio::test]
async fn servers_share_the_compaction() {
    let Some(server) = EtcdServer::start() else { return };
    drop(server.connect().await);
    let config = || storage::etcd::EtcdConfig { compaction_interval: Duration::from_millis(500), ..server.config() };
    let stores = [Etcd::connect(config()).await.unwrap(), Etcd::connect(config()).await.unwrap()];
    let mut last = Revision(0);
    let first = stores[0].put("/a", bytes("0"), last, None).await.unwrap();
    last = first;
    let compacted = async {
        loop {
            last = stores[1].put("/a", bytes("x"), last, None).await.unwrap();
            let past = storage::ListOptions { at: Some(first), ..storage::ListOptions::default() };
            if stores[0].list("/a", past).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), compacted).await.expect("nothing was compacted");
    let (marker, _) = stores[0].get("compact_rev_key").await.unwrap();
    let marker = marker.expect("the servers agree by upstream's key");
    assert!(String::from_utf8_lossy(&marker.value).parse::<u64>().is_ok());
}

/// A member that is down costs no request its answer.
#[tokio::test]
async fn a_member_is_down() {
    let Some(server) = EtcdServer::start() else { return };
    drop(server.connect().await);
    let mut config = server.config();
    config.servers.push("http://127.0.0.1:1".to_owned());
    let store = Etcd::connect(config).await.unwrap();
    let mut last = Revision(0);
    for _ in 0..200 {
        last = store.put("/a", bytes("0"), last, None).await.unwrap();
        assert_eq!(store.get("/a").await.unwrap().1, last);
    }
}
