//! One table of the file, read key by key: what was never asked for is unknown.
//!
//! Serde would stop at the first mistake; this walks the parsed document itself, so that
//! one run of `strait check-config` names them all.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{Fault, Report};

/// A value and where it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table whose keys are being read.
#[derive(Debug)]
pub(super) struct Section<'a, 'i> {
    /// `grid`, `peer`…; empty at the top.
    name: &'static str,
    table: Option<&'a DeTable<'i>>,
    /// Where to point for what is missing.
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(name: &'static str, table: &'a DeTable<'i>, span: Range<usize>) -> Self {
        Self {
            name,
            table: Some(table),
            span,
            known: Vec::new(),
        }
    }

    /// Where the section begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of `key` if it is there and `read` accepts it; otherwise its fault is
    /// noted.
    pub(super) fn get<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Located<T>> {
        let found = self.find(key)?;
        match read(found.get_ref()) {
            Ok(value) => Some(Located {
                value,
                span: found.span(),
            }),
            Err(fault) => {
                let what = format!("{}: {}", self.full_name(key), fault.what);
                report.add(found.span(), Fault { what, ..fault });
                None
            }
        }
    }

    /// Like [`Section::get`]; the default where it is absent or wrong.
    pub(super) fn get_or<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> T {
        self.get(report, key, read)
            .map_or(default, |located| located.value)
    }

    /// Like [`Section::get`]; a key that is absent is a mistake.
    pub(super) fn require<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        remedy: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Located<T>> {
        if self.find(key).is_none() {
            let what = format!("{} is missing", self.full_name(key));
            report.add_structure(self.span(), Fault::new(what, remedy));
        }
        self.get(report, key, read)
    }

    /// Whether the file has it.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// The table `key` of this one; an empty one where it is absent or no table.
    pub(super) fn table(&mut self, report: &mut Report<'_>, key: &'static str) -> Section<'a, 'i> {
        self.table_named(report, key, key)
    }

    /// The same for a table in a table, with its full name.
    pub(super) fn table_named(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        name: &'static str,
    ) -> Section<'a, 'i> {
        let mut section = Section {
            name,
            table: None,
            span: self.span(),
            known: Vec::new(),
        };
        if let Some(found) = self.find(key) {
            section.span = found.span();
            section.table = found.get_ref().as_table();
            if section.table.is_none() {
                report.add_structure(found.span(), not_a_table(name, &format!("[{name}]")));
            }
        }
        section
    }

    /// The tables `[[key]]` of this one, in order.
    pub(super) fn tables(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
    ) -> Vec<Section<'a, 'i>> {
        self.tables_named(report, key, key)
    }

    /// The same for tables in a table, with their full name.
    pub(super) fn tables_named(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        name: &'static str,
    ) -> Vec<Section<'a, 'i>> {
        let Some(found) = self.find(key) else {
            return Vec::new();
        };
        let header = format!("[[{name}]]");
        let Some(array) = found.get_ref().as_array() else {
            report.add_structure(found.span(), not_a_table(name, &header));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(name, table, item.span())),
                None => report.add_structure(item.span(), not_a_table(name, &header)),
            }
        }
        sections
    }

    /// Notes every key that was never asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let what = format!("unknown key `{}`", printable(&self.full_name(name)));
                report.add(key.span(), Fault::new(what, self.suggest(name)));
            }
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map(|(_, value)| value)
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn suggest(&self, unknown: &str) -> String {
        let nearest = self
            .known
            .iter()
            .map(|&key| (strsim::jaro_winkler(unknown, key), key))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((likeness, key)) if likeness > 0.75 => format!("did you mean `{key}`?"),
            Some(_) | None => format!("known here: {}", self.known.join(", ")),
        }
    }
}

fn not_a_table(key: &str, header: &str) -> Fault {
    Fault::new(
        format!("{key} is no table"),
        format!("write {header} on a line of its own and its keys below"),
    )
}

/// Foreign text without control characters, at most 80 characters of it.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
