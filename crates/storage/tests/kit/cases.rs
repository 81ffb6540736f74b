//! What holds while a store lives.

use std::time::Duration;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use storage::{Event, ListOptions, Revision, StoreError, WatchStream};

use crate::{Db, bytes, change, create, keys};

type Case = fn(Db) -> BoxFuture<'static, ()>;

pub(crate) const CASES: &[(&str, Case)] = &[
    ("compare_and_swap", |db| compare_and_swap(db).boxed()),
    ("deletes", |db| deletes(db).boxed()),
    ("list_and_watch", |db| list_and_watch(db).boxed()),
    ("pages_at_a_revision", |db| pages_at_a_revision(db).boxed()),
    ("pages_over_a_compaction", |db| pages_over_a_compaction(db).boxed()),
    ("lists_the_past", |db| lists_the_past(db).boxed()),
    ("compaction", |db| compaction(db).boxed()),
    ("compaction_again_and_too_far", |db| compaction_again_and_too_far(db).boxed()),
    ("future", |db| future(db).boxed()),
    ("ttl", |db| ttl(db).boxed()),
    ("ttl_of_many_keys", |db| ttl_of_many_keys(db).boxed()),
    ("progress", |db| progress(db).boxed()),
    ("progress_never_overtakes_events", |db| progress_never_overtakes_events(db).boxed()),
    ("concurrent_writers", |db| concurrent_writers(db).boxed()),
    ("one_of_many_swaps_wins", |db| one_of_many_swaps_wins(db).boxed()),
    ("watches_resume_anywhere", |db| watches_resume_anywhere(db).boxed()),
    ("large_values", |db| large_values(db).boxed()),
    ("prefixes_do_not_mix", |db| prefixes_do_not_mix(db).boxed()),
];

async fn compare_and_swap(db: Db) {
    let created = create(&db, "/a/1", "one").await;
    let error = db.put("/a/1", bytes("again"), Revision(0), None).await;
    match error.unwrap_err() {
        StoreError::Conflict { current: Some(kv), .. } => {
            assert_eq!((kv.value, kv.mod_revision), (bytes("one"), created));
        }
        other => panic!("{other}"),
    }
    let changed = db.put("/a/1", bytes("two"), created, None).await.unwrap();
    assert!(changed > created);
    let stale = db.put("/a/1", bytes("three"), created, None).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    let (kv, revision) = db.get("/a/1").await.unwrap();
    let kv = kv.unwrap();
    assert_eq!((kv.value, kv.mod_revision, kv.create_revision, revision), (bytes("two"), changed, created, changed));
    let absent = db.put("/a/2", bytes("x"), changed, None).await;
    assert!(matches!(absent, Err(StoreError::Conflict { current: None, .. })));
}

async fn deletes(db: Db) {
    let created = create(&db, "/a/1", "one").await;
    let absent = db.delete("/a/none", Revision(0)).await;
    assert!(matches!(absent, Err(StoreError::Conflict { current: None, .. })));
    let wrong = db.delete("/a/1", Revision(created.0 + 7)).await;
    assert!(matches!(wrong, Err(StoreError::Conflict { current: Some(_), .. })));
    let deleted = db.delete("/a/1", created).await.unwrap();
    assert!(deleted > created);
    assert_eq!(db.get("/a/1").await.unwrap(), (None, deleted));
    let again = create(&db, "/a/1", "again").await;
    let (kv, _) = db.get("/a/1").await.unwrap();
    assert_eq!(kv.unwrap().create_revision, again);
}

async fn list_and_watch(db: Db) {
    let first = create(&db, "/a/1", "one").await;
    let page = db.list("/a/", ListOptions::default()).await.unwrap();
    // What happens between the list and the watch must be seen.
    let second = create(&db, "/a/2", "two").await;
    let mut watch = db.watch("/a/", page.revision).await.unwrap();
    let updated = db.put("/a/1", bytes("uno"), first, None).await.unwrap();
    let deleted = db.delete("/a/2", second).await.unwrap();
    match change(&mut watch).await {
        Event::Put { kv, prev: None } => assert_eq!(kv.mod_revision, second),
        other => panic!("{other:?}"),
    }
    match change(&mut watch).await {
        Event::Put { kv, prev: Some(prev) } => {
            assert_eq!((kv.value, kv.mod_revision), (bytes("uno"), updated));
            assert_eq!((prev.value, prev.mod_revision), (bytes("one"), first));
        }
        other => panic!("{other:?}"),
    }
    match change(&mut watch).await {
        Event::Delete { prev, revision } => {
            assert_eq!((prev.value, revision), (bytes("two"), deleted));
        }
        other => panic!("{other:?}"),
    }
}

