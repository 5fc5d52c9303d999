//! Requests: arrays of bulk strings, or inline commands. Redis's own limits and error texts.

use super::number::parse_i64;

/// A line (an inline command, a length) may have at most so many bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Arguments of one command.
const ARGS_MAX: i64 = 1 << 20;
/// Bytes of one argument: the longest entry and room for being refused politely.
const BULK_BYTES_MAX: i64 = 1 << 20;
/// Bytes of one command.
const COMMAND_BYTES_MAX: usize = 32 << 20;
/// The same while the client has not authenticated.
const ARGS_MAX_UNAUTHENTICATED: i64 = 10;
const BULK_BYTES_MAX_UNAUTHENTICATED: i64 = 16 << 10;

/// A request that cannot be understood: the client is told and sent away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ERR Protocol error: {0}")]
pub(super) struct ProtocolError(String);

fn refused<T>(reason: &str) -> Result<T, ProtocolError> {
    Err(ProtocolError(reason.to_owned()))
}

/// What stands at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A command of so many bytes; its arguments are in [`Parser`].
    Command(usize),
    /// More bytes are needed: at least so many in all.
    Incomplete(usize),
}

/// Parses one command at a time and keeps its memory for the next.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Where the arguments lie, in the buffer or, for an inline command, in `inline`.
    ranges: Vec<(usize, usize)>,
    inline: Option<Vec<u8>>,
}

/// Arguments of a command, its name first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [(usize, usize)],
}

impl Args<'static> {
    /// Stands in the slow log for a command that holds a password.
    pub(super) const REDACTED_AUTH: Self = Self {
        bytes: b"AUTH(redacted)",
        ranges: &[(0, 4), (4, 14)],
    };
}

impl<'a> Args<'a> {
    /// Arguments that lie in `bytes` at these places.
    pub(super) fn new(bytes: &'a [u8], ranges: &'a [(usize, usize)]) -> Self {
        Self { bytes, ranges }
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The argument at `place`; empty beyond the last.
    pub(super) fn get(&self, place: usize) -> &'a [u8] {
        self.ranges
            .get(place)
            .map_or(&[], |(from, to)| &self.bytes[*from..*to])
    }

    /// The same without the first `count` arguments.
    pub(super) fn skip(&self, count: usize) -> Self {
        let ranges = self.ranges.get(count..).unwrap_or_default();
        Self::new(self.bytes, ranges)
    }

    /// Arguments from `place` on.
    pub(super) fn from(&self, place: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let ranges = self.ranges.get(place..).unwrap_or_default();
        ranges.iter().map(move |(from, to)| &bytes[*from..*to])
    }

    /// Whether the argument at `place` is `word`, in whatever case.
    pub(super) fn is(&self, place: usize, word: &str) -> bool {
        self.get(place).eq_ignore_ascii_case(word.as_bytes())
    }
}

impl Parser {
    /// Looks for a command at the start of `buffer`.
    pub(super) fn parse(
        &mut self,
        buffer: &[u8],
        authenticated: bool,
    ) -> Result<Parsed, ProtocolError> {
        self.ranges.clear();
        self.inline = None;
        let parsed = match buffer.first() {
            None => return Ok(Parsed::Incomplete(1)),
            Some(b'*') => self.array(buffer, authenticated)?,
            Some(_) => self.inline(buffer)?,
        };
        match parsed {
            Parsed::Incomplete(_) if buffer.len() > COMMAND_BYTES_MAX => {
                refused("command longer than 33554432 bytes")
            }
            Parsed::Incomplete(_) | Parsed::Command(_) => Ok(parsed),
        }
    }

    /// The arguments of the command last found in `buffer`.
    pub(super) fn args<'a>(&'a self, buffer: &'a [u8]) -> Args<'a> {
        Args::new(self.inline.as_deref().unwrap_or(buffer), &self.ranges)
    }

    fn array(&mut self, buffer: &[u8], authenticated: bool) -> Result<Parsed, ProtocolError> {
        let Some(line) = line(buffer, 1, "too big mbulk count string")? else {
            return Ok(Parsed::Incomplete(buffer.len() + 1));
        };
        let count = match parse_i64(&buffer[1..line]) {
            Some(count) if count <= ARGS_MAX => count,
            Some(_) | None => return refused("invalid multibulk length"),
        };
        if count > ARGS_MAX_UNAUTHENTICATED && !authenticated {
            return refused("unauthenticated multibulk length");
        }
        let mut at = line + 2;
        for left in (1..=count.max(0)).rev() {
            match bulk(buffer, at, authenticated)? {
                Ok((from, to)) => {
                    self.ranges.push((from, to));
                    at = to + 2;
                }
                // Every argument that follows takes five bytes or more.
                Err(needed) => {
                    return Ok(Parsed::Incomplete(needed + (left as usize - 1) * 5));
                }
            }
        }
        Ok(Parsed::Command(at))
    }

