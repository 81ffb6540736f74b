//! What every store must do, written once against the trait and run over each backend.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use storage::{
    Event, ListOptions, Revision, Store, StoreError, WatchStream,
    embedded::Embedded,
    etcd::{Etcd, EtcdConfig},
};

type Db = Arc<dyn Store>;
type Case = fn(Db) -> BoxFuture<'static, ()>;

const CASES: &[(&str, Case)] = &[
    ("compare_and_swap", |db| compare_and_swap(db).boxed()),
    ("deletes", |db| deletes(db).boxed()),
    ("list_and_watch", |db| list_and_watch(db).boxed()),
    ("pages_at_a_revision", |db| pages_at_a_revision(db).boxed()),
    ("lists_the_past", |db| lists_the_past(db).boxed()),
    ("compaction", |db| compaction(db).boxed()),
    ("future", |db| future(db).boxed()),
    ("ttl", |db| ttl(db).boxed()),
    ("progress", |db| progress(db).boxed()),
    ("concurrent_writers", |db| concurrent_writers(db).boxed()),
    ("prefixes_do_not_mix", |db| prefixes_do_not_mix(db).boxed()),
];

// === the backends ===

#[tokio::test(start_paused = true)]
async fn embedded_in_memory() {
    for (name, case) in CASES {
        println!("{name}");
        case(Arc::new(Embedded::in_memory())).await;
    }
}

#[tokio::test]
async fn embedded_file() {
    for (name, case) in CASES {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        case(Arc::new(Embedded::open(dir.path()).await.unwrap())).await;
    }
}

#[tokio::test]
async fn etcd() {
    let Some(server) = EtcdServer::start() else {
        eprintln!("SKIPPED: {ETCD} is not there");
        return;
    };
    let db: Db = Arc::new(server.connect().await);
    for (name, case) in CASES {
        println!("{name}");
        case(db.clone()).await;
        for kv in db.list("/", ListOptions::default()).await.unwrap().items {
            db.delete(&kv.key, kv.mod_revision).await.unwrap();
        }
    }
    assert!(db.size().await.unwrap() > 0);
}

const ETCD: &str = "/usr/bin/etcd";

/// A real etcd on loopback, ended and removed with the value.
struct EtcdServer {
    process: std::process::Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl EtcdServer {
    fn start() -> Option<Self> {
        if !std::path::Path::new(ETCD).exists() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let [client, peer] = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [url, peer] = [client, peer].map(|socket| format!("http://{}", socket.local_addr().unwrap()));
        let process = std::process::Command::new(ETCD)
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .spawn()
            .unwrap();
        Some(Self { process, url, _dir: dir })
    }

    async fn connect(&self) -> Etcd {
        let config = EtcdConfig { servers: vec![self.url.clone()], ..EtcdConfig::default() };
        let connected = async {
            loop {
                match Etcd::connect(config.clone()).await {
                    Ok(store) => return store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), connected).await.expect("etcd did not start")
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

// === the cases ===

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn create(db: &Db, key: &str, value: &str) -> Revision {
    db.put(key, bytes(value), Revision(0), None).await.unwrap()
}

async fn keys(db: &Db, prefix: &str, at: Option<Revision>) -> Vec<String> {
    let options = ListOptions { at, ..ListOptions::default() };
    let page = db.list(prefix, options).await.unwrap();
    page.items.into_iter().map(|kv| kv.key).collect()
}

/// The next change, however many progress reports come before it.
async fn change(stream: &mut WatchStream) -> Event {
    let next = async {
        loop {
            match stream.next().await.expect("the watch ended").unwrap() {
                Event::Progress(_) => {}
                event => return event,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("no event")
}

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

async fn prefixes_do_not_mix(db: Db) {
    let start = db.revision().await.unwrap();
    let mut watch = db.watch("/pods/", start).await.unwrap();
    create(&db, "/podsx/1", "x").await;
    create(&db, "/pod/1", "x").await;
    let pod = create(&db, "/pods/1", "x").await;
    assert_eq!(keys(&db, "/pods/", None).await, ["/pods/1"]);
    assert_eq!(change(&mut watch).await.revision(), pod);
}

// === what only the embedded store promises ===

#[tokio::test]
async fn a_restart_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db: Db = Arc::new(Embedded::open(dir.path()).await.unwrap());
    let r1 = create(&db, "/a/1", "one").await;
    let r2 = create(&db, "/a/2", "two").await;
    let r3 = db.delete("/a/1", r1).await.unwrap();
    drop(db);

    let db: Db = Arc::new(Embedded::open(dir.path()).await.unwrap());
    assert_eq!(db.revision().await.unwrap(), r3);
    assert_eq!(keys(&db, "/a/", None).await, ["/a/2"]);
    assert_eq!(keys(&db, "/a/", Some(r2)).await, ["/a/1", "/a/2"]);
    let mut watch = db.watch("/a/", r2).await.unwrap();
    assert!(matches!(change(&mut watch).await, Event::Delete { .. }));
    db.compact(r3).await.unwrap();
    drop((db, watch));

    let db: Db = Arc::new(Embedded::open(dir.path()).await.unwrap());
    let error = db.watch("/a/", r1).await.err().unwrap();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    assert_eq!(create(&db, "/a/3", "x").await, Revision(r3.0 + 1));
    assert!(db.size().await.unwrap() > 0);
}

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
