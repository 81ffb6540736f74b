//! The caches over a store in memory, compared with what a look at every object says.

use std::{sync::Arc, time::Duration};

use api_semantics::Strategy;
use api_types::schema::Schema;
use bytes::Bytes;
use serde_json::json;
use storage::{Revision, Store, embedded::Embedded};
use tokio_util::sync::CancellationToken;

use super::{By, Change, Entry, Form, FormPool, Hub, ResourceCache, Room, Scope, Subscription, Term};
use crate::{
    model::{Format, SelectableField, StorageModel, StrategyHandle},
    negotiate::Codec,
};

const LIMIT: Duration = Duration::from_secs(5);

struct NoRules;

impl Strategy for NoRules {}

fn model() -> Arc<StorageModel> {
    let format = Format {
        group: "example.test".into(),
        version: "v1".into(),
        kind: "Thing".into(),
        schema: Schema::Any,
        strategy: StrategyHandle::BuiltIn(&NoRules),
        custom: true,
        columns: None,
        source: None,
    };
    let fields = vec![SelectableField { label: "spec.place".into(), path: "spec.place".into(), default: "" }];
    Arc::new(StorageModel {
        prefix: "/registry/things/".into(),
        namespaced: true,
        formats: vec![Arc::new(format)],
        storage_format: 0,
        conversion: crate::conversion::Conversion::Local(|_, _, value| Ok(value)),
        selected: StorageModel::projection(&fields),
        fields,
        unknown_field: |_, _| String::new(),
    })
}

struct World {
    store: Arc<Embedded>,
    hub: Arc<Hub>,
    things: Arc<ResourceCache>,
    shutdown: CancellationToken,
}

impl World {
    async fn start(store: Arc<Embedded>) -> World {
        let hub = Hub::new(store.clone(), "/registry/", FormPool::default());
        let things = Arc::new(ResourceCache::new(model()));
        hub.add(things.clone());
        let shutdown = CancellationToken::new();
        tokio::spawn(hub.clone().run(shutdown.clone()));
        hub.wait_filled(LIMIT).await.unwrap();
        World { store, hub, things, shutdown }
    }

    /// Writes a thing, whatever it was before.
    async fn put(&self, name: &str, color: &str, place: &str) -> u64 {
        let key = format!("/registry/things/{name}");
        let object = json!({"apiVersion": "example.test/v1", "kind": "Thing",
            "metadata": {"labels": {"color": color}}, "spec": {"place": place}});
        let expected = self.store.get(&key).await.unwrap().0.map_or(Revision(0), |kv| kv.mod_revision);
        self.store.put(&key, Bytes::from(object.to_string()), expected, None).await.unwrap().0
    }

    async fn delete(&self, name: &str) {
        let key = format!("/registry/things/{name}");
        let expected = self.store.get(&key).await.unwrap().0.unwrap().mod_revision;
        self.store.delete(&key, expected).await.unwrap();
    }

    async fn keys(&self, scope: &Scope) -> Vec<String> {
        self.hub.catch_up(LIMIT).await.unwrap();
        self.things.list(scope).0.iter().map(|entry| entry.key.to_string()).collect()
    }
}

fn labelled(namespace: &str, color: &str) -> Scope {
    let term = Term { by: By::Label("color".into()), value: color.into() };
    Scope { namespace: namespace.into(), term: Some(term), ..Scope::default() }
}

fn at(place: &str) -> Scope {
    Scope { term: Some(Term { by: By::Field("spec.place".into()), value: place.into() }), ..Scope::default() }
}