async fn pages_at_a_revision(db: Db) {
    for n in 0..10 {
        create(&db, &format!("/a/{n}"), "x").await;
    }
    let (mut seen, mut options) = (Vec::new(), ListOptions::default());
    options.limit = 4;
    loop {
        let page = db.list("/a/", options.clone()).await.unwrap();
        assert_eq!(*options.at.get_or_insert(page.revision), page.revision);
        seen.extend(page.items.into_iter().map(|kv| kv.key));
        assert_eq!(page.remaining, 10 - seen.len() as u64);
        if page.remaining == 0 {
            break;
        }
        options.after = seen.last().cloned();
        // Neither of these is part of the state that is being paged through.
        create(&db, &format!("/a/{}x", seen.len()), "x").await;
        let (kv, _) = db.get(&format!("/a/{}", seen.len() + 1)).await.unwrap();
        let kv = kv.unwrap();
        db.delete(&kv.key, kv.mod_revision).await.unwrap();
    }
    let expected: Vec<_> = (0..10).map(|n| format!("/a/{n}")).collect();
    assert_eq!(seen, expected);
}

async fn lists_the_past(db: Db) {
    let r1 = create(&db, "/a/1", "one").await;
    let r2 = create(&db, "/a/2", "two").await;
    let r3 = db.delete("/a/1", r1).await.unwrap();
    let r4 = create(&db, "/a/1", "back").await;
    let r5 = db.put("/a/2", bytes("deux"), r2, None).await.unwrap();
    for (at, expected) in [
        (r1, &["/a/1"][..]),
        (r2, &["/a/1", "/a/2"]),
        (r3, &["/a/2"]),
        (r4, &["/a/1", "/a/2"]),
        (r5, &["/a/1", "/a/2"]),
    ] {
        assert_eq!(keys(&db, "/a/", Some(at)).await, expected, "at {at}");
    }
    let options = ListOptions { at: Some(r4), ..ListOptions::default() };
    let page = db.list("/a/2", options).await.unwrap();
    assert_eq!(page.items[0].value, bytes("two"));
    assert_eq!(page.revision, r4);
}

async fn compaction(db: Db) {
    let mut revision = create(&db, "/a/1", "0").await;
    let first = revision;
    let gone = create(&db, "/a/gone", "x").await;
    db.delete("/a/gone", gone).await.unwrap();
    for n in 1..10 {
        revision = db.put("/a/1", bytes(&n.to_string()), revision, None).await.unwrap();
    }
    db.compact(revision).await.unwrap();
    let options = ListOptions { at: Some(first), ..ListOptions::default() };
    let error = db.list("/a/", options).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let error = match db.watch("/a/", first).await {
        Err(error) => error,
        Ok(mut watch) => watch.next().await.unwrap().unwrap_err(),
    };
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    assert_eq!(keys(&db, "/a/", Some(revision)).await, ["/a/1"]);
    let mut watch = db.watch("/a/", revision).await.unwrap();
    let last = db.put("/a/1", bytes("x"), revision, None).await.unwrap();
    match change(&mut watch).await {
        Event::Put { kv, prev: Some(prev) } => assert_eq!((kv.mod_revision, prev.value), (last, bytes("9"))),
        other => panic!("{other:?}"),
    }
}

async fn future(db: Db) {
    let now = create(&db, "/a/1", "x").await;
    let options = ListOptions { at: Some(Revision(now.0 + 100)), ..ListOptions::default() };
    let error = db.list("/a/", options).await.unwrap_err();
    assert!(matches!(error, StoreError::Future { .. }), "{error}");
}

