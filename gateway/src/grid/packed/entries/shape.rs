//! Taking entries apart into words and a template, and putting them together.

use super::super::super::record::values_of;
use super::super::super::varint::{put, put_bytes};

/// In a template: here stands a word.
const WORD: u8 = 0;
/// Here a value ends.
const VALUE_END: u8 = 1;

/// Longer forms, and those of more words, are no templates.
const FORM_BYTES_MAX: usize = 512;
const FORM_WORDS_MAX: usize = 128;
/// Longer entries are not taken apart: what repeats in them, deduplication finds.
const SPLIT_BYTES_MAX: usize = 4096;

/// What stands between words. Neither [`WORD`] nor [`VALUE_END`] does.
fn separates(byte: u8) -> bool {
    byte == b' ' || byte == b'\t' || (byte.is_ascii_punctuation() && !b"._-/+%".contains(&byte))
}

/// An entry taken apart.
#[derive(Debug, Default)]
pub(super) struct Shape<'a> {
    pub(super) form: Vec<u8>,
    pub(super) words: Vec<&'a [u8]>,
}

/// Takes an entry apart; none if that is not worth it, or [`join`] would not give it back.
pub(super) fn split(payload: &[u8]) -> Option<Shape<'_>> {
    if payload.len() > SPLIT_BYTES_MAX {
        return None;
    }
    let mut shape = Shape::default();
    let (count, values) = values_of(payload);
    let mut whole = Vec::with_capacity(payload.len());
    put(&mut whole, count as u64);
    for value in values {
        put_bytes(&mut whole, value);
        let pieces = value.chunk_by(|a, b| !separates(*a) && !separates(*b));
        for piece in pieces {
            if separates(piece[0]) {
                shape.form.push(piece[0]);
            } else {
                shape.form.push(WORD);
                shape.words.push(piece);
            }
        }
        shape.form.push(VALUE_END);
    }
    // Lengths may be written in more bytes than they need.
    (whole == payload && is_form(&shape.form)).then_some(shape)
}

/// Whether these bytes are a form that [`split`] may have made.
pub(super) fn is_form(form: &[u8]) -> bool {
    form.len() <= FORM_BYTES_MAX
        && words_in(form) <= FORM_WORDS_MAX
        && form.last() == Some(&VALUE_END)
        && form.iter().filter(|byte| **byte == VALUE_END).count() % 2 == 0
}

/// How many words an entry of this form has.
pub(super) fn words_in(form: &[u8]) -> usize {
    form.iter().filter(|byte| **byte == WORD).count()
}

/// The entry of this form, a word taken from `next` each time.
pub(super) fn join<E>(
    form: &[u8],
    mut next: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut payload = Vec::with_capacity(2 * form.len());
    let values = form.iter().filter(|byte| **byte == VALUE_END).count();
    put(&mut payload, values as u64);
    let mut value = Vec::new();
    for byte in form {
        match *byte {
            WORD => next(&mut value)?,
            VALUE_END => {
                put_bytes(&mut payload, &value);
                value.clear();
            }
            between => value.push(between),
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::super::record::pack_values;
    use super::*;

    proptest! {
        #[test]
        fn what_was_taken_apart_is_put_together(
            values in proptest::collection::vec("[a-z0-9 \"=:\\x00\\x01./é-]{0,30}", 1..4),
        ) {
            let values: Vec<_> = values.iter().chain(&values).map(String::as_bytes).collect();
            let payload = pack_values(values.into_iter());
            if let Some(Shape { form, words }) = split(&payload) {
                prop_assert_eq!(words_in(&form), words.len());
                let mut words = words.into_iter();
                let joined = join(&form, |value| {
                    value.extend_from_slice(words.next().ok_or(())?);
                    Ok::<_, ()>(())
                });
                prop_assert_eq!(joined, Ok(payload));
            }
        }
    }

    #[test]
    fn an_access_log_line_has_words_where_one_looks_for_them() {
        let line = b"11.2.3.4 - [21/Nov/2026:10:00:05 +0000] \"GET /a/b-1 HTTP/1.1\" 200 12ms";
        let payload = pack_values([&b"line"[..], line].into_iter());
        let words = split(&payload).unwrap().words;
        let words: Vec<_> = words.into_iter().map(String::from_utf8_lossy).collect();
        let expected = "line 11.2.3.4 - 21/Nov/2026 10 00 05 +0000 GET /a/b-1 HTTP/1.1 200 12ms";
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn lengths_in_more_bytes_than_needed_are_left_alone() {
        assert!(split(&[2, 1, b'a', 1, b'b']).is_some());
        assert!(split(&[2, 0x81, 0, b'a', 1, b'b']).is_none());
    }
}
