//! `strait status`: how the running gateway is, asked over its own socket, or at an HTTP address.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::Globals;
use super::output::{explain, say, tell};
use super::own;
use crate::observe::render;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the whole status document as JSON
    #[arg(long)]
    json: bool,
    /// Ask again every so many seconds, until interrupted
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
    /// Ask whichever gateway answers HTTP there, instead of the one of the data directory
    #[arg(long, value_name = "IP:PORT")]
    http: Option<SocketAddr>,
}

const TIMEOUT: Duration = Duration::from_secs(5);
/// More than the status of a gateway with the most peers there can be.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let ask = || match args.http {
        Some(address) => ask_at(address),
        None => own::status_json(globals),
    };
    let Some(every_s) = args.watch else {
        return show(&ask()?, args.json);
    };
    loop {
        // A gateway that is being restarted is what one watches for.
        let answer = ask();
        if io::stdout().is_terminal() && !args.json {
            say("\x1b[2J\x1b[H")?;
        }
        match answer {
            Ok(json) => show(&json, args.json)?,
            Err(error) => tell!("strait: {}", explain(&error)),
        }
        sleep(Duration::from_secs(every_s));
    }
}

fn show(json: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say(format_args!("{}\n", json.trim_end()));
    }
    say(render(&own::read_status(json)?))
}

fn ask_at(address: SocketAddr) -> anyhow::Result<String> {
    get(address, "/status", TIMEOUT).with_context(|| {
        format!("no answer from a gateway at http://{address}/status (is `strait run` running?)")
    })
}

/// HTTP/1.0, so that the answer is one piece that ends with the connection.
fn get(address: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(
            "no answer within {} s: it hangs, or was paused",
            timeout.as_secs()
        ),
        read => read?,
    };
    body(&answer)
}

fn body(answer: &[u8]) -> anyhow::Result<String> {
    let answer = std::str::from_utf8(answer).context("the answer is no text")?;
    let Some((header, body)) = answer.split_once("\r\n\r\n") else {
        bail!("the answer is no HTTP");
    };
    let status_line = header.lines().next().unwrap_or_default();
    let mut words = status_line.split(' ');
    ensure!(
        words.next().is_some_and(|word| word.starts_with("HTTP/")),
        "the answer is no HTTP"
    );
    let code = words.next().unwrap_or_default();
    let said = body.lines().next().unwrap_or_default();
    let said: String = said
        .chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect();
    ensure!(
        code == "200",
        "the answer is {}: {said}",
        code.escape_debug()
    );
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::observe::{Server, Status, sample};

    #[test]
    fn answers_are_taken_apart() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\na: b\r\n\r\n{}").unwrap(), "{}");
        for bad in [
            &b""[..],
            b"\xff",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.0 503 Service Unavailable\r\n\r\ngoing down",
            b"SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(body(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_running_gateway_is_asked() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bind = Server::bind(([127, 0, 0, 1], 0).into());
        let server = runtime.block_on(bind).unwrap();
        let gateway = sample::Still(sample::status());
        server.pages().show(Arc::new(gateway));
        let address = server.local_addr();
        runtime.spawn(server.serve(std::future::pending()));
        let status: Status = serde_json::from_str(&ask_at(address).unwrap()).unwrap();
        assert_eq!(status, sample::status());
        drop(runtime);
        let error = ask_at(address).unwrap_err().to_string();
        assert!(error.contains("is `strait run` running?)"), "{error}");
    }
}
