//! Replies, in RESP2 or RESP3.

use super::number::{put_i64, put_u64};

/// Which protocol a client has chosen with `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Replies that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub(super) bytes: Vec<u8>,
    pub(super) protocol: Protocol,
    /// Beyond so many bytes nothing is written that may be one of many; 0: there is no bound.
    bytes_max: usize,
    /// Something was left out for that.
    overflowed: bool,
}

impl Replies {
    pub(super) fn up_to(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }

    /// Whether the reply that is being written is too long: it will be an error.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Puts an error in the place of a reply, begun at `start`, that is longer than may be.
    pub(super) fn end(&mut self, start: usize) {
        if std::mem::take(&mut self.overflowed) {
            self.bytes.truncate(start);
            let most = self.bytes_max;
            self.error(&format!(
                "ERR the reply would be longer than reply_bytes_max, {most} bytes: ask for less"
            ));
        }
    }

    /// Whether there is room for one more of many.
    fn has_room(&mut self) -> bool {
        let has_room = self.bytes_max == 0 || self.bytes.len() <= self.bytes_max;
        self.overflowed |= !has_room;
        has_room
    }

    fn header(&mut self, kind: u8, value: u64) {
        self.bytes.push(kind);
        put_u64(&mut self.bytes, value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// `+OK` and the like: one line.
    pub(super) fn simple(&mut self, text: &str) {
        self.bytes.push(b'+');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// An error; line breaks in it (clients' words, quoted) become spaces.
    pub(super) fn error(&mut self, text: &str) {
        self.bytes.push(b'-');
        let line = text.bytes().map(|byte| {
            if byte == b'\r' || byte == b'\n' {
                b' '
            } else {
                byte
            }
        });
        self.bytes.extend(line);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn integer(&mut self, value: i64) {
        self.bytes.push(b':');
        put_i64(&mut self.bytes, value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A count.
    pub(super) fn count(&mut self, value: u64) {
        self.header(b':', value);
    }

    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        if !self.has_room() {
            return;
        }
        self.header(b'$', bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string: a counter's value.
    pub(super) fn bulk_integer(&mut self, value: i64) {
        if !self.has_room() {
            return;
        }
        let digits = value
            .unsigned_abs()
            .checked_ilog10()
            .map_or(1, |log| log + 1);
        self.header(b'$', u64::from(digits) + u64::from(value < 0));
        put_i64(&mut self.bytes, value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Text for people: a bulk string, or what RESP3 has for that.
    pub(super) fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.header(b'=', text.len() as u64 + 4);
                self.bytes.extend_from_slice(b"txt:");
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// `<ms>-<seq>` as a bulk string.
    pub(super) fn id(&mut self, id: crate::grid::EntryId) {
        let mut text = Vec::with_capacity(41);
        put_u64(&mut text, id.ms);
        text.push(b'-');
        put_u64(&mut text, id.seq);
        self.bulk(&text);
    }

    /// Nothing, where a string was asked for.
    pub(super) fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array was asked for.
    pub(super) fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The next `len` replies belong together.
    pub(super) fn array(&mut self, len: usize) {
        self.header(b'*', len as u64);
    }

    /// The next `len` replies are a set.
    pub(super) fn set(&mut self, len: usize) {
        let kind = if self.protocol == Protocol::Resp3 {
            b'~'
        } else {
            b'*'
        };
        self.header(kind, len as u64);
    }

    /// The next `len` pairs of replies are a map.
    pub(super) fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * len as u64),
            Protocol::Resp3 => self.header(b'%', len as u64),
        }
    }

    /// The next `len` replies are pairs: arrays of two (which the caller begins) in an array, or
    /// entries of a map. `XREAD` does this, and nothing else.
    pub(super) fn map_or_pairs(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(len),
            Protocol::Resp3 => self.map(len),
        }
    }

    /// Writes elements whose number is known only afterwards. `write` returns it.
    pub(super) fn array_of(&mut self, write: impl FnOnce(&mut Self) -> usize) {
        let start = self.bytes.len();
        let len = write(self);
        let mut head = vec![b'*'];
        put_u64(&mut head, len as u64);
        head.extend_from_slice(b"\r\n");
        self.bytes.splice(start..start, head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols() {
        let mut replies = Replies::default();
        replies.null();
        replies.map(1);
        replies.array_of(|replies| {
            replies.integer(-5);
            replies.bulk_integer(12);
            2
        });
        assert_eq!(replies.bytes, b"$-1\r\n*2\r\n*2\r\n:-5\r\n$2\r\n12\r\n");
        let mut replies = Replies {
            protocol: Protocol::Resp3,
            ..Replies::default()
        };
        replies.null_array();
        replies.map(1);
        replies.error("ERR a\r\nb");
        replies.verbatim("x");
        assert_eq!(replies.bytes, b"_\r\n%1\r\n-ERR a  b\r\n=5\r\ntxt:x\r\n");
    }
}