#[tokio::test]
async fn an_index_follows_every_change() {
    let world = World::start(Arc::new(Embedded::in_memory())).await;
    world.put("a/one", "red", "here").await;
    assert_eq!(world.keys(&labelled("", "red")).await, ["a/one"]);
    // From now on the index is there, and has to keep up.
    let mut seen = 0;
    for n in 0..60u64 {
        let name = format!("{}/n{}", ["a", "b"][n as usize % 2], n % 7);
        world.put(&name, ["red", "blue", ""][n as usize % 3], ["here", "there"][n as usize / 2 % 2]).await;
        if n % 5 == 4 {
            world.delete(&name).await;
        }
        for (scope, field, value) in [
            (labelled("a", "red"), "color", "red"),
            (labelled("", "blue"), "color", "blue"),
            (at("there"), "place", "there"),
        ] {
            let found = world.keys(&scope).await;
            let all = world.things.list(&Scope { term: None, ..scope }).0;
            let holds = |entry: &super::Entry| match field {
                "color" => entry.selectable.label("color") == Some(value),
                _ => entry.selectable.field("spec.place") == Some(value),
            };
            let expected: Vec<String> = all.iter().filter(|e| holds(e)).map(|e| e.key.to_string()).collect();
            assert_eq!(found, expected, "{field}={value} after change {n}");
            seen += found.len();
        }
    }
    assert!(seen > 200, "only {seen} matches in all");
}

async fn next(subscription: &mut Subscription) -> (Change, String) {
    let event = subscription.events.recv().await.unwrap();
    (event.change, event.entry.key.to_string())
}

#[tokio::test]
async fn a_narrowed_watch_sees_what_comes_changes_and_goes() {
    let world = World::start(Arc::new(Embedded::in_memory())).await;
    let mut here = world.things.watch(&at("here"), None).unwrap();
    world.put("a/elsewhere", "red", "there").await;
    world.put("a/mover", "red", "here").await;
    world.put("a/mover", "red", "there").await;
    world.put("a/stayer", "red", "here").await;
    world.delete("a/stayer").await;
    let put = |name: &str| (Change::Put, name.to_owned());
    // Leaving is a change too: the watch itself tells that it no longer matches.
    let wanted = [put("a/mover"), put("a/mover"), put("a/stayer"), (Change::Delete, "a/stayer".into())];
    for expected in wanted {
        assert_eq!(next(&mut here).await, expected);
    }
    assert!(here.events.try_recv().is_err(), "a change elsewhere arrived");
}

#[tokio::test]
async fn a_watch_from_before_a_restart_goes_on() {
    let store = Arc::new(Embedded::in_memory());
    let world = World::start(store.clone()).await;
    let first = world.put("a/one", "red", "here").await;
    world.put("a/two", "red", "here").await;
    world.delete("a/one").await;
    world.shutdown.cancel();
    let world = World::start(store).await;
    let subscription = world.things.watch(&Scope::default(), Some(first)).unwrap();
    let backlog: Vec<_> = subscription.backlog.iter().map(|e| (e.change, e.entry.key.to_string())).collect();
    assert_eq!(backlog, [(Change::Put, "a/two".to_owned()), (Change::Delete, "a/one".to_owned())]);
    assert_eq!(world.keys(&Scope::default()).await, ["a/two"]);
}

#[tokio::test]
async fn what_is_compacted_can_not_be_watched() {
    let store = Arc::new(Embedded::in_memory());
    let world = World::start(store.clone()).await;
    let first = world.put("a/one", "red", "here").await;
    let last = world.put("a/one", "blue", "here").await;
    world.shutdown.cancel();
    store.compact(Revision(last)).await.unwrap();
    let world = World::start(store).await;
    assert!(world.things.watch(&Scope::default(), Some(first)).is_err());
    assert_eq!(world.keys(&labelled("", "blue")).await, ["a/one"]);
}