    fn inline(&mut self, buffer: &[u8]) -> Result<Parsed, ProtocolError> {
        let Some(end) = buffer
            .iter()
            .take(LINE_BYTES_MAX)
            .position(|byte| *byte == b'\n')
        else {
            if buffer.len() >= LINE_BYTES_MAX {
                return refused("too big inline request");
            }
            return Ok(Parsed::Incomplete(buffer.len() + 1));
        };
        let line = &buffer[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(words) = split_words(line) else {
            return refused("unbalanced quotes in request");
        };
        let mut bytes = Vec::with_capacity(line.len());
        for word in words {
            let from = bytes.len();
            bytes.extend_from_slice(&word);
            self.ranges.push((from, bytes.len()));
        }
        self.inline = Some(bytes);
        Ok(Parsed::Command(end + 1))
    }
}

/// The first keys of the commands that `buffer` begins with, as far as they are all there: for
/// guessing only, nothing is checked.
pub(super) fn keys_ahead(mut buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut key = None;
        for place in 0..header(&mut buffer, b'*')? {
            let length = header(&mut buffer, b'$')?;
            let (argument, rest) = buffer.split_at_checked(length)?;
            buffer = rest.get(2..)?;
            if place == 1 {
                key = Some(argument);
            }
        }
        key
    })
}

/// Takes a line of a kind and a number from the front.
fn header(buffer: &mut &[u8], kind: u8) -> Option<usize> {
    let mut rest = buffer.strip_prefix(&[kind])?;
    let mut number = 0_usize;
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        number = number
            .checked_mul(10)?
            .checked_add(usize::from(digit - b'0'))?;
        rest = after;
    }
    *buffer = rest.strip_prefix(b"\r\n")?;
    Some(number)
}

/// The end of the line that begins at `from`, before its CRLF; none while it is not all there.
fn line(buffer: &[u8], from: usize, too_long: &str) -> Result<Option<usize>, ProtocolError> {
    let rest = buffer.get(from..).unwrap_or_default();
    match rest
        .iter()
        .take(LINE_BYTES_MAX)
        .position(|byte| *byte == b'\r')
    {
        Some(length) if rest.len() > length + 1 => Ok(Some(from + length)),
        Some(_) => Ok(None),
        None if rest.len() >= LINE_BYTES_MAX => refused(too_long),
        None => Ok(None),
    }
}

/// Where the bulk string at `at` lies, or how long the buffer must be to know.
fn bulk(
    buffer: &[u8],
    at: usize,
    authenticated: bool,
) -> Result<Result<(usize, usize), usize>, ProtocolError> {
    match buffer.get(at) {
        None => return Ok(Err(at + 5)),
        Some(b'$') => {}
        Some(other) => {
            let other = char::from(*other);
            return refused(&format!("expected '$', got '{other}'"));
        }
    }
    let Some(end) = line(buffer, at + 1, "too big bulk count string")? else {
        return Ok(Err(buffer.len() + 1));
    };
    let length = match parse_i64(&buffer[at + 1..end]) {
        Some(length) if (0..=BULK_BYTES_MAX).contains(&length) => length,
        Some(_) | None => return refused("invalid bulk length"),
    };
    if length > BULK_BYTES_MAX_UNAUTHENTICATED && !authenticated {
        return refused("unauthenticated bulk length");
    }
    let (from, to) = (end + 2, end + 2 + length as usize);
    Ok(if buffer.len() >= to + 2 {
        Ok((from, to))
    } else {
        Err(to + 2)
    })
}

/// Splits an inline command into words as `redis-cli` does: quotes and escapes. None when quotes
/// are not balanced.
fn split_words(mut line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    loop {
        line = line.trim_ascii_start();
        if line.is_empty() {
            return Some(words);
        }
        let (word, rest) = next_word(line)?;
        words.push(word);
        line = rest;
    }
}

