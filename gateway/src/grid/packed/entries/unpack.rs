//! The receiving end. Nothing that the peer says is believed.

use bytes::Bytes;
use strait_dedup::range::NumberReader;

use super::super::super::RECORD_BYTES_MAX;
use super::super::super::record::{LogHead, SectionBuilder};
use super::super::super::varint::Reader;
use super::super::{UnpackError, begun};
use super::shape::{is_form, join, words_in};
use super::{Column, KNOWN_FORM, NEW_FORM, NO_FORM, Said, Template, WORD_BYTES_MAX, decimal, said};

/// What the peer said of entries in this session, by number.
#[derive(Debug, Default)]
pub(in crate::grid) struct HeardEntries(Said);

impl HeardEntries {
    /// Memory taken, estimated.
    pub(in super::super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// The record, which stands alone, that a peer has sent as `body`, after all that was `heard`.
pub(in super::super) fn unpack(
    heard: &mut Option<HeardEntries>,
    body: &[u8],
) -> Result<Bytes, UnpackError> {
    let mut reader = Reader::new(body);
    let head = LogHead::read(&mut reader)?;
    let HeardEntries(said) = begun(heard, reader.byte()?)?;
    if reader.varint()? != said.numbered() {
        return Err(UnpackError::Malformed("words that are not ours"));
    }
    let entries = reader.varint()?;
    let numbers = NumberReader::new(reader.bytes()?);
    let mut words = WordReader {
        numbers,
        text: Reader::new(reader.rest()),
    };
    let mut record = SectionBuilder::new(&head, RECORD_BYTES_MAX);
    let mut last = head.prev;
    // Each entry and each word add bytes, so however many are declared, these loops end.
    for _ in 0..entries {
        let ms = words.numbers.number(&mut said.id_ms)?;
        last = last.step(ms, words.numbers.number(&mut said.id_seq)?)?;
        record.add(last, &words.entry(said)?);
        if record.len() > RECORD_BYTES_MAX {
            return Err(UnpackError::Malformed("a record too long"));
        }
    }
    if !words.text.is_empty() {
        return Err(UnpackError::Malformed("bytes after the last entry"));
    }
    Ok(record.finish())
}

struct WordReader<'a> {
    numbers: NumberReader<'a>,
    text: Reader<'a>,
}

impl WordReader<'_> {
    fn entry(&mut self, said: &mut Said) -> Result<Vec<u8>, UnpackError> {
        let number = match self.numbers.number(&mut said.forms)? {
            NO_FORM => {
                let length = self.numbers.number(&mut said.lengths)?;
                return Ok(self.text.take(size(length)?)?.to_vec());
            }
            NEW_FORM => self.template(said)?,
            known => size(known - KNOWN_FORM)?,
        };
        let template = said.templates.kept.get_mut(number);
        let Template { form, last } =
            template.ok_or(UnpackError::Malformed("a template that has no number"))?;
        let mut last = last.iter_mut().enumerate();
        join(form, |value| {
            // As many as the form has words.
            let Some((place, last)) = last.next() else {
                return Ok(());
            };
            let column = Said::column(&mut said.columns, number, place);
            let learned = self.word(column, last, &said.words.kept, value)?;
            if learned {
                said.words.push(last.as_slice().into());
            }
            Ok(())
        })
    }

    fn template(&mut self, said: &mut Said) -> Result<usize, UnpackError> {
        let length = size(self.numbers.number(&mut said.lengths)?)?;
        let form = self.text.take(length)?;
        if !is_form(form) {
            return Err(UnpackError::Malformed("a template that is none"));
        }
        let (number, _) = said.templates.push(Template {
            form: form.into(),
            last: vec![Vec::new(); words_in(form)],
        });
        Ok(number)
    }

    /// Appends the next word to `value`, and makes it the `last` of its column; whether it gets
    /// a number.
    fn word(
        &mut self,
        column: &mut Column,
        last: &mut Vec<u8>,
        known: &[Box<[u8]>],
        value: &mut Vec<u8>,
    ) -> Result<bool, UnpackError> {
        let numbers = &mut self.numbers;
        let how = numbers.symbol(&mut column.said)?;
        match how {
            said::SAME => {}
            said::KNOWN => {
                let number = size(numbers.number(&mut column.known)?)?;
                let word = known.get(number);
                let word = word.ok_or(UnpackError::Malformed("a word that has no number"))?;
                last.clear();
                last.extend_from_slice(word);
            }
            said::DECIMAL => {
                let number = numbers.number(&mut column.decimal)?;
                *last = number.to_string().into_bytes();
            }
            said::STEP => {
                let step = column.step.read(numbers)?;
                let before = decimal(last).unwrap_or_default();
                let number = before.checked_add_signed(step);
                let number = number.ok_or(UnpackError::Malformed("a decimal below 0"))?;
                *last = number.to_string().into_bytes();
            }
            said::SPELLED | said::LEARNED => {
                let length = size(numbers.number(&mut column.length)?)?;
                if length > WORD_BYTES_MAX {
                    return Err(UnpackError::Malformed("a word too long"));
                }
                last.clear();
                for _ in 0..length {
                    last.push(numbers.symbol(&mut column.letters)?);
                }
            }
            said::LONG => {
                let length = size(numbers.number(&mut column.length)?)?;
                if length <= WORD_BYTES_MAX {
                    return Err(UnpackError::Malformed("a word too short"));
                }
                value.extend_from_slice(self.text.take(length)?);
                last.clear();
                return Ok(false);
            }
            _ => return Err(UnpackError::Malformed("a word said in no known way")),
        }
        if last.is_empty() {
            return Err(UnpackError::Malformed("a word without letters"));
        }
        value.extend_from_slice(last);
        Ok(how == said::LEARNED)
    }
}

fn size(number: u64) -> Result<usize, UnpackError> {
    usize::try_from(number).map_err(|_| UnpackError::Malformed("number too large"))
}
