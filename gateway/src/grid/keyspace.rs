//! Names and what stands behind them: a counter, a hash of counters, a log.
//!
//! Two sites may use one name for different kinds. All kinds are kept and merged apart; clients
//! see the first that exists of counter, hash, log. So every site shows the same.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::arena::{Arena, NameRef};
use super::counter::{Counter, Extra, flag};
use super::index::{Index, Named};
use super::slots::Slots;

/// Keys that are looked at ahead of their commands.
pub(crate) const LOOK_AHEAD_MAX: usize = 64;

/// Which counter: a key's own, or a field of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CounterRef {
    pub(super) name: u32,
    field: u32,
}

impl CounterRef {
    const NO_FIELD: u32 = u32::MAX;

    pub(super) fn key(name: u32) -> Self {
        Self {
            name,
            field: Self::NO_FIELD,
        }
    }

    pub(super) fn field(name: u32, field: u32) -> Self {
        Self { name, field }
    }

    pub(super) fn is_field(self) -> bool {
        self.field != Self::NO_FIELD
    }
}

/// Fields of one hash.
#[derive(Debug, Default)]
pub(super) struct Hash {
    index: HashTable<Named>,
    pub(super) fields: Slots<Counter>,
    /// Fields that clients see.
    pub(super) live: u64,
}

/// All names.
#[derive(Debug)]
pub(super) struct Keyspace {
    hasher: DefaultHashBuilder,
    index: Index,
    arena: Arena,
    pub(super) names: Slots<Counter>,
    pub(super) hashes: HashMap<u32, Hash>,
    /// What few counters have.
    pub(super) more: HashMap<CounterRef, Extra>,
    /// Memory of the tables of hashes and of the lists that few counters have, kept up to date.
    pub(super) more_bytes: usize,
    /// Fields of all hashes that clients see.
    pub(super) fields_live: u64,
    /// Names that were forgotten so far: while it stands still every place is what it was.
    pub(super) forgotten: u64,
    pub(super) silenced: Silenced,
}

/// Counters that a link's numbers must not name any more, as the peer may have forgotten them: those that
/// were hidden or forgotten of late. In a session, more may come and go than are kept here.
#[derive(Debug, Default)]
pub(super) struct Silenced {
    places: VecDeque<CounterRef>,
    /// How many there were in all.
    noted: u64,
}

impl Silenced {
    const MAX: usize = 1 << 16;

    fn note(&mut self, at: CounterRef) {
        if self.places.len() >= Self::MAX {
            self.places.pop_front();
        }
        self.places.push_back(at);
        self.noted += 1;
    }

    /// How many there were in all.
    pub(super) fn noted(&self) -> u64 {
        self.noted
    }

    /// Those after the first so many; none if they are not all known any more.
    pub(super) fn since(&self, noted: u64) -> Option<impl Iterator<Item = CounterRef>> {
        let new = usize::try_from(self.noted - noted).ok()?;
        let known = self.places.len().checked_sub(new)?;
        Some(self.places.range(known..).copied())
    }
}

