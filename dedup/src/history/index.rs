//! Where a chunk stands in history, by its fingerprint.

use super::{Extent, Position};
use crate::chunker::Fingerprint;

/// A table from fingerprints to positions whose memory is fixed when it is made: buckets of a cache
/// line with five entries, of which a chunk has two to choose from, and one step of moving others
/// out of its way (cuckoo hashing: Pagh and Rodler, ESA '01; buckets: Dietzfelbinger and Weidling,
/// TCS 2007). At the load it is made for, less than one chunk in ten thousand finds no place; past
/// that the chunk that stands earliest in history gives way, which is the one that is evicted next.
///
/// An entry keeps 36 bits of the fingerprint. What it finds is a hint that the caller checks
/// against the bytes (as LBFS does), so a false match costs a comparison and nothing else.
#[derive(Debug)]
pub(crate) struct Index {
    /// Zeroed by the operating system, so that what is never used takes no memory.
    words: Vec<u32>,
    /// A bit for each page that was written to.
    used_pages: Vec<u64>,
    used_bytes: u64,
    /// Words before the first that begins a cache line.
    skip: usize,
    buckets: usize,
    len: usize,
}

/// 44 bits of position (16 TiB), 16 of length − 1, 36 of fingerprint. All zeros is an empty place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry([u32; ENTRY_WORDS]);

const ENTRY_WORDS: usize = 3;
const ENTRIES: usize = 5;
const BUCKET_WORDS: usize = 16;
const BUCKET_BYTES: usize = BUCKET_WORDS * size_of::<u32>();
/// What the operating system gives memory in.
const PAGE_BYTES: usize = 4096;
const PAGE_WORDS: usize = PAGE_BYTES / size_of::<u32>();
/// Entries of a bucket that are taken at the load that the table is made for.
const ENTRIES_TAKEN: u64 = 4;

const TAG_BITS: u32 = 36;
const POSITION_MAX: u64 = (1 << 44) - 1;
const EMPTY: Entry = Entry([0; ENTRY_WORDS]);

impl Entry {
    fn new(tag: u64, extent: Extent) -> Self {
        let place = (extent.at.0 << 4) | (tag >> 32);
        let len = (extent.len.saturating_sub(1) as u32) & 0xffff;
        Self([
            tag as u32,
            place as u32,
            ((place >> 32) as u32 & 0xffff) | (len << 16),
        ])
    }

    fn place(self) -> u64 {
        u64::from(self.0[1]) | (u64::from(self.0[2] & 0xffff) << 32)
    }

    fn tag(self) -> u64 {
        u64::from(self.0[0]) | ((self.place() & 0xf) << 32)
    }

    fn extent(self) -> Extent {
        Extent {
            at: Position(self.place() >> 4),
            len: (self.0[2] >> 16) as usize + 1,
        }
    }
}

fn tag_of(fingerprint: Fingerprint) -> u64 {
    fingerprint.0 >> (64 - TAG_BITS)
}

impl Index {
    /// Memory for one chunk, in bytes.
    pub(crate) const CHUNK_BYTES_MAX: u64 = BUCKET_BYTES as u64 / ENTRIES_TAKEN;

    /// An empty index with room for so many chunks.
    pub(crate) fn with_room(chunks: u64) -> Self {
        Self::with_buckets(chunks.div_ceil(ENTRIES_TAKEN).max(1) as usize)
    }

    fn with_buckets(buckets: usize) -> Self {
        // One more, for the beginning to be moved to a cache line.
        let words = vec![0; (buckets + 1) * BUCKET_WORDS];
        let skip = words.as_ptr().align_offset(BUCKET_BYTES).min(BUCKET_WORDS);
        let pages = words.len().div_ceil(PAGE_WORDS);
        Self {
            words,
            used_pages: vec![0; pages.div_ceil(u64::BITS as usize)],
            used_bytes: 0,
            skip,
            buckets,
            len: 0,
        }
    }

    /// Memory set aside that nothing was written to yet.
    pub(crate) fn untouched_bytes(&self) -> u64 {
        ((self.words.len() * size_of::<u32>()) as u64).saturating_sub(self.used_bytes)
    }

    /// Chunks in the index.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory that it takes, in bytes: the pages that something was written to.
    pub(crate) fn bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Where a chunk with this fingerprint was appended last.
    pub(crate) fn get(&self, fingerprint: Fingerprint) -> Option<Extent> {
        let place = self.find(tag_of(fingerprint))?;
        Some(self.entry(place).extent())
    }

