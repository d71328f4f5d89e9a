//! Collections that say no: every queue and map of a machine has a bound.

use std::collections::{BTreeMap, VecDeque};

/// The collection holds as much as it may; what to do about it is the caller's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A queue of at most `max` items.
#[derive(Clone, Debug)]
pub struct BoundedQueue<T> {
    items: VecDeque<T>,
    max: usize,
}

impl<T> BoundedQueue<T> {
    /// An empty queue for at most `max` items.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            max,
        }
    }

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// [`Full`] if the queue holds `max` items; the item is dropped.
    pub fn push(&mut self, item: T) -> Result<(), Full> {
        if self.items.len() >= self.max {
            return Err(Full);
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// The oldest item.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.items.front()
    }

    /// The items, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Keeps the items for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.items.retain(keep);
    }

    /// Drops all items.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// How many items it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it holds `max` items.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.max
    }
}

/// An ordered map of at most `max` entries.
#[derive(Clone, Debug)]
pub struct BoundedMap<K, V> {
    entries: BTreeMap<K, V>,
    max: usize,
}

impl<K: Ord, V> BoundedMap<K, V> {
    /// An empty map for at most `max` entries.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            max,
        }
    }

    /// Sets the value of a key and returns the one before it.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and the map holds `max` entries; nothing changes.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full> {
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            return Err(Full);
        }
        Ok(self.entries.insert(key, value))
    }

    /// The value of a key, made by `default` if the key is new.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and the map holds `max` entries.
    pub fn entry(&mut self, key: K, default: impl FnOnce() -> V) -> Result<&mut V, Full> {
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            return Err(Full);
        }
        Ok(self.entries.entry(key).or_insert_with(default))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes a key's value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Takes the smallest key out, with its value.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        self.entries.pop_first()
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// The entries in the order of their keys, to change the values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut()
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    /// Keeps the entries for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain(keep);
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_takes_new_values_for_old_keys_only() {
        let mut map = BoundedMap::new(1);

        assert_eq!(map.insert(1, 'a'), Ok(None));
        assert_eq!(map.insert(2, 'b'), Err(Full));
        assert_eq!(map.insert(1, 'c'), Ok(Some('a')));
        assert_eq!(map.entry(2, || 'd'), Err(Full));
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_its_order() {
        let mut queue = BoundedQueue::new(2);

        assert_eq!(queue.push(1), Ok(()));
        assert_eq!(queue.push(2), Ok(()));
        assert_eq!(queue.push(3), Err(Full));
        assert_eq!(
            (queue.pop(), queue.pop(), queue.pop()),
            (Some(1), Some(2), None)
        );
    }
}
