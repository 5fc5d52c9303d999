//! The sending end.

use std::hash::BuildHasher;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap};
use strait_dedup::range::Writer;

use super::super::super::RECORD_BYTES_MAX;
use super::super::super::record::{KIND_PACKED_LOG, LogHead, LogSection, VERSION, decode_log};
use super::super::super::varint::{put, put_bytes};
use super::super::STARTS_OVER;
use super::shape::{Shape, split, words_in};
use super::{
    KNOWN_FORM, NEW_FORM, NO_FORM, Said, TEMPLATE_BYTES, Template, WORD_BYTES, WORD_BYTES_MAX,
    decimal, said,
};

/// Numbers of this and above are not for the range coder.
const NUMBER_END: u64 = 1 << 63;
/// Words and forms of which a trace is kept until they come again, 4 bytes each.
const SEEN_MAX: usize = 1 << 16;

/// What the peer was told of entries in this session, by number.
#[derive(Debug, Default)]
pub(in crate::grid) struct SentEntries {
    said: Said,
    templates: HashMap<Box<[u8]>, usize>,
    words: HashMap<Box<[u8]>, usize>,
    seen: Seen,
    /// Whether the peer has been told that these numbers begin.
    begun: bool,
}

/// What came before, by its hash: only what comes again is worth a number.
#[derive(Debug, Default)]
struct Seen {
    hasher: DefaultHashBuilder,
    marks: Vec<u32>,
}

impl Seen {
    /// Whether `bytes` came before, not too long ago.
    fn again(&mut self, bytes: &[u8]) -> bool {
        self.marks.resize(SEEN_MAX, 0);
        let hash = self.hasher.hash_one(bytes);
        let (place, mark) = (hash as usize % SEEN_MAX, (hash >> 32) as u32 | 1);
        std::mem::replace(&mut self.marks[place], mark) == mark
    }
}

impl SentEntries {
    /// Memory taken, estimated.
    pub(in super::super) fn bytes(&self) -> usize {
        let forms = self.templates.len() * TEMPLATE_BYTES / 2;
        let words = self.words.len() * WORD_BYTES / 2;
        let tables = self.templates.allocation_size() + self.words.allocation_size();
        self.said.bytes() + forms + words + tables + self.seen.marks.len() * size_of::<u32>()
    }

    /// The form in which the record with this `body` goes to a peer that was sent all that was
    /// packed here before. None if there is no such form: then the next one starts over.
    pub(in super::super) fn pack(&mut self, body: &[u8]) -> Option<Bytes> {
        let section = decode_log(body).ok()?;
        let packed = self.section(&section);
        let packed = packed.filter(|packed| packed.len() <= RECORD_BYTES_MAX);
        if packed.is_none() {
            *self = Self::default();
        }
        packed
    }

    fn section(&mut self, section: &LogSection<'_>) -> Option<Bytes> {
        let LogSection { head, entries } = section;
        let mut out = self.head(head, entries.len());
        let (mut numbers, mut text) = (Writer::new(), Vec::new());
        let mut last = head.prev;
        for (id, payload) in entries {
            let (ms, seq) = id.step_from(last);
            if ms.max(seq) >= NUMBER_END {
                return None;
            }
            numbers.number(&mut self.said.id_ms, ms);
            numbers.number(&mut self.said.id_seq, seq);
            last = *id;
            self.entry(payload, &mut numbers, &mut text);
        }
        put_bytes(&mut out, &numbers.finish());
        out.extend_from_slice(&text);
        Some(out.into())
    }

    fn head(&mut self, head: &LogHead, entries: usize) -> Vec<u8> {
        let mut out = vec![VERSION, KIND_PACKED_LOG];
        head.put(&mut out);
        out.push(if self.begun { 0 } else { STARTS_OVER });
        self.begun = true;
        put(&mut out, self.said.numbered());
        put(&mut out, entries as u64);
        out
    }

    fn entry(&mut self, payload: &[u8], numbers: &mut Writer, text: &mut Vec<u8>) {
        let shape = split(payload);
        let template = shape
            .as_ref()
            .and_then(|shape| self.template(&shape.form, numbers, text));
        let (Some(template), Some(Shape { words, .. })) = (template, shape) else {
            numbers.number(&mut self.said.forms, NO_FORM);
            numbers.number(&mut self.said.lengths, payload.len() as u64);
            text.extend_from_slice(payload);
            return;
        };
        for (column, word) in words.into_iter().enumerate() {
            self.word((template, column), word, numbers, text);
        }
    }

    /// Says the template of this form; none if it has not got one.
    fn template(&mut self, form: &[u8], out: &mut Writer, text: &mut Vec<u8>) -> Option<usize> {
        if let Some(known) = self.templates.get(form) {
            out.number(&mut self.said.forms, KNOWN_FORM + *known as u64);
            return Some(*known);
        }
        if !self.seen.again(form) {
            return None;
        }
        out.number(&mut self.said.forms, NEW_FORM);
        out.number(&mut self.said.lengths, form.len() as u64);
        text.extend_from_slice(form);
        let (number, old) = self.said.templates.push(Template {
            form: form.into(),
            last: vec![Vec::new(); words_in(form)],
        });
        if let Some(old) = old {
            self.templates.remove(&old.form);
        }
        self.templates.insert(form.into(), number);
        Some(number)
    }

    fn word(
        &mut self,
        (template, place): (usize, usize),
        word: &[u8],
        out: &mut Writer,
        text: &mut Vec<u8>,
    ) {
        let said = &mut self.said;
        let last = &mut said.templates.kept[template].last[place];
        let column = Said::column(&mut said.columns, template, place);
        if word == last {
            out.symbol(&mut column.said, said::SAME);
            return;
        }
        if word.len() > WORD_BYTES_MAX {
            out.symbol(&mut column.said, said::LONG);
            out.number(&mut column.length, word.len() as u64);
            text.extend_from_slice(word);
            last.clear();
            return;
        }
        let before = decimal(last);
        last.clear();
        last.extend_from_slice(word);
        if let Some(number) = decimal(word) {
            let step = before.map(|before| number as i64 - before as i64);
            match step {
                Some(step) if step.unsigned_abs() < number / 4 => {
                    out.symbol(&mut column.said, said::STEP);
                    column.step.put(out, step);
                }
                Some(_) | None => {
                    out.symbol(&mut column.said, said::DECIMAL);
                    out.number(&mut column.decimal, number);
                }
            }
            return;
        }
        if let Some(known) = self.words.get(word) {
            out.symbol(&mut column.said, said::KNOWN);
            out.number(&mut column.known, *known as u64);
            return;
        }
        let learn = self.seen.again(word);
        out.symbol(
            &mut column.said,
            if learn { said::LEARNED } else { said::SPELLED },
        );
        out.number(&mut column.length, word.len() as u64);
        for letter in word {
            out.symbol(&mut column.letters, *letter);
        }
        if learn {
            let (number, old) = said.words.push(word.into());
            if let Some(old) = old {
                self.words.remove(&old);
            }
            self.words.insert(word.into(), number);
        }
    }
}