    /// Remembers a chunk; an older one of the same fingerprint is forgotten.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, extent: Extent) {
        let tag = tag_of(fingerprint);
        let entry = Entry::new(tag, extent);
        if extent.end().0 > POSITION_MAX || extent.len > 1 << 16 || entry == EMPTY {
            return;
        }
        let place = self.find(tag).or_else(|| self.empty(tag));
        let place = place.unwrap_or_else(|| self.make_room(tag));
        self.put(place, entry);
    }

    fn find(&self, tag: u64) -> Option<usize> {
        self.places(tag).find(|place| {
            let entry = self.entry(*place);
            entry.tag() == tag && entry != EMPTY
        })
    }

    /// An empty place in the emptier of the tag's buckets.
    fn empty(&self, tag: u64) -> Option<usize> {
        let [left, right] = self.choices(tag).map(|bucket| {
            let places = places_of(self.skip, bucket);
            let empty = places.filter(|place| self.entry(*place) == EMPTY);
            (empty.clone().count(), empty.clone().next())
        });
        if right.0 > left.0 { right.1 } else { left.1 }
    }

    /// A place whose entry was moved to its other bucket, or is the earliest in history.
    fn make_room(&mut self, tag: u64) -> usize {
        for place in self.places(tag) {
            let entry = self.entry(place);
            if let Some(other) = self.empty(entry.tag()) {
                self.put(other, entry);
                self.put(place, EMPTY);
                return place;
            }
        }
        let earliest = self
            .places(tag)
            .min_by_key(|place| self.entry(*place).extent().at);
        earliest.unwrap_or(self.skip)
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.len -= usize::from(self.entry(place) != EMPTY);
        self.len += usize::from(entry != EMPTY);
        self.words[place..place + ENTRY_WORDS].copy_from_slice(&entry.0);
        // Pages are counted from where the words begin, which is near enough.
        let page = place / PAGE_WORDS;
        let (word, bit) = (page / u64::BITS as usize, 1 << (page % u64::BITS as usize));
        if self.used_pages[word] & bit == 0 {
            self.used_pages[word] |= bit;
            self.used_bytes += PAGE_BYTES as u64;
        }
    }

    /// Forgets everything, and gives its memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::with_buckets(self.buckets);
    }

    /// Keeps the chunks that lie wholly in `oldest..tail`.
    pub(crate) fn retain(&mut self, oldest: Position, tail: Position) {
        let skip = self.skip;
        for place in (0..self.buckets).flat_map(|bucket| places_of(skip, bucket)) {
            let entry = self.entry(place);
            let extent = entry.extent();
            if entry != EMPTY && (extent.at < oldest || extent.end() > tail) {
                self.put(place, EMPTY);
            }
        }
    }

    /// The two buckets in which a chunk may stand.
    fn choices(&self, tag: u64) -> [usize; 2] {
        let bucket = |hash: u64| ((u128::from(hash) * self.buckets as u128) >> 64) as usize;
        [
            bucket(tag.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            bucket(
                (tag | 1 << 60)
                    .wrapping_mul(0xd6e8_feb8_6659_fd93)
                    .rotate_left(23),
            ),
        ]
    }

    fn places(&self, tag: u64) -> impl Iterator<Item = usize> + use<> {
        let skip = self.skip;
        let choices = self.choices(tag).into_iter();
        choices.flat_map(move |bucket| places_of(skip, bucket))
    }

    fn entry(&self, place: usize) -> Entry {
        let words = self.words.get(place..).and_then(<[u32]>::first_chunk);
        words.map_or(EMPTY, |words| Entry(*words))
    }
}

/// Where in the words the entries of a bucket stand.
fn places_of(skip: usize, bucket: usize) -> impl Iterator<Item = usize> + Clone {
    let first = skip + bucket * BUCKET_WORDS;
    (0..ENTRIES).map(move |n| first + n * ENTRY_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n: u64) -> Extent {
        Extent {
            at: Position(n * 8192),
            len: 8192,
        }
    }

    /// As even as a hash: splitmix64.
    fn fingerprint(n: u64) -> Fingerprint {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Fingerprint(z ^ (z >> 31))
    }

    #[test]
    fn entries_pack_and_unpack() {
        for at in [0, 1, 0xdead_beef, POSITION_MAX - (1 << 16)] {
            for len in [1, 2048, 65_535, 65_536] {
                for tag in [0, 0xf_ffff_ffff, 0x1_2345_6789] {
                    let extent = Extent {
                        at: Position(at),
                        len,
                    };
                    let entry = Entry::new(tag, extent);
                    assert_eq!((entry.tag(), entry.extent()), (tag, extent));
                }
            }
        }
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[test]
    fn the_newest_wins_and_eviction_forgets() {
        let mut index = Index::with_room(20_000);
        for n in 0..10_000 {
            index.insert(fingerprint(n), chunk(n));
        }
        index.insert(fingerprint(0), chunk(20_000));
        assert_eq!(index.get(fingerprint(0)), Some(chunk(20_000)));
        assert_eq!(index.len(), 10_000);
        index.retain(chunk(1).at, chunk(5).at);
        assert_eq!(index.get(fingerprint(1)), Some(chunk(1)));
        assert_eq!(index.get(fingerprint(5)), None);
        assert_eq!(index.len(), 4);
        index.clear();
        assert_eq!((index.get(fingerprint(1)), index.len()), (None, 0));
        assert_eq!(index.bytes(), 0);
    }

    /// The figure of `docs/STORE.md`: 16 B a chunk, at any size.
    #[test]
    fn what_it_was_made_for_finds_room() {
        let chunks = 2_000_000;
        let mut index = Index::with_room(chunks);
        assert_eq!(index.bytes(), 0, "untouched it takes no memory");
        for n in 0..chunks {
            index.insert(fingerprint(n), chunk(n));
        }
        let page = PAGE_BYTES as u64;
        assert!(index.bytes() <= chunks * 16 + 2 * page && index.bytes() > chunks * 15);
        let lost = (0..chunks).filter(|n| index.get(fingerprint(*n)) != Some(chunk(*n)));
        let lost = lost.count() as u64;
        assert!(lost * 10_000 < chunks, "{lost} of {chunks}");
    }

    #[test]
    fn past_its_room_the_earliest_give_way() {
        let room = 100_000;
        let mut index = Index::with_room(room);
        for n in 0..10 * room {
            index.insert(fingerprint(n), chunk(n));
        }
        let newest = 9 * room + room / 2..10 * room;
        let held = newest.filter(|n| index.get(fingerprint(*n)) == Some(chunk(*n)));
        let held = held.count() as u64;
        assert!(
            held * 100 > room / 2 * 95,
            "{held} of the newest {}",
            room / 2
        );
    }
}
