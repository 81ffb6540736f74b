//! What every store must do, written once against the trait and run over each backend.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

mod backends;
mod cases;
mod embedded;
mod encryption;
mod etcd;
mod restarts;
mod snapshots;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use storage::{Event, ListOptions, Revision, Store, WatchStream, embedded::Embedded};

use self::backends::{Backend, EtcdServer};

type Db = Arc<dyn Store>;

// === the backends ===

#[tokio::test(start_paused = true)]
async fn embedded_in_memory() {
    for (name, case) in cases::CASES {
        println!("{name}");
        case(Arc::new(Embedded::in_memory())).await;
    }
}

#[tokio::test]
async fn embedded_file() {
    over(|| Some(Backend::File(tempfile::tempdir().unwrap()))).await;
}

#[tokio::test]
async fn etcd_process() {
    let mut server = EtcdServer::start().map(Backend::Etcd);
    over(|| server.take()).await;
}

/// Runs everything over backends that survive their use: a new one for each case as long as there are any, else the last.
async fn over(mut make: impl FnMut() -> Option<Backend>) {
    let Some(mut backend) = make() else { return };
    for (name, case) in cases::CASES {
        println!("{name}");
        case(backend.open().await).await;
        backend = renewed(backend, &mut make).await;
    }
    for (name, case) in restarts::CASES {
        println!("{name}");
        case(&mut backend).await;
        backend = renewed(backend, &mut make).await;
    }
    assert!(backend.open().await.size().await.unwrap() > 0);
}

async fn renewed(old: Backend, make: &mut impl FnMut() -> Option<Backend>) -> Backend {
    match make() {
        Some(new) => new,
        None => {
            old.clear().await;
            old
        }
    }
}

// === what the cases are written in ===

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
