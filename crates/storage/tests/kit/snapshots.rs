//! A copy taken while writers write is the state at its revision, history included, and nothing else is taken for one.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::Arc,
};

use storage::{
    Event, KeyValue, ListOptions, Revision, StoreError,
    embedded::Embedded,
    snapshot::{Snapshot, SnapshotError, Summary, restore, verify},
};

use crate::{Db, backends::EtcdServer, bytes, change, create};

fn write(mut snapshot: Snapshot, path: &Path) -> u64 {
    let mut file = File::create(path).unwrap();
    while let Some(chunk) = snapshot.next_chunk().unwrap() {
        file.write_all(&chunk).unwrap();
    }
    file.metadata().unwrap().len()
}

async fn items(db: &Db, at: Revision) -> Vec<KeyValue> {
    let options = ListOptions { at: Some(at), ..ListOptions::default() };
    db.list("/", options).await.unwrap().items
}

/// Changes its keys over and over, until it is ended.
async fn write_forever(db: Db, writer: usize) {
    for n in 0.. {
        let key = format!("/w{writer}/{}", n % 7);
        let (found, _) = db.get(&key).await.unwrap();
        let at = found.map_or(Revision(0), |kv| kv.mod_revision);
        match n % 5 == 4 && at != Revision(0) {
            true => db.delete(&key, at).await.unwrap(),
            false => db.put(&key, bytes(&"x".repeat(n % 3000)), at, None).await.unwrap(),
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_writes_is_the_state_at_its_revision() {
    let dirs = tempfile::tempdir().unwrap();
    let db: Db = Arc::new(Embedded::open(dirs.path().join("live")).await.unwrap());
    let first = create(&db, "/a", "one").await;
    let second = db.put("/a", bytes("two"), first, None).await.unwrap();
    let writers: Vec<_> = (0..4).map(|n| tokio::spawn(write_forever(db.clone(), n))).collect();
    let mut seen = second;
    for round in 0..5 {
        let reached = async {
            while db.revision().await.unwrap() < Revision(seen.0 + 50) {
                tokio::task::yield_now().await
            }
        };
        reached.await;
        let snapshot = db.save().await.unwrap();
        let (summary, length) = (snapshot.summary(), snapshot.length());
        assert!(summary.revision > seen, "taken later, so newer");
        seen = summary.revision;
        let (file, dir) =
            (dirs.path().join(format!("{round}.snapshot")), dirs.path().join(format!("restored-{round}")));
        assert_eq!(write(snapshot, &file), length);
        assert_eq!(restore(&file, &dir).unwrap(), summary);

        let restored: Db = Arc::new(Embedded::open(&dir).await.unwrap());
        assert_eq!(restored.revision().await.unwrap(), seen);
        for at in [first, second, Revision(seen.0 - 20), seen] {
            assert_eq!(items(&restored, at).await, items(&db, at).await, "at {at}");
        }
        assert_eq!(items(&restored, seen).await.len() as u64, summary.objects);
        history_goes_on(&restored, first, seen).await;
    }
    assert!(db.revision().await.unwrap() > seen, "the writers were not stopped");
    writers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A watch from the past reads through the restored history into what is written now.
async fn history_goes_on(db: &Db, first: Revision, newest: Revision) {
    let mut watch = db.watch("/", first).await.unwrap();
    for revision in first.0 + 1..=newest.0 {
        assert_eq!(change(&mut watch).await.revision(), Revision(revision));
    }
    let (kv, _) = db.get("/a").await.unwrap();
    let written = db.put("/a", bytes("three"), kv.unwrap().mod_revision, None).await.unwrap();
    assert_eq!(written, Revision(newest.0 + 1));
    assert!(matches!(change(&mut watch).await, Event::Put { kv, .. } if kv.mod_revision == written));
}

#[tokio::test]
async fn compaction_holds_in_the_copy() {
    let dirs = tempfile::tempdir().unwrap();
    let db: Db = Arc::new(Embedded::in_memory());
    let first = create(&db, "/a", "one").await;
    let second = db.put("/a", bytes("two"), first, None).await.unwrap();
    db.compact(second).await.unwrap();
    let file = dirs.path().join("snapshot");
    write(db.save().await.unwrap(), &file);
    restore(&file, &dirs.path().join("new")).unwrap();
    let restored = Embedded::open(dirs.path().join("new")).await.unwrap();
    let error = storage::Store::watch(&restored, "/", first).await.err().unwrap();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_whole_snapshot_is_refused() {
    let dirs = tempfile::tempdir().unwrap();
    let db: Db = Arc::new(Embedded::in_memory());
    create(&db, "/a", "one").await;
    let good = dirs.path().join("good");
    write(db.save().await.unwrap(), &good);
    let whole = fs::read(&good).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let middle = whole.len() / 2;
    type Refusal = fn(&SnapshotError) -> bool;
    let cases: [(&str, Vec<u8>, Refusal); 7] = [
        ("empty", Vec::new(), |e| matches!(e, SnapshotError::Truncated(_))),
        ("half", whole[..middle].to_vec(), |e| matches!(e, SnapshotError::Truncated(_))),
        ("without its end", whole[..whole.len() - 1].to_vec(), |e| matches!(e, SnapshotError::Truncated(_))),
        ("with more", [&whole[..], b"x"].concat(), |e| matches!(e, SnapshotError::Damaged(_))),
        ("altered", with(middle, !whole[middle]), |e| matches!(e, SnapshotError::Damaged(_))),
        ("of another format", with(16, 2), |e| matches!(e, SnapshotError::Format { found: 2, .. })),
        ("foreign", with(0, b'K'), |e| matches!(e, SnapshotError::Foreign(_))),
    ];
    for (name, content, refused) in cases {
        let (file, dir) = (dirs.path().join("bad"), dirs.path().join("new"));
        fs::write(&file, content).unwrap();
        for error in [verify(&file).unwrap_err(), restore(&file, &dir).unwrap_err()] {
            assert!(refused(&error), "{name}: {error}");
        }
        assert!(!dir.exists(), "{name}");
    }
}

#[tokio::test]
async fn only_an_empty_directory_is_filled() {
    let dirs = tempfile::tempdir().unwrap();
    let db: Db = Arc::new(Embedded::in_memory());
    create(&db, "/a", "one").await;
    let file = dirs.path().join("snapshot");
    write(db.save().await.unwrap(), &file);
    let (used, empty) = (dirs.path().join("used"), dirs.path().join("empty"));
    for dir in [&used, &empty] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(used.join("mine"), "mine").unwrap();
    let error = restore(&file, &used).unwrap_err();
    assert!(matches!(error, SnapshotError::Occupied(_)), "{error}");
    assert_eq!(fs::read_dir(&used).unwrap().count(), 1);
    let Summary { revision, objects, .. } = restore(&file, &empty).unwrap();
    assert_eq!((revision, objects), (Revision(1), 1));
}

#[tokio::test]
async fn etcd_has_its_own() {
    let Some(server) = EtcdServer::start() else { return };
    let error = storage::Store::save(&server.connect().await).await.err().unwrap();
    assert_eq!(error.to_string(), "the state is in etcd: use etcdctl snapshot save");
}