fn next_word(mut line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match line {
            [] => return Some((word, line)),
            [space, ..] if space.is_ascii_whitespace() || *space == 0 => {
                return Some((word, &line[1..]));
            }
            [quote @ (b'"' | b'\''), rest @ ..] => {
                line = quoted(rest, *quote, &mut word)?;
                // A closing quote ends the word.
                let ends = line.first().is_none_or(u8::is_ascii_whitespace);
                return ends.then_some((word, line));
            }
            [byte, rest @ ..] => {
                word.push(*byte);
                line = rest;
            }
        }
    }
}

/// Reads up to the closing quote.
fn quoted<'a>(mut line: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match (line, quote) {
            ([], _) => return None,
            ([byte, rest @ ..], _) if *byte == quote => return Some(rest),
            ([b'\\', b'x', high, low, rest @ ..], b'"')
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                (digit(*high) << 4 | digit(*low), rest)
            }
            ([b'\\', escaped, rest @ ..], b'"') => (unescape(*escaped), rest),
            ([b'\\', b'\'', rest @ ..], b'\'') => (b'\'', rest),
            ([byte, rest @ ..], _) => (*byte, rest),
        };
        word.push(byte);
        line = rest;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>, String> {
        let mut parser = Parser::default();
        match parser.parse(bytes, true) {
            Ok(Parsed::Command(_)) => Ok(Some(
                parser.args(bytes).from(0).map(<[u8]>::to_vec).collect(),
            )),
            Ok(Parsed::Incomplete(needed)) => {
                assert!(needed > bytes.len(), "would be asked again at once");
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn words(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn inline_commands() {
        assert_eq!(parse(b"PING\r\n"), Ok(Some(words(&["PING"]))));
        assert_eq!(parse(b"\r\n"), Ok(Some(words(&[]))));
        assert_eq!(parse(b"set  a\t1\n"), Ok(Some(words(&["set", "a", "1"]))));
        assert_eq!(parse(br#"echo "a\x41\n \"" 'b\' c'"#), Ok(None));
        let quoted = b"echo \"a\\x41\\n \\\"\" 'b\\' c'\r\n";
        assert_eq!(parse(quoted), Ok(Some(words(&["echo", "aA\n \"", "b' c"]))));
        let unbalanced = Err("ERR Protocol error: unbalanced quotes in request".to_owned());
        assert_eq!(parse(b"echo \"a\r\n"), unbalanced);
        assert_eq!(parse(b"echo \"a\"b\r\n"), unbalanced);
        let long = vec![b'a'; LINE_BYTES_MAX];
        assert!(parse(&long).unwrap_err().contains("too big inline request"));
    }

    #[test]
    fn protocol_errors_have_redis_own_words() {
        let cases: [(&[u8], &str); 7] = [
            (b"*a\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$1048577\r\n", "invalid bulk length"),
            (b"*1\r\n$x\r\n", "invalid bulk length"),
            (b"*2\r\n$1\r\na\r\nb", "expected '$', got 'b'"),
        ];
        for (bytes, text) in cases {
            assert_eq!(parse(bytes), Err(format!("ERR Protocol error: {text}")));
        }
        assert_eq!(parse(b"*0\r\n"), Ok(Some(words(&[]))));
        assert_eq!(parse(b"*-1\r\n"), Ok(Some(words(&[]))));
        let mut parser = Parser::default();
        assert!(parser.parse(b"*11\r\n", false).is_err());
        assert!(parser.parse(b"*1\r\n$16385\r\n", false).is_err());
    }

    #[test]
    fn keys_are_seen_ahead() {
        let bytes = b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$2\r\nbc\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\nd";
        assert_eq!(keys_ahead(bytes).collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
    }

    proptest! {
        #[test]
        fn arrays_come_back_under_any_cut(args in proptest::collection::vec(any::<Vec<u8>>(), 1..6)) {
            let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
            for arg in &args {
                bytes.extend(format!("${}\r\n", arg.len()).bytes());
                bytes.extend(arg);
                bytes.extend(b"\r\n");
            }
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
            prop_assert_eq!(parse(&bytes), Ok(Some(args)));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, star: bool) {
            let bytes = if star { [b"*", &bytes[..]].concat() } else { bytes };
            prop_assert!(keys_ahead(&bytes).count() <= bytes.len());
            let mut parser = Parser::default();
            if let Ok(Parsed::Command(length)) = parser.parse(&bytes, true) {
                prop_assert!(length <= bytes.len());
                prop_assert!(parser.args(&bytes).from(0).count() <= bytes.len());
            }
        }
    }
}
