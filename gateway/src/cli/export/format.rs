//! The formats of an export.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::grid::EntryId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Commands as Redis takes them: SET, HSET, PEXPIREAT, XADD
    Resp,
    /// A JSON object a line; what is no UTF-8 is {"hex": "…"}
    Ndjson,
    /// kind,key,field or id,value; an entry takes a line for each of its fields; a log without entries
    /// one with its last id
    Csv,
}

/// Writes one format.
pub(super) struct Output<W> {
    format: Format,
    out: W,
}

impl<W: Write> Output<W> {
    pub(super) fn new(format: Format, out: W) -> Self {
        Self { format, out }
    }

    /// A counter; with a field, of a hash.
    pub(super) fn counter(
        &mut self,
        key: &[u8],
        field: Option<&[u8]>,
        value: i64,
    ) -> io::Result<()> {
        let text = value.to_string();
        match (self.format, field) {
            (Format::Resp, None) => self.command(&[b"SET", key, text.as_bytes()]),
            (Format::Resp, Some(field)) => self.command(&[b"HSET", key, field, text.as_bytes()]),
            (Format::Ndjson, None) => self.line(&json!({ "counter": name(key), "value": value })),
            (Format::Ndjson, Some(field)) => {
                self.line(&json!({ "hash": name(key), "field": name(field), "value": value }))
            }
            (Format::Csv, None) => self.row(&[b"counter", key, b"", text.as_bytes()]),
            (Format::Csv, Some(field)) => self.row(&[b"hash", key, field, text.as_bytes()]),
        }
    }

    /// A key that expires, in milliseconds since 1970. Follows the key's counters: `SET` clears it.
    pub(super) fn deadline(&mut self, key: &[u8], at_ms: u64) -> io::Result<()> {
        let text = at_ms.to_string();
        match self.format {
            Format::Resp => self.command(&[b"PEXPIREAT", key, text.as_bytes()]),
            Format::Ndjson => self.line(&json!({ "expires": name(key), "at_ms": at_ms })),
            Format::Csv => self.row(&[b"expires", key, b"", text.as_bytes()]),
        }
    }

    /// An entry of a log.
    pub(super) fn entry<'a>(
        &mut self,
        log: &[u8],
        id: EntryId,
        (count, values): (usize, impl Iterator<Item = &'a [u8]>),
    ) -> io::Result<()> {
        let id = id.to_string();
        match self.format {
            Format::Resp => {
                let mut words: Vec<&[u8]> = Vec::with_capacity(3 + count);
                words.extend([&b"XADD"[..], log, id.as_bytes()]);
                for value in values {
                    words.push(value);
                }
                self.command(&words)
            }
            Format::Ndjson => {
                let values: Vec<_> = values.collect();
                let pairs = values.as_chunks::<2>().0.iter();
                let pairs = pairs.map(|[field, value]| json!([name(field), name(value)]));
                let pairs: Vec<_> = pairs.collect();
                self.line(&json!({ "log": name(log), "id": id, "values": pairs }))
            }
            Format::Csv => {
                let values: Vec<_> = values.collect();
                for [field, value] in values.as_chunks::<2>().0 {
                    self.row(&[b"entry", log, id.as_bytes(), field, value])?;
                }
                Ok(())
            }
        }
    }

    /// A log that has no entry left, and its last one's id: an import goes on after it.
    pub(super) fn emptied(&mut self, log: &[u8], last: EntryId) -> io::Result<()> {
        let id = last.to_string();
        match self.format {
            // An entry that is trimmed at once, as Redis has no other way that makes the log too.
            Format::Resp => self.command(&[b"XADD", log, b"MAXLEN", b"0", id.as_bytes(), b"", b""]),
            Format::Ndjson => self.line(&json!({ "log": name(log), "last_id": id })),
            Format::Csv => self.row(&[b"log", log, id.as_bytes(), b""]),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn command(&mut self, words: &[&[u8]]) -> io::Result<()> {
        write!(self.out, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.out, "${}\r\n", word.len())?;
            self.out.write_all(word)?;
            self.out.write_all(b"\r\n")?;
        }
        Ok(())
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value}")
    }

