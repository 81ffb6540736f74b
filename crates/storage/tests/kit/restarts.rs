//! What holds over the end of a store and its next life.

use std::time::Duration;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use storage::{Event, ListOptions, Revision, StoreError};

use crate::{backends::Backend, bytes, change, create, keys};

type Case = fn(&mut Backend) -> BoxFuture<'_, ()>;

pub(crate) const CASES: &[(&str, Case)] = &[
    ("nothing_is_lost", |backend| nothing_is_lost(backend).boxed()),
    ("watches_go_on", |backend| watches_go_on(backend).boxed()),
    ("lifetimes_go_on", |backend| lifetimes_go_on(backend).boxed()),
    ("compaction_stays", |backend| compaction_stays(backend).boxed()),
];

async fn nothing_is_lost(backend: &mut Backend) {
    let db = backend.open().await;
    let r1 = create(&db, "/a/1", "one").await;
    let r2 = create(&db, "/a/2", "two").await;
    let r3 = db.delete("/a/1", r1).await.unwrap();

    let db = backend.reopen(db).await;
    assert_eq!(db.revision().await.unwrap(), r3);
    assert_eq!(keys(&db, "/a/", None).await, ["/a/2"]);
    assert_eq!(keys(&db, "/a/", Some(r2)).await, ["/a/1", "/a/2"]);
    let (kv, _) = db.get("/a/2").await.unwrap();
    let kv = kv.unwrap();
    assert_eq!((kv.value, kv.mod_revision, kv.create_revision), (bytes("two"), r2, r2));
    assert_eq!(create(&db, "/a/3", "x").await, Revision(r3.0 + 1));
}

/// A watch ends with its store; begun again after what it saw last, it misses nothing.
async fn watches_go_on(backend: &mut Backend) {
    let db = backend.open().await;
    let start = db.revision().await.unwrap();
    let mut watch = db.watch("/a/", start).await.unwrap();
    let seen = create(&db, "/a/1", "one").await;
    assert_eq!(change(&mut watch).await.revision(), seen);
    let unseen = create(&db, "/a/2", "two").await;

    let db = backend.reopen(db).await;
    let ended = async { while watch.next().await.is_some_and(|item| item.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the old watch goes on");
    let mut watch = db.watch("/a/", seen).await.unwrap();
    let newest = create(&db, "/a/3", "three").await;
    for expected in [unseen, newest] {
        assert_eq!(change(&mut watch).await.revision(), expected);
    }
}

async fn lifetimes_go_on(backend: &mut Backend) {
    let db = backend.open().await;
    let put = db.put("/t/1", bytes("x"), Revision(0), Some(Duration::from_secs(3))).await.unwrap();
    let db = backend.reopen(db).await;
    let mut watch = db.watch("/t/", put).await.unwrap();
    assert!(matches!(change(&mut watch).await, Event::Delete { prev, .. } if prev.mod_revision == put));
}

async fn compaction_stays(backend: &mut Backend) {
    let db = backend.open().await;
    let first = create(&db, "/a/1", "x").await;
    let second = db.put("/a/1", bytes("y"), first, None).await.unwrap();
    let third = db.put("/a/1", bytes("z"), second, None).await.unwrap();
    db.compact(second).await.unwrap();
    // What is gone already is no news, and brings nothing back.
    db.compact(first).await.unwrap();
    let db = backend.reopen(db).await;
    let past = ListOptions { at: Some(first), ..ListOptions::default() };
    let error = db.list("/a/", past).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let mut watch = db.watch("/a/", second).await.unwrap();
    match change(&mut watch).await {
        Event::Put { kv, prev: Some(prev) } => assert_eq!((kv.mod_revision, prev.mod_revision), (third, second)),
        other => panic!("{other:?}"),
    }
}
