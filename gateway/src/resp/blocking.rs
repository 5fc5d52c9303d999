//! A blocking Redis client of a few lines, for our own commands: they talk to a grid as any
//! client would, over a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest bulk string or array that is read.
const LEN_MAX: usize = 64 << 20;

/// What the grid answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Integer(i64),
    Text(String),
    Array(Vec<Reply>),
}

/// One blocking connection.
#[derive(Debug)]
pub struct Client<S: Read = TcpStream> {
    stream: BufReader<S>,
    /// Requests that have not been written yet.
    pending: Vec<u8>,
    awaited: usize,
}

impl Client {
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("the grid does not answer")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a connection that is there already.
    pub fn over(stream: S) -> Self {
        Self {
            stream: BufReader::with_capacity(64 << 10, stream),
            pending: Vec::new(),
            awaited: 0,
        }
    }

    /// Adds a command to the pipeline.
    pub fn queue(&mut self, words: &[&[u8]]) {
        let out = &mut self.pending;
        out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        self.awaited += 1;
    }

    /// Bytes of the requests that were not sent yet.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Sends the pipeline and reads as many answers.
    pub fn flush(&mut self) -> anyhow::Result<Vec<Reply>> {
        self.stream.get_mut().write_all(&self.pending)?;
        self.pending.clear();
        let awaited = std::mem::take(&mut self.awaited);
        (0..awaited).map(|_| read_reply(&mut self.stream)).collect()
    }

    /// One command and its answer.
    pub fn call(&mut self, words: &[&[u8]]) -> anyhow::Result<Reply> {
        self.queue(words);
        Ok(self.flush()?.pop().unwrap_or(Reply::Nil))
    }
}

fn read_reply(stream: &mut impl BufRead) -> anyhow::Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let Some((kind, rest)) = line.split_at_checked(1) else {
        bail!("the grid hung up");
    };
    match kind {
        "+" => Ok(Reply::Text(rest.to_owned())),
        ":" => Ok(Reply::Integer(rest.parse()?)),
        "$" if rest == "-1" => Ok(Reply::Nil),
        "$" => read_bulk(stream, bounded(rest)?),
        "*" if rest == "-1" => Ok(Reply::Nil),
        "*" => (0..bounded(rest)?)
            .map(|_| read_reply(stream))
            .collect::<anyhow::Result<_>>()
            .map(Reply::Array),
        "-" => bail!("the grid answers: {rest}"),
        _ => bail!("not a reply: {line}"),
    }
}

fn bounded(len: &str) -> anyhow::Result<usize> {
    let len = len.parse()?;
    anyhow::ensure!(len <= LEN_MAX, "a reply of {len} elements");
    Ok(len)
}

fn read_bulk(stream: &mut impl BufRead, len: usize) -> anyhow::Result<Reply> {
    let mut bytes = vec![0; len + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(len);
    Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let mut bytes = &b"*3\r\n:7\r\n$2\r\nab\r\n*-1\r\n+OK\r\n-ERR no\r\n"[..];
        let read = read_reply(&mut bytes).unwrap();
        let expected = [Reply::Integer(7), Reply::Text("ab".to_owned()), Reply::Nil];
        assert_eq!(read, Reply::Array(expected.into()));
        assert_eq!(
            read_reply(&mut bytes).unwrap(),
            Reply::Text("OK".to_owned())
        );
        assert!(read_reply(&mut bytes).is_err());
        assert!(read_reply(&mut bytes).is_err(), "nothing is left");
    }
}