    /// Fields are quoted as RFC 4180 says, where they have to be.
    fn row(&mut self, fields: &[&[u8]]) -> io::Result<()> {
        for (place, field) in fields.iter().enumerate() {
            if place > 0 {
                self.out.write_all(b",")?;
            }
            if field.iter().any(|byte| b"\",\r\n".contains(byte)) {
                self.out.write_all(b"\"")?;
                for byte in *field {
                    let twice = if *byte == b'"' {
                        &b"\"\""[..]
                    } else {
                        &[*byte]
                    };
                    self.out.write_all(twice)?;
                }
                self.out.write_all(b"\"")?;
            } else {
                self.out.write_all(field)?;
            }
        }
        self.out.write_all(b"\n")
    }
}

/// Text, or what is none in hexadecimal.
fn name(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex = data_encoding::HEXLOWER.encode(bytes);
            Value::Object(Map::from_iter([("hex".to_owned(), hex.into())]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut bytes = Vec::new();
        let mut out = Output::new(format, &mut bytes);
        out.counter(b"hits", None, -3).unwrap();
        out.counter(b"a\"b,", Some(b"\xff"), 1).unwrap();
        out.deadline(b"hits", 9000).unwrap();
        let id = EntryId { ms: 5, seq: 1 };
        let values = [&b"f"[..], b"x y"];
        out.entry(b"clicks", id, (2, values.into_iter())).unwrap();
        out.emptied(b"gone", id).unwrap();
        out.finish().unwrap();
        bytes.escape_ascii().to_string()
    }

    #[test]
    fn each_format_says_the_same() {
        assert_eq!(
            written(Format::Resp),
            "*3\\r\\n$3\\r\\nSET\\r\\n$4\\r\\nhits\\r\\n$2\\r\\n-3\\r\\n\
             *4\\r\\n$4\\r\\nHSET\\r\\n$4\\r\\na\\\"b,\\r\\n$1\\r\\n\\xff\\r\\n$1\\r\\n1\\r\\n\
             *3\\r\\n$9\\r\\nPEXPIREAT\\r\\n$4\\r\\nhits\\r\\n$4\\r\\n9000\\r\\n\
             *5\\r\\n$4\\r\\nXADD\\r\\n$6\\r\\nclicks\\r\\n$3\\r\\n5-1\\r\\n$1\\r\\nf\\r\\n$3\\r\\nx y\\r\\n\
             *7\\r\\n$4\\r\\nXADD\\r\\n$4\\r\\ngone\\r\\n$6\\r\\nMAXLEN\\r\\n$1\\r\\n0\\r\\n\
             $3\\r\\n5-1\\r\\n$0\\r\\n\\r\\n$0\\r\\n\\r\\n"
        );
        assert_eq!(
            written(Format::Csv),
            "counter,hits,,-3\\nhash,\\\"a\\\"\\\"b,\\\",\\xff,1\\nexpires,hits,,9000\\nentry,clicks,5-1,f,x y\\n\
             log,gone,5-1,\\n"
        );
        let lines = written(Format::Ndjson)
            .replace("\\\"", "\"")
            .replace("\\\\\"", "\\\"");
        let lines: Vec<_> = lines.split("\\n").collect();
        assert_eq!(lines[0], r#"{"counter":"hits","value":-3}"#);
        assert!(lines[1].contains(r#"{"hex":"ff"}"#), "{}", lines[1]);
        assert_eq!(lines[2], r#"{"at_ms":9000,"expires":"hits"}"#);
        assert_eq!(
            lines[3],
            r#"{"id":"5-1","log":"clicks","values":[["f","x y"]]}"#
        );
        assert_eq!(lines[4], r#"{"last_id":"5-1","log":"gone"}"#);
    }
}
