//! Bounds of what a peer or a command says, kept while it is decoded: nothing longer is copied.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::describe::PATHS_MAX;
use super::path::PATH_BYTES_MAX;
use super::store::PAGE_ENTRIES_MAX;

/// Longest reason that is taken from others, in bytes; the rest is cut off. Releases before this
/// one cut none.
const REASON_BYTES_MAX: usize = PATH_BYTES_MAX;

/// A path, a name, or the target of a link. A longer one is an error.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    from.deserialize_str(Text { cuts: false })
}

/// Why something failed, in words. A longer one is cut.
pub(super) fn reason<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    from.deserialize_str(Text { cuts: true })
}

/// The paths of one question.
pub(super) fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let paths: Vec<Path> = list(from, PATHS_MAX)?;
    Ok(paths.into_iter().map(|Path(path)| path).collect())
}

/// The same, each with something else.
pub(super) fn paths_with<'de, D, T>(from: D) -> Result<Vec<(String, T)>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let paths: Vec<(Path, T)> = list(from, PATHS_MAX)?;
    Ok(paths
        .into_iter()
        .map(|(Path(path), with)| (path, with))
        .collect())
}

/// What is said of the paths of one question.
pub(super) fn of_paths<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    list(from, PATHS_MAX)
}

/// The entries of a page.
pub(super) fn entries<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    list(from, PAGE_ENTRIES_MAX)
}

/// As much of a reason as is taken.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[derive(Deserialize)]
struct Path(#[serde(deserialize_with = "path")] String);

struct Text {
    cuts: bool,
}

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of at most {PATH_BYTES_MAX} bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        match self.cuts {
            true => Ok(cut(text, REASON_BYTES_MAX).to_owned()),
            false if text.len() > PATH_BYTES_MAX => Err(E::invalid_length(text.len(), &self)),
            false => Ok(text.to_owned()),
        }
    }
}

fn list<'de, D, T>(from: D, items_max: usize) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(List {
        items_max,
        items: PhantomData,
    })
}

struct List<T> {
    items_max: usize,
    items: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} of them", self.items_max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            if items.len() == self.items_max {
                return Err(A::Error::invalid_length(items.len() + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}
