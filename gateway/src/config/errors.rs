//! Mistakes in a configuration, collected and shown with their lines.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// More mistakes than this are not listed.
const MISTAKES_MAX: usize = 50;

/// What is wrong with a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// The line's text and the columns (from 0, in characters) that are meant.
    excerpt: Option<(String, Range<usize>)>,
}

/// All that is wrong with a configuration file. Its text names each mistake as
/// `FILE:LINE: what is wrong; remedy`, with the line below it.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigErrors {
    path: PathBuf,
    unreadable: Option<String>,
    mistakes: Vec<Mistake>,
    omitted: usize,
}

impl ConfigErrors {
    pub(super) fn unreadable(path: &Path, what: String) -> Self {
        Self {
            path: path.to_owned(),
            unreadable: Some(what),
            mistakes: Vec::new(),
            omitted: 0,
        }
    }

    /// The mistakes, in the order of their lines. Empty when the file could not be read.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if let Some(what) = &self.unreadable {
            return write!(f, "cannot read {path}: {what}");
        }
        for (n, mistake) in self.mistakes.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{path}:{mistake}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n{path}: and {} more mistakes", self.omitted)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.line, self.what, self.remedy)?;
        if let Some((text, columns)) = &self.excerpt {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            let indent = " ".repeat(columns.start);
            let marks = "^".repeat(columns.len().max(1));
            write!(f, "\n  {number} | {text}\n  {gutter} | {indent}{marks}")?;
        }
        Ok(())
    }
}

/// Collects mistakes while a file is read.
#[derive(Debug)]
pub(super) struct Report<'a> {
    path: &'a Path,
    text: &'a str,
    mistakes: Vec<Mistake>,
    omitted: usize,
    /// Parts of the file could not be parsed and are missing from what is read.
    has_gaps: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            mistakes: Vec::new(),
            omitted: 0,
            has_gaps: false,
        }
    }

    /// Notes a part that is no TOML.
    pub(super) fn add_syntax(&mut self, span: Range<usize>, fault: Fault) {
        self.has_gaps = true;
        self.add(span, fault);
    }

    /// Notes something that is absent, or not where it belongs: nothing to say about a
    /// file that could not be parsed whole.
    pub(super) fn add_structure(&mut self, span: Range<usize>, fault: Fault) {
        if !self.has_gaps {
            self.add(span, fault);
        }
    }

    /// Notes a mistake at a range of bytes of the file.
    pub(super) fn add(&mut self, span: Range<usize>, fault: Fault) {
        if self.mistakes.len() == MISTAKES_MAX {
            self.omitted += 1;
            return;
        }
        let line = self.line_of(span.start);
        self.mistakes.push(Mistake {
            line,
            what: fault.what,
            remedy: fault.remedy,
            excerpt: self.excerpt(line, span),
        });
    }

    /// The line of a byte of the file, from 1.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        1 + before.iter().filter(|&&b| b == b'\n').count()
    }

    pub(super) fn into_result<T>(mut self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            Some(_) | None => {
                self.mistakes.sort_by_key(|mistake| mistake.line);
                Err(ConfigErrors {
                    path: self.path.to_owned(),
                    unreadable: None,
                    mistakes: self.mistakes,
                    omitted: self.omitted,
                })
            }
        }
    }

    /// The text of a line, unless it may hold a secret or is too long to help.
    fn excerpt(&self, line: usize, span: Range<usize>) -> Option<(String, Range<usize>)> {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text.lines().nth(line - 1)?;
        let is_secret = ["password", "rules"].iter().any(|key| text.contains(key));
        if text.trim().is_empty() || text.len() > 160 || is_secret {
            return None;
        }
        let column = |byte: usize| {
            let within = byte.saturating_sub(start).min(text.len());
            text.char_indices()
                .take_while(|(at, _)| *at < within)
                .count()
        };
        Some((
            text.replace('\t', " "),
            column(span.start)..column(span.end),
        ))
    }
}
