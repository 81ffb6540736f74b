//! The embedded store on a disk that fails.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::join_all};
use history::disk::ForgetfulDisk;
use parking_lot::Mutex;
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

const KEYS: u64 = 1000;

/// Key n of round r at revision `r * KEYS + n + 1`, until `rounds` are written.
async fn write_rounds(store: &Embedded, rounds: u64) -> Revision {
    for round in 0..rounds {
        // In this order: none is put off because others have had their share of the thread.
        tokio::task::unconstrained(join_all((0..KEYS).map(|n| put_round(store, n, round)))).await;
    }
    Revision(rounds * KEYS)
}

async fn put_round(store: &Embedded, n: u64, round: u64) {
    let at = |round| Revision(round * KEYS + n + 1);
    let before = if round == 0 { Revision(0) } else { at(round - 1) };
    let value = Bytes::from(round.to_string());
    assert_eq!(store.put(&format!("/k/{n:04}"), value, before, None).await.unwrap(), at(round));
}

/// Writers do not wait for a compaction, and one that asks for less is answered before the one that asks for more.
#[tokio::test(start_paused = true)]
async fn writes_are_answered_while_a_large_compaction_runs() {
    let store = Embedded::open_disk(ForgetfulDisk::default()).unwrap();
    let last = write_rounds(&store, 100).await;
    let mut slow = store.watch("/k/", Revision(1)).await.unwrap();
    let answers = Mutex::new(Vec::new());
    let compaction = async |to: Revision| {
        store.compact(to).await.unwrap();
        answers.lock().push(format!("compacted {to}"));
    };
    let writes = async {
        for n in 0..5 {
            put_round(&store, n, 100).await;
            answers.lock().push("written".into());
        }
    };
    let less = Revision(last.0 / 2);
    tokio::join!(compaction(last), compaction(less), writes);
    let mut expected = vec!["written".to_owned(); 5];
    expected.extend([format!("compacted {less}"), format!("compacted {last}")]);
    assert_eq!(answers.into_inner(), expected);

    let error = slow.next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Compacted { requested: Revision(2), .. }), "{error}");
    let now = store.list("/k/", ListOptions::default()).await.unwrap();
    assert_eq!((now.items.len() as u64, now.revision), (KEYS, Revision(last.0 + 5)));
    assert!(store.list("/k/", ListOptions { at: Some(Revision(last.0 - 1)), ..ListOptions::default() }).await.is_err());
}

/// What is found after a crash in the middle of a compaction is a compaction at an earlier revision.
#[tokio::test(start_paused = true)]
async fn a_compaction_that_is_cut_short_leaves_a_consistent_store() {
    let disk = ForgetfulDisk::default();
    let store = Embedded::open_disk(disk.clone()).unwrap();
    let target = write_rounds(&store, 30).await;
    let mut compaction = Box::pin(store.compact(target));
    assert!(compaction.as_mut().now_or_never().is_none());
    for n in 0..7 {
        put_round(&store, n, 30).await;
    }
    assert!(compaction.now_or_never().is_none(), "it is done already");
    let last = store.revision().await.unwrap();
    let disk = disk.crash();
    drop(store);

    let store = Embedded::open_disk(disk).unwrap();
    assert_eq!(store.revision().await.unwrap(), last);
    let Err(StoreError::Compacted { oldest, .. }) = store.watch("/k/", Revision(1)).await.map(drop) else {
        panic!("nothing was forgotten")
    };
    assert!(oldest < target, "{oldest}");
    for at in [oldest, Revision(oldest.0 + 1), Revision(target.0 - 1), last] {
        let page = store.list("/k/", ListOptions { at: Some(at), ..ListOptions::default() }).await.unwrap();
        let expected = |n: u64| (at.0 - n - 1) / KEYS;
        let found = page.items.iter().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap());
        assert_eq!(
            found.collect::<Vec<_>>(),
            (0..KEYS).map(|n| expected(n).to_string()).collect::<Vec<_>>(),
            "at {at}"
        );
    }
    let mut watch = store.watch("/k/", oldest).await.unwrap();
    for revision in oldest.0 + 1..=last.0 {
        let event = watch.next().await.unwrap().unwrap();
        assert!(
            matches!(&event, Event::Put { prev: Some(_), .. }) && event.revision() == Revision(revision),
            "{event:?}"
        );
    }
    store.compact(target).await.unwrap();
    assert!(store.watch("/k/", Revision(target.0 - 1)).await.is_err());
}
