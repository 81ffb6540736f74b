//! What only the embedded store promises.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use storage::{Revision, StoreError, embedded::Embedded};

use crate::{Db, bytes, change, create, keys};

#[tokio::test]
async fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Embedded::open(dir.path()).await.unwrap();
    let second = Embedded::open(dir.path()).await.err().unwrap();
    assert!(matches!(second, StoreError::Unavailable(_)), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_ends_with_an_error_and_an_idle_one_lives() {
    let db: Db = Arc::new(Embedded::in_memory());
    let start = db.revision().await.unwrap();
    let mut slow = db.watch("/a/", start).await.unwrap();
    let mut idle = db.watch("/b/", start).await.unwrap();
    let mut last = Revision(0);
    for n in 0..10 {
        last = db.put("/a/1", bytes(&n.to_string()), last, None).await.unwrap();
    }
    db.compact(last).await.unwrap();
    let error = slow.next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    assert!(slow.next().await.is_none());
    let created = create(&db, "/b/1", "x").await;
    assert_eq!(change(&mut idle).await.revision(), created);
}

#[tokio::test(start_paused = true)]
async fn history_is_compacted_after_its_time() {
    let db: Db = Arc::new(Embedded::in_memory());
    let first = create(&db, "/a/1", "x").await;
    let second = db.put("/a/1", bytes("y"), first, None).await.unwrap();
    tokio::time::sleep(storage::embedded::COMPACTION_INTERVAL - Duration::from_secs(1)).await;
    assert_eq!(keys(&db, "/a/", Some(first)).await, ["/a/1"]);
    tokio::time::sleep(2 * storage::embedded::COMPACTION_INTERVAL).await;
    let error = db.watch("/a/", first).await.err().unwrap();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    assert_eq!(keys(&db, "/a/", Some(second)).await, ["/a/1"]);
}

#[tokio::test(start_paused = true)]
async fn watches_end_when_the_store_is_dropped() {
    let db: Db = Arc::new(Embedded::in_memory());
    let mut watch = db.watch("/", Revision(0)).await.unwrap();
    create(&db, "/a", "x").await;
    drop(db);
    assert_eq!(change(&mut watch).await.revision(), Revision(1));
    assert!(watch.next().await.unwrap().is_err());
    assert!(watch.next().await.is_none());
}
