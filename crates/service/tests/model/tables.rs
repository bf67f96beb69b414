//! Tables that store each distinct value once, so that states contain numbers instead, and nothing is run twice.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, RwLock},
};

/// The number of a value in its table. It depends on the order in which threads add values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(u32);

/// Values by their keys, computed when they are first needed.
pub(crate) struct Table<K, V>(RwLock<Rows<K, V>>);

struct Rows<K, V> {
    ids: HashMap<K, Id>,
    values: Vec<Arc<V>>,
}

impl<K: Eq + Hash, V> Table<K, V> {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(Rows {
            ids: HashMap::new(),
            values: Vec::new(),
        }))
    }

    pub(crate) fn get(&self, id: Id) -> Arc<V> {
        Arc::clone(&self.0.read().unwrap().values[id.0 as usize])
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap().values.len()
    }

    pub(crate) fn find(&self, key: &K) -> Option<Id> {
        self.0.read().unwrap().ids.get(key).copied()
    }

    /// Adds a value. If another thread has added one for the key meanwhile, that one stays.
    pub(crate) fn add(&self, key: K, value: V) -> Id {
        let mut rows = self.0.write().unwrap();
        let next = Id(u32::try_from(rows.values.len()).unwrap());
        let id = *rows.ids.entry(key).or_insert(next);
        if id == next {
            rows.values.push(Arc::new(value));
        }
        id
    }

    pub(crate) fn id(&self, key: K, make: impl FnOnce(&K) -> V) -> Id {
        self.find(&key).unwrap_or_else(|| {
            let value = make(&key);
            self.add(key, value)
        })
    }

    pub(crate) fn value(&self, key: K, make: impl FnOnce(&K) -> V) -> Arc<V> {
        let id = self.id(key, make);
        self.get(id)
    }
}
