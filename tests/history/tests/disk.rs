//! The embedded store on a disk that fails.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

use bytes::Bytes;
use futures::StreamExt;
use history::disk::ForgetfulDisk;
use storage::{Event, ListOptions, Revision, Store, StoreError, embedded::Embedded};

/// A full disk or a failed sync is no end: when it works again, so does the store, and watches see what became of all.
#[tokio::test(start_paused = true)]
async fn a_store_goes_on_after_its_disk_has_failed() {
    let disk = ForgetfulDisk::default();
    let store = Embedded::open_disk(disk.clone()).unwrap();
    let put = |key: &'static str| store.put(key, Bytes::from_static(b"x"), Revision(0), None);
    let first = put("/a").await.unwrap();
    let mut watch = store.watch("/", first).await.unwrap();
    disk.break_down();
    for key in ["/b", "/c"] {
        assert!(matches!(put(key).await, Err(StoreError::Unavailable(_))));
    }
    disk.repair();
    let last = put("/d").await.unwrap();
    let keys = async |store: &Embedded| {
        let page = store.list("/", ListOptions::default()).await.unwrap();
        page.items.into_iter().map(|kv| kv.key).collect::<Vec<_>>()
    };
    let found = keys(&store).await;
    assert!(found.contains(&"/a".to_owned()) && found.contains(&"/d".to_owned()), "{found:?}");
    let mut seen = vec!["/a".to_owned()];
    while seen.len() < found.len() {
        if let Event::Put { kv, .. } = watch.next().await.unwrap().unwrap() {
            seen.push(kv.key);
        }
    }
    assert_eq!(seen, found);
    drop((store, watch));
    let store = Embedded::open_disk(disk.crash()).unwrap();
    assert_eq!((keys(&store).await, store.revision().await.unwrap()), (found, last));
}
