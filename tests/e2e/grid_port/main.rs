//! The port of Redis clients: where it listens and who is let in.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod listeners;
mod passwords;
mod tls;
mod users;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use strait_tests::Site;

const OK: &str = "+OK";

/// Has the gateway listen there from its next start on: one text, or a list.
fn listen(site: &Site, value: &str) {
    let one = format!("grid = \"{}\"", site.grid);
    site.change_config(&one, &format!("grid = {value}"));
}

/// A client that shows replies line by line, as they are.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn connect(site: &Site) -> Self {
        let stream = TcpStream::connect(site.grid).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends an inline command; the first line of its reply.
    fn ask(&mut self, command: &str) -> String {
        let line = format!("{command}\r\n");
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        self.0.read_line(&mut reply).unwrap();
        reply.trim_end().to_owned()
    }
}