impl Keyspace {
    pub(super) fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            index: Index::default(),
            arena: Arena::default(),
            names: Slots::default(),
            hashes: HashMap::new(),
            more: HashMap::new(),
            more_bytes: 0,
            fields_live: 0,
            forgotten: 0,
            silenced: Silenced::default(),
        }
    }

    /// Memory taken, logs apart.
    pub(super) fn bytes(&self) -> usize {
        self.arena.bytes()
            + self.names.bytes()
            + self.index.bytes()
            + self.hashes.allocation_size()
            + self.more.allocation_size()
            + self.more_bytes
    }

    pub(super) fn text(&self, name: NameRef) -> &[u8] {
        self.arena.get(name)
    }

    /// Looks at what stands behind keys that commands are about to touch. All looks are under way
    /// in the processor at once, where commands one by one would each wait for memory.
    pub(super) fn look_ahead<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let mut found = [None; LOOK_AHEAD_MAX];
        for (slot, key) in found.iter_mut().zip(keys) {
            let hash = self.hasher.hash_one(key);
            // Nearly always the right one: its tag of seven bits is the same.
            *slot = self.index.find(hash, |_| true);
        }
        let mut touched = 0;
        for named in found.iter().flatten() {
            let text = self.arena.get(named.name);
            touched ^= text.last().copied().unwrap_or(0) ^ self.names.at(named.place).flags;
        }
        // Else the compiler would see that nothing comes of it.
        std::hint::black_box(touched);
    }

    /// The same for counters whose places are known.
    pub(super) fn look_at(&self, places: &[CounterRef]) {
        let touched = places.iter().fold(0, |touched, at| {
            let name = self.arena.get(self.names.at(at.name).name);
            touched ^ name.last().copied().unwrap_or(0)
        });
        std::hint::black_box(touched);
    }

    /// The place of a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let is_it = |named: &Named| self.arena.get(named.name) == key;
        self.index.find(hash, is_it).map(|named| named.place)
    }

    /// The place of a key, new if need be; none when the name is too long or memory for names is
    /// used up.
    pub(super) fn find_or_create(&mut self, key: &[u8]) -> Option<u32> {
        let Self {
            arena,
            names,
            hasher,
            index,
            ..
        } = self;
        let hash = hasher.hash_one(key);
        if let Some(named) = index.find(hash, |named| arena.get(named.name) == key) {
            return Some(named.place);
        }
        let name = arena.push(key)?;
        let place = names.push(Counter::new(name))?;
        index.insert(hash, Named { place, name }, |named| {
            hasher.hash_one(arena.get(named.name))
        });
        Some(place)
    }

    /// The place of a hash's field.
    pub(super) fn find_field(&self, name: u32, field: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(field);
        let fields = self.hashes.get(&name)?;
        let is_it = |named: &Named| self.arena.get(named.name) == field;
        fields.index.find(hash, is_it).map(|named| named.place)
    }

    /// The place of a hash's field, new if need be; the hash too.
    pub(super) fn find_or_create_field(&mut self, name: u32, field: &[u8]) -> Option<u32> {
        let Self {
            arena,
            hashes,
            hasher,
            more_bytes,
            names,
            ..
        } = self;
        let hash = hasher.hash_one(field);
        names.at_mut(name).set(flag::HASH, true);
        let Hash { index, fields, .. } = hashes.entry(name).or_default();
        let before = index.allocation_size() + fields.bytes();
        let is_it = |named: &Named| arena.get(named.name) == field;
        let rehash = |named: &Named| hasher.hash_one(arena.get(named.name));
        let place = match index.entry(hash, is_it, rehash) {
            Entry::Occupied(entry) => return Some(entry.get().place),
            Entry::Vacant(entry) => {
                let name = arena.push(field)?;
                let place = fields.push(Counter::new(name))?;
                entry.insert(Named { place, name });
                place
            }
        };
        *more_bytes += index.allocation_size() + fields.bytes() - before;
        Some(place)
    }

    /// Forgets a name with all that stands behind it. Its place and its room go to others.
    pub(super) fn forget(&mut self, place: u32) {
        let counter = self.names.at(place).clone();
        let key = CounterRef::key(place);
        self.forget_more(key, &counter);
        let fields = counter.has(flag::HASH).then(|| self.hashes.remove(&place));
        if let Some(Hash { index, fields, .. }) = fields.flatten() {
            self.more_bytes -= index.allocation_size() + fields.bytes();
            for (field, counter) in (0..).zip(fields.iter()) {
                let at = CounterRef::field(place, field);
                self.forget_more(at, counter);
                self.arena.give_back(counter.name);
                self.silenced.note(at);
            }
        }
        let hash = self.hasher.hash_one(self.arena.get(counter.name));
        self.index.remove(hash, |named| named.place == place);
        self.arena.give_back(counter.name);
        self.names
            .give_back(place, Counter::given_back(counter.name));
        self.silenced.note(key);
        self.forgotten += 1;
    }

    /// Gives back the table of what few counters have, when hardly anything is left of what many had that
    /// were forgotten. Holds up others no longer than it took to grow.
    pub(super) fn give_back_spare(&mut self) {
        const PART_MIN: usize = 8;
        let used = self.more.len();
        if used < self.more.capacity() / PART_MIN {
            self.more.shrink_to(2 * used);
        }
    }

    fn forget_more(&mut self, at: CounterRef, counter: &Counter) {
        let extra = counter.has(flag::MORE).then(|| self.more.remove(&at));
        let extra = extra.flatten();
        self.more_bytes -= extra.map_or(0, |extra| extra.list_bytes());
    }

    /// Numbers that links gave this counter must not be used any more.
    pub(super) fn silence(&mut self, at: CounterRef) {
        self.silenced.note(at);
    }

    /// Hides all fields of a hash from clients, to be cleared later, and lists them in `dirty`; how
    /// many they were.
    pub(super) fn hide_fields(&mut self, name: u32, dirty: &mut Vec<CounterRef>) -> u64 {
        let Some(hash) = self.hashes.get_mut(&name).filter(|hash| hash.live > 0) else {
            return 0;
        };
        for (field, counter) in (0..).zip(hash.fields.iter_mut()) {
            if counter.has(flag::PRESENT) {
                counter.set(flag::PRESENT, false);
                counter.set(flag::TO_CLEAR, true);
                counter.set(flag::ENDS, false);
                self.silenced.note(CounterRef::field(name, field));
                if !counter.has(flag::DIRTY) {
                    counter.set(flag::DIRTY, true);
                    dirty.push(CounterRef::field(name, field));
                }
            }
        }
        let hidden = std::mem::take(&mut hash.live);
        self.fields_live -= hidden;
        hidden
    }

    /// How often the place of the counter's name was given to another.
    pub(super) fn life(&self, at: CounterRef) -> u32 {
        self.names.life(at.name)
    }

    /// The counter at a place that this keyspace gave out.
    pub(super) fn counter(&self, at: CounterRef) -> &Counter {
        if at.is_field() {
            self.hashes[&at.name].fields.at(at.field)
        } else {
            self.names.at(at.name)
        }
    }

    /// Likewise, to change it.
    pub(super) fn counter_mut(&mut self, at: CounterRef) -> &mut Counter {
        if at.is_field()
            && let Some(hash) = self.hashes.get_mut(&at.name)
        {
            return hash.fields.at_mut(at.field);
        }
        self.names.at_mut(at.name)
    }

    /// Key and field of a counter.
    pub(super) fn key_of(&self, at: CounterRef) -> (&[u8], Option<&[u8]>) {
        let key = self.arena.get(self.names.at(at.name).name);
        let field = at.is_field().then(|| self.arena.get(self.counter(at).name));
        (key, field)
    }

    /// The counter after `at` in the order of scans, which never changes for those that exist;
    /// none at the end.
    pub(super) fn following(&self, at: Option<CounterRef>) -> Option<CounterRef> {
        let Some(at) = at else {
            return (self.names.len() > 0).then_some(CounterRef::key(0));
        };
        let field = if at.is_field() { at.field + 1 } else { 0 };
        let fields = self
            .names
            .at(at.name)
            .has(flag::HASH)
            .then(|| self.hashes.get(&at.name));
        if fields
            .flatten()
            .is_some_and(|hash| (field as usize) < hash.fields.len())
        {
            return Some(CounterRef::field(at.name, field));
        }
        self.names
            .get(at.name + 1)
            .map(|_| CounterRef::key(at.name + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_forgotten_take_hardly_any_memory() {
        let mut keys = Keyspace::new();
        let name = |i: u32| format!("banner:2026-11-30:{i}").into_bytes();
        for _ in 0..2 {
            for i in 0..20_000 {
                let at = CounterRef::key(keys.find_or_create(&name(i)).unwrap());
                keys.extra_mut(at);
            }
            let bytes = keys.bytes();
            for i in 1..20_000 {
                let place = keys.find(&name(i)).unwrap();
                keys.forget(place);
            }
            keys.give_back_spare();
            assert!(
                keys.bytes() < bytes / 3,
                "{} of {bytes} are left",
                keys.bytes()
            );
            assert!(keys.find(&name(0)).is_some() && keys.more.len() == 1);
        }
    }

    #[test]
    fn names_and_fields_are_found_again() {
        let mut keys = Keyspace::new();
        for i in 0..10_000_u32 {
            let key = format!("key:{i}");
            let name = keys.find_or_create(key.as_bytes()).unwrap();
            assert_eq!(name, i);
            if i % 100 == 0 {
                for field in 0..i / 10 {
                    let place = keys.find_or_create_field(name, &field.to_le_bytes());
                    assert_eq!(place, Some(field));
                }
            }
        }
        assert_eq!(keys.find(b"key:4711"), Some(4711));
        assert_eq!(keys.find(b"key:10000"), None);
        assert_eq!(keys.find_field(9900, &7_u32.to_le_bytes()), Some(7));
        assert_eq!(keys.find_field(9901, &7_u32.to_le_bytes()), None);
        let (mut at, mut count) = (None, 0);
        while let Some(next) = keys.following(at) {
            at = Some(next);
            count += 1;
        }
        assert_eq!(count, 10_000 + (0..100).map(|i| i * 10).sum::<u32>());
    }
}
