//! A map that never grows beyond its limit.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// How many entries are looked at to find one to forget.
const SAMPLE: usize = 8;

/// A map from keys that are already evenly spread (keyed hashes) to small values. When it is full, a new key takes
/// the place of the entry with the lowest rank among eight that are picked without regard to their keys.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    places: HashMap<K, u32, BuildHasherDefault<AsIs>>,
    entries: Vec<(K, V)>,
    limit: usize,
    cursor: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    /// Empty. `limit` is at least 1 and below 2^32.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, u32::MAX as usize);
        Self { places: HashMap::default(), entries: Vec::new(), limit, cursor: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        Some(&mut self.entries[place as usize].1)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Puts a key in that is not there yet, and gives its value back to work on.
    pub(crate) fn insert<R: Ord>(&mut self, key: K, value: V, rank: impl Fn(&V) -> R) -> &mut V {
        debug_assert!(!self.places.contains_key(&key), "a key is inserted once");
        if self.entries.len() >= self.limit {
            let victim = self.lowest(rank);
            self.remove_at(victim);
        }
        let place = self.entries.len();
        self.places.insert(key, u32::try_from(place).expect("the limit is below 2^32"));
        self.entries.push((key, value));
        &mut self.entries[place].1
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let place = *self.places.get(key)?;
        Some(self.remove_at(place as usize))
    }

    /// Keeps what `keep` says, and gives memory back when most of it is unused.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        let mut place = 0;
        while place < self.entries.len() {
            if keep(&mut self.entries[place].1) {
                place += 1;
            } else {
                self.remove_at(place);
            }
        }
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
            self.places.shrink_to(self.entries.len() * 2);
        }
    }

    fn remove_at(&mut self, place: usize) -> V {
        let (key, value) = self.entries.swap_remove(place);
        self.places.remove(&key);
        if let Some((moved, _)) = self.entries.get(place) {
            self.places.insert(*moved, u32::try_from(place).expect("the limit is below 2^32"));
        }
        value
    }

    /// The place with the lowest rank among a few. The stride is odd and large, so that places come in turn but not
    /// in the order the keys came.
    fn lowest<R: Ord>(&mut self, rank: impl Fn(&V) -> R) -> usize {
        let entries = &self.entries;
        let mut cursor = self.cursor;
        let places = (0..SAMPLE).map(|_| {
            cursor = cursor.wrapping_add(0x9E37_79B1);
            cursor % entries.len()
        });
        let victim = places.min_by_key(|place| rank(&entries[*place].1)).expect("the sample is not empty");
        self.cursor = cursor;
        victim
    }
}

/// Takes a key that is a hash as its own hash.
#[derive(Debug, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }

    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads small numbers as a keyed hash would.
    fn key(n: u64) -> u64 {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    #[test]
    fn never_holds_more_than_its_limit() {
        let mut map = Bounded::new(100);
        for n in 0..10_000u64 {
            map.insert(key(n), n, |value| *value);
            assert!(map.len() <= 100);
        }
        let held = (0..10_000).filter(|n| map.get_mut(&key(*n)).is_some_and(|value| value == n)).count();
        assert_eq!(held, 100);
    }

    #[test]
    fn forgets_the_lowly_before_the_high() {
        let mut map = Bounded::new(100);
        for n in 0..10 {
            map.insert(key(n), 1_000_000 + n, |value| *value);
        }
        for n in 10..5_000 {
            map.insert(key(n), n, |value| *value);
        }
        assert!((0..10).filter(|n| map.get_mut(&key(*n)).is_some()).count() >= 9);
    }

    #[test]
    fn finds_every_entry_after_others_were_removed() {
        let mut map = Bounded::new(1000);
        for n in 0..1000 {
            map.insert(key(n), n, |value| *value);
        }
        map.retain(|value| value.is_multiple_of(7));
        assert_eq!(map.remove(&key(7)), Some(7));
        for n in 0..1000 {
            assert_eq!(map.get_mut(&key(n)).is_some(), n % 7 == 0 && n != 7, "{n}");
        }
        assert!(map.entries.capacity() < 600, "memory was given back");
    }
}
