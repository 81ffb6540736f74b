//! The store behind an informer: objects by key in order, with any number of indexes.
//!
//! Readers get `Arc`s of the objects as last seen; nobody mutates an object in place. Iteration is in key order (namespace, then
//! name), so that what a controller does does not depend on hashing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;

use crate::ObjectKey;

/// Values under which an object is found in an index.
type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    name: &'static str,
    values: IndexFn<K>,
    /// Invariant: holds exactly the keys of stored objects, under each of their values.
    keys: BTreeMap<String, BTreeSet<ObjectKey>>,
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

struct Inner<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
}

/// A read handle to the objects of one informer. Cheap to clone.
pub struct Store<K>(Arc<RwLock<Inner<K>>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Inner { objects: BTreeMap::new(), indexes: Vec::new() })))
    }
}

impl<K> Store<K> {
    /// The object under a key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.read().objects.get(key).cloned()
    }

    /// The object of a namespace (empty for cluster-scoped kinds) and name.
    pub fn get_in(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// Every object, in key order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.read().objects.values().cloned().collect()
    }

    /// Every object of a namespace, by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let inner = self.0.read();
        let from = ObjectKey::new(namespace, "");
        let range = inner.objects.range((Bound::Included(from), Bound::Unbounded));
        range.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// Every key, in order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.0.read().objects.keys().cloned().collect()
    }

    /// The objects that an index holds under a value, in key order. The index must have been added.
    ///
    /// # Panics
    /// When no index of that name was added: a programming error that the first use shows.
    pub fn by_index(&self, index: &'static str, value: &str) -> Vec<Arc<K>> {
        let inner = self.0.read();
        let Some(index) = inner.indexes.iter().find(|i| i.name == index) else {
            panic!("no index {index} on this store")
        };
        let Some(keys) = index.keys.get(value) else { return Vec::new() };
        keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.0.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index (a second call with the same name is ignored: controllers that share an informer may ask for the same one).
    pub fn add_index(&self, name: &'static str, values: IndexFn<K>) {
        let mut inner = self.0.write();
        if inner.indexes.iter().any(|i| i.name == name) {
            return;
        }
        let mut index = Index { name, values, keys: BTreeMap::new() };
        for (key, object) in &inner.objects {
            index.insert(key, object);
        }
        inner.indexes.push(index);
    }

    /// Puts an object in by hand: for stores without an informer (tests, caches of one's own). Returns the one it replaced.
    pub fn insert(&self, key: ObjectKey, object: Arc<K>) -> Option<Arc<K>> {
        let mut inner = self.0.write();
        let Inner { objects, indexes } = &mut *inner;
        let old = objects.insert(key.clone(), object.clone());
        for index in indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &object);
        }
        old
    }

    /// Takes an object out by hand.
    pub fn remove(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let mut inner = self.0.write();
        let Inner { objects, indexes } = &mut *inner;
        let old = objects.remove(key)?;
        for index in indexes {
            index.remove(key, &old);
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The index takes the stored type by reference.
    #[allow(clippy::ptr_arg)]
    fn words(s: &String) -> Vec<String> {
        s.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn indexes_follow_changes() {
        let store = Store::<String>::default();
        store.insert(ObjectKey::new("a", "1"), Arc::new("red blue".into()));
        store.add_index("word", words);
        store.insert(ObjectKey::new("b", "2"), Arc::new("blue".into()));
        assert_eq!(store.by_index("word", "blue").len(), 2);
        store.insert(ObjectKey::new("a", "1"), Arc::new("green".into()));
        assert_eq!(store.by_index("word", "blue"), [Arc::new("blue".to_owned())]);
        assert!(store.by_index("word", "red").is_empty());
        store.remove(&ObjectKey::new("b", "2"));
        assert!(store.by_index("word", "blue").is_empty());
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn lists_one_namespace_only() {
        let store = Store::<u8>::default();
        for (n, key) in
            [ObjectKey::new("a", "z"), ObjectKey::new("b", "a"), ObjectKey::new("b", "b"), ObjectKey::new("ba", "a")]
                .into_iter()
                .enumerate()
        {
            store.insert(key, Arc::new(n as u8));
        }
        assert_eq!(store.list_in("b"), [Arc::new(1), Arc::new(2)]);
        assert!(store.list_in("").is_empty());
    }
}