async fn ttl(db: Db) {
    let ttl = Some(Duration::from_secs(1));
    let lost = db.put("/t/1", bytes("x"), Revision(0), ttl).await.unwrap();
    let kept = db.put("/t/2", bytes("x"), Revision(0), ttl).await.unwrap();
    let kept = db.put("/t/2", bytes("y"), kept, None).await.unwrap();
    let mut watch = db.watch("/t/", kept).await.unwrap();
    match change(&mut watch).await {
        Event::Delete { prev, .. } => assert_eq!((&*prev.key, prev.mod_revision), ("/t/1", lost)),
        other => panic!("{other:?}"),
    }
    assert_eq!(keys(&db, "/t/", None).await, ["/t/2"]);
}

/// A watch of a quiet prefix learns that the store has moved on when somebody asks for the revision.
async fn progress(db: Db) {
    let start = create(&db, "/a/1", "x").await;
    let mut watch = db.watch("/a/", start).await.unwrap();
    let elsewhere = create(&db, "/b/1", "x").await;
    let reached = async {
        loop {
            db.revision().await.unwrap();
            let next = tokio::time::timeout(Duration::from_secs(1), watch.next());
            if let Ok(Some(Ok(Event::Progress(at)))) = next.await
                && at >= elsewhere
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("no progress");
}

async fn concurrent_writers(db: Db) {
    let start = db.revision().await.unwrap();
    let writers = (0..8).map(|writer| {
        let db = db.clone();
        async move {
            let mut last = Revision(0);
            for n in 0..20 {
                last = db.put(&format!("/c/{writer}"), bytes(&n.to_string()), last, None).await.unwrap();
            }
        }
    });
    let mut watch = db.watch("/c/", start).await.unwrap();
    futures::future::join_all(writers).await;
    let mut last = start;
    for _ in 0..160 {
        let revision = change(&mut watch).await.revision();
        assert!(revision > last);
        last = revision;
    }
    assert_eq!(keys(&db, "/c/", None).await.len(), 8);
}

/// The rest of a list whose state is compacted away is refused; from the newest state it can be had.
async fn pages_over_a_compaction(db: Db) {
    for n in 0..6 {
        create(&db, &format!("/a/{n}"), "x").await;
    }
    let first = db.list("/a/", ListOptions { limit: 3, ..ListOptions::default() }).await.unwrap();
    let (kv, _) = db.get("/a/4").await.unwrap();
    let removed = db.delete("/a/4", kv.unwrap().mod_revision).await.unwrap();
    db.compact(removed).await.unwrap();
    let after = first.items.last().map(|kv| kv.key.clone());
    let options = ListOptions { at: Some(first.revision), after: after.clone(), limit: 3 };
    let error = db.list("/a/", options).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let rest = db.list("/a/", ListOptions { after, limit: 3, ..ListOptions::default() }).await.unwrap();
    assert_eq!(rest.items.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["/a/3", "/a/5"]);
    assert_eq!((rest.remaining, rest.revision), (0, removed));
}

async fn compaction_again_and_too_far(db: Db) {
    let first = create(&db, "/a/1", "x").await;
    let second = db.put("/a/1", bytes("y"), first, None).await.unwrap();
    db.compact(second).await.unwrap();
    // Another API server may have been faster.
    db.compact(second).await.unwrap();
    db.compact(first).await.unwrap();
    let error = db.compact(Revision(second.0 + 100)).await.unwrap_err();
    assert!(matches!(error, StoreError::Future { .. }), "{error}");
    assert_eq!(keys(&db, "/a/", None).await, ["/a/1"]);
}

/// Keys of one lifetime share what makes them expire; all are gone, each with its own event, and none early.
async fn ttl_of_many_keys(db: Db) {
    let start = db.revision().await.unwrap();
    let began = tokio::time::Instant::now();
    for n in 0..20 {
        db.put(&format!("/t/{n:02}"), bytes("x"), Revision(0), Some(Duration::from_secs(2))).await.unwrap();
    }
    let mut watch = db.watch("/t/", start).await.unwrap();
    for n in 0..20 {
        assert!(matches!(change(&mut watch).await, Event::Put { kv, .. } if kv.key == format!("/t/{n:02}")));
    }
    let mut gone = Vec::new();
    while gone.len() < 20 {
        match change(&mut watch).await {
            Event::Delete { prev, .. } => gone.push(prev.key),
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(1900), "expired after {:?}", began.elapsed());
    gone.sort();
    assert_eq!(gone, (0..20).map(|n| format!("/t/{n:02}")).collect::<Vec<_>>());
    assert_eq!(keys(&db, "/t/", None).await, [""; 0]);
}

/// What a progress report says has been sent has been sent: nothing at or before it comes later.
async fn progress_never_overtakes_events(db: Db) {
    let start = db.revision().await.unwrap();
    let mut watch = db.watch("/p/", start).await.unwrap();
    let writers = (0..4).map(|writer| {
        let db = db.clone();
        async move {
            for n in 0..100 {
                create(&db, &format!("/p/{writer}-{n}"), "x").await;
                db.revision().await.unwrap();
            }
        }
    });
    let read = async {
        let (mut reached, mut seen) = (start, 0);
        while seen < 400 {
            match watch.next().await.unwrap().unwrap() {
                Event::Progress(at) => reached = reached.max(at),
                event => {
                    let at = event.revision();
                    assert!(at > reached, "the event of {at} comes after a report of {reached}");
                    (reached, seen) = (at, seen + 1);
                }
            }
        }
    };
    let all = futures::future::join(futures::future::join_all(writers), read);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("events are missing");
}

async fn one_of_many_swaps_wins(db: Db) {
    let mut at = create(&db, "/c/x", "0").await;
    for _ in 0..20 {
        let swaps = (0..8).map(|n| {
            let db = db.clone();
            async move { db.put("/c/x", bytes(&format!("{at}-{n}")), at, None).await }
        });
        let outcomes = futures::future::join_all(swaps).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        let won: Vec<_> = won.into_iter().map(Result::unwrap).collect();
        assert_eq!(won.len(), 1);
        for error in lost {
            match error.unwrap_err() {
                StoreError::Conflict { current: Some(kv), .. } => assert_eq!(kv.mod_revision, won[0]),
                other => panic!("{other}"),
            }
        }
        at = won[0];
    }
}

/// From every revision of the past on, a watch sees exactly what came after.
async fn watches_resume_anywhere(db: Db) {
    let mut revisions = vec![db.revision().await.unwrap()];
    let mut last = Revision(0);
    for n in 0..10 {
        last = db.put("/w/1", bytes(&n.to_string()), last, None).await.unwrap();
        revisions.push(last);
    }
    revisions.push(db.delete("/w/1", last).await.unwrap());
    for (n, from) in revisions.iter().enumerate() {
        let mut watch = db.watch("/w/", *from).await.unwrap();
        for expected in &revisions[n + 1..] {
            assert_eq!(change(&mut watch).await.revision(), *expected);
        }
    }
}

/// Objects of more than a mebibyte, and a list and a watch that are larger than usual limits of messages.
async fn large_values(db: Db) {
    let start = db.revision().await.unwrap();
    let value = bytes(&"x".repeat(1_200_000));
    for n in 0..8 {
        db.put(&format!("/l/{n}"), value.clone(), Revision(0), None).await.unwrap();
    }
    let page = db.list("/l/", ListOptions::default()).await.unwrap();
    assert_eq!(page.items.len(), 8);
    assert!(page.items.iter().all(|kv| kv.value == value));
    let mut watch: WatchStream = db.watch("/l/", start).await.unwrap();
    for n in 0..8 {
        match change(&mut watch).await {
            Event::Put { kv, .. } => assert_eq!((kv.key, kv.value), (format!("/l/{n}"), value.clone())),
            other => panic!("{other:?}"),
        }
    }
}

async fn prefixes_do_not_mix(db: Db) {
    let start = db.revision().await.unwrap();
    let mut watch = db.watch("/pods/", start).await.unwrap();
    create(&db, "/podsx/1", "x").await;
    create(&db, "/pod/1", "x").await;
    let pod = create(&db, "/pods/1", "x").await;
    assert_eq!(keys(&db, "/pods/", None).await, ["/pods/1"]);
    assert_eq!(change(&mut watch).await.revision(), pod);
}
