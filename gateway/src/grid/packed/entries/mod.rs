//! Records of log entries: an entry is taken apart into words and what stands between them, its
//! *template*. A template that was said before goes as its number, a word as the one in the same
//! column the last time, as its number, as a decimal, or letter by letter. Drawn in
//! `docs/WIRE.md`, section "Packed logs".
//!
//! So entries of the same form, access logs say, cost what is new in them. An entry whose form
//! comes once goes as it stands, and is left to the batch's own compression.

mod pack;
mod shape;
mod unpack;

use strait_dedup::range::{Model, Symbols};

use super::Signed;

pub(in crate::grid) use pack::SentEntries;
pub(in crate::grid) use unpack::HeardEntries;
pub(super) use unpack::unpack;

/// Templates that have a number, each way; the next takes the number of the oldest.
const TEMPLATES_MAX: usize = 512;
/// Words that have a number, likewise: some 60 bytes each at the receiver, 150 at the sender.
const WORDS_MAX: usize = 1 << 16;
/// Longest word that gets a number, or is remembered for its column.
const WORD_BYTES_MAX: usize = 64;
/// Columns with statistics of their own, 6 KiB each; others share.
const COLUMNS_MAX: usize = 1024;

/// Memory of a template with its form and last words, and of a word with its number, estimated.
const TEMPLATE_BYTES: usize = 1 << 10;
const WORD_BYTES: usize = 60;

/// Memory of all that is known of entries at both ends together.
pub(super) const BYTES_MAX: u64 = 24 << 20;

/// How a word is said.
mod said {
    /// It is the one of this column's entry before.
    pub(super) const SAME: u8 = 0;
    /// By its number.
    pub(super) const KNOWN: u8 = 1;
    /// As a decimal.
    pub(super) const DECIMAL: u8 = 2;
    /// As the difference to the decimal of this column's entry before.
    pub(super) const STEP: u8 = 3;
    /// Letter by letter.
    pub(super) const SPELLED: u8 = 4;
    /// Likewise, and it gets the next number.
    pub(super) const LEARNED: u8 = 5;
    /// By its length; the bytes are in the text.
    pub(super) const LONG: u8 = 6;
}

/// Where an entry's form is said: below it the number of a template, plus [`KNOWN_FORM`].
const NO_FORM: u64 = 0;
const NEW_FORM: u64 = 1;
const KNOWN_FORM: u64 = 2;

/// What both ends know of what was said, word for word the same.
#[derive(Debug, Default)]
struct Said {
    templates: Ring<Template, TEMPLATES_MAX>,
    words: Ring<Box<[u8]>, WORDS_MAX>,
    forms: Model,
    /// Lengths of templates, and of entries as they stand.
    lengths: Model,
    id_ms: Model,
    id_seq: Model,
    columns: Vec<Option<Box<Column>>>,
}

/// The form of an entry.
#[derive(Debug)]
struct Template {
    form: Box<[u8]>,
    /// By column, the word of the entry before; empty if it was too long.
    last: Vec<Vec<u8>>,
}

/// The statistics of one column.
#[derive(Debug, Default)]
struct Column {
    said: Symbols<8>,
    known: Model,
    decimal: Model,
    step: Signed,
    length: Model,
    letters: Symbols<256>,
}

impl Said {
    /// Memory taken, estimated.
    fn bytes(&self) -> usize {
        let columns = self.columns.iter().flatten().count();
        self.templates.kept.len() * TEMPLATE_BYTES
            + self.words.kept.len() * WORD_BYTES
            + columns * size_of::<Column>()
    }

    /// How many templates and words have got a number so far: if the ends differ in it they
    /// do not understand each other.
    fn numbered(&self) -> u64 {
        self.templates.pushed + self.words.pushed
    }

    fn column(
        columns: &mut Vec<Option<Box<Column>>>,
        template: usize,
        column: usize,
    ) -> &mut Column {
        columns.resize_with(COLUMNS_MAX, || None);
        // Columns of a template stand beside each other, templates far apart.
        let place = (template * 37 + column) % COLUMNS_MAX;
        columns[place].get_or_insert_default()
    }
}

/// The last `N` of what got a number.
#[derive(Debug)]
struct Ring<T, const N: usize> {
    kept: Vec<T>,
    pushed: u64,
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            pushed: 0,
        }
    }
}

impl<T, const N: usize> Ring<T, N> {
    /// Gives `item` the next number; returns that, and what had it before.
    fn push(&mut self, item: T) -> (usize, Option<T>) {
        let number = (self.pushed % N as u64) as usize;
        self.pushed += 1;
        if number == self.kept.len() {
            self.kept.push(item);
            return (number, None);
        }
        (
            number,
            Some(std::mem::replace(&mut self.kept[number], item)),
        )
    }
}

/// The number that `word` is the shortest decimal of, if it has at most 18 digits.
fn decimal(word: &[u8]) -> Option<u64> {
    let plain = matches!(word, [b'0'] | [b'1'..=b'9', ..]) && word.len() <= 18;
    let digits = plain && word.iter().all(u8::is_ascii_digit);
    digits.then(|| {
        let digits = word.iter().map(|digit| u64::from(digit - b'0'));
        digits.fold(0, |number, digit| number * 10 + digit)
    })
}