/// Keys of one lease expire in one revision: each of them has its event, and none stays.
#[test]
fn several_events_of_one_revision_are_all_taken() {
    let cache = ResourceCache::new(model());
    let object = || Bytes::from(json!({"apiVersion": "example.test/v1", "kind": "Thing"}).to_string());
    cache.reset(Vec::new(), 1);
    cache.put("ns/a", object(), 2);
    cache.put("ns/b", object(), 3);
    let mut watch = cache.watch(&Scope::default(), Some(3)).unwrap();
    for key in ["ns/a", "ns/b"] {
        cache.delete(key, 4);
    }
    assert!(cache.is_empty());
    let seen = [(); 2].map(|()| watch.events.try_recv().unwrap());
    assert_eq!(
        seen.map(|event| (event.change, event.entry.name().to_owned(), event.revision())),
        [(Change::Delete, "a".to_owned(), 4), (Change::Delete, "b".to_owned(), 4)]
    );
    // What the state that it was filled with contains already is no news.
    cache.reset(Vec::new(), 9);
    cache.put("ns/a", object(), 8);
    assert!(cache.is_empty());
}

/// A cache of things `ns/0`, `ns/1`, ... and the length of each one's form.
fn pooled(pool: &Arc<FormPool>, count: u64) -> (ResourceCache, usize) {
    let cache = ResourceCache::new(model());
    cache.join(&Arc::default(), pool);
    for n in 0..count {
        cache.put(&format!("ns/{n}"), thing(), n + 100);
    }
    (cache, Arc::new(Entry::new(&model(), "ns/0", thing(), 100)).length(FORM).unwrap())
}

fn thing() -> Bytes {
    Bytes::from(json!({"apiVersion": "example.test/v1", "kind": "Thing", "text": "x".repeat(1000)}).to_string())
}

const FORM: Form = Form { version: 0, codec: Codec::Json };

#[test]
fn forms_stay_within_their_budget() {
    let pool = Arc::new(FormPool::new(5_000));
    let (cache, length) = pooled(&pool, 10);
    assert_eq!(pool.used(), 0);
    let read = |n: u64, room| cache.get(&format!("ns/{n}")).0.unwrap().bytes(FORM, room).unwrap();
    let most = 5_000 / length;
    // A list keeps what there is room for, and displaces nothing.
    let forms: Vec<Bytes> = (0..10).map(|n| read(n, Room::IfThere)).collect();
    assert_eq!(pool.used(), most * length);
    let kept = |n: u64| read(n, Room::IfThere).as_ptr() == forms[n as usize].as_ptr();
    assert_eq!((0..10).filter(|n| kept(*n)).count(), most);
    // Who asks for one object has it kept, at the cost of what nobody asked for again.
    for n in 0..10 {
        cache.get(&format!("ns/{n}")).0.unwrap().was_asked_for();
    }
    read(0, Room::Make);
    let last = read(9, Room::Make);
    assert_eq!(read(9, Room::IfThere).as_ptr(), last.as_ptr());
    assert!(kept(0), "it was asked for again");
    assert!(!kept(1), "the oldest one made room");
    assert!(pool.used() <= 5_000);
}

#[test]
fn forms_go_with_their_entries() {
    let pool = Arc::new(FormPool::new(1 << 20));
    let (cache, length) = pooled(&pool, 10);
    let entries: Vec<_> = (0..10).map(|n| cache.get(&format!("ns/{n}")).0.unwrap()).collect();
    entries.iter().for_each(|entry| _ = entry.bytes(FORM, Room::Make).unwrap());
    assert_eq!(pool.used(), 10 * length);
    // A former state is in the window still, its form is not.
    cache.put("ns/0", thing(), 200);
    assert_eq!(pool.used(), 9 * length);
    drop(entries);
    drop(cache);
    assert_eq!(pool.used(), 0);
}

#[test]
fn the_window_is_bounded_in_bytes_too() {
    let cache = ResourceCache::new(model());
    let large = || Bytes::from(format!(r#"{{"kind":"Thing","text":"{}"}}"#, "x".repeat(1 << 20)));
    for revision in 1..=100 {
        cache.put("ns/one", large(), revision);
    }
    assert!(cache.watch(&Scope::default(), Some(10)).is_err());
    assert!(cache.watch(&Scope::default(), Some(90)).is_ok());
}
