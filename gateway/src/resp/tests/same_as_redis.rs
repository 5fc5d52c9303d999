//! The same commands to strait and to a redis-server, and the same bytes back. Left out, with a
//! word, where redis-server 7.0 is not installed.

use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::UnixStream;

use super::*;

/// Commands, one a line, to a fresh server. Lines that begin with `#` say why what follows is here.
const SCRIPT: &str = include_str!("same_as_redis.txt");

pub(super) struct Redis {
    process: Child,
    dir: tempfile::TempDir,
}

impl Redis {
    pub(super) fn start() -> Option<Self> {
        let version = Command::new("redis-server")
            .arg("--version")
            .output()
            .ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("v=7.0.") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--unixsocket",
                "socket",
                "--dir",
            ])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { process, dir })
    }

    pub(super) async fn connect(&self) -> UnixStream {
        let connected = async {
            loop {
                match UnixStream::connect(self.dir.path().join("socket")).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let connected = tokio::time::timeout(PATIENCE, connected).await;
        connected.expect("redis-server starts")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Reads one reply as it came, its nested ones included.
pub(super) async fn reply(stream: &mut BufReader<impl AsyncRead + Unpin>) -> String {
    let (mut text, mut left) = (String::new(), 1_usize);
    while left > 0 {
        left -= 1;
        let mut line = Vec::new();
        tokio::io::AsyncBufReadExt::read_until(stream, b'\n', &mut line)
            .await
            .unwrap();
        let head = String::from_utf8_lossy(&line).into_owned();
        let count: i64 = head[1..].trim().parse().unwrap_or(0);
        match line[0] {
            b'$' | b'=' if count >= 0 => {
                let mut bytes = vec![0; count as usize + 2];
                stream.read_exact(&mut bytes).await.unwrap();
                text += &head;
                text += &String::from_utf8_lossy(&bytes);
            }
            b'*' | b'~' => left += count.max(0) as usize,
            b'%' => left += 2 * count as usize,
            _ => {}
        }
        if !matches!(line[0], b'$' | b'=') || count < 0 {
            text += &head;
        }
    }
    text
}

async fn play(stream: impl AsyncRead + AsyncWrite + Unpin, hello: &str) -> Vec<(String, String)> {
    let mut stream = BufReader::new(stream);
    if !hello.is_empty() {
        answers(&mut stream, [hello]).await;
    }
    let is_command = |line: &&str| !line.is_empty() && !line.starts_with('#');
    answers(&mut stream, SCRIPT.lines().filter(is_command)).await
}

/// Each command with its answer.
pub(super) async fn answers(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    commands: impl IntoIterator<Item = &str>,
) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for line in commands {
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await
            .unwrap();
        let answer = tokio::time::timeout(PATIENCE, reply(stream)).await;
        answers.push((line.to_owned(), answer.expect(line)));
    }
    answers
}

#[tokio::test]
async fn strait_answers_as_redis_does() {
    let mut differing = Vec::new();
    for hello in ["", "HELLO 3"] {
        let Some(redis) = Redis::start() else {
            eprintln!("left out: redis-server 7.0 is not installed");
            return;
        };
        let site = Site::start(None).await;
        let (ours, theirs) = (
            play(site.client().await.0, hello).await,
            play(redis.connect().await, hello).await,
        );
        for ((command, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            if ours != theirs {
                differing.push(format!(
                    "{command}\n  strait: {ours:?}\n  redis:  {theirs:?}"
                ));
            }
        }
        site.stop().await;
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// What tells clients how to send a command: its arity, where its keys are, what it does to them.
fn shape(described: &redis::Value) -> Option<(Vec<redis::Value>, Vec<String>)> {
    let redis::Value::Array(fields) = described else {
        return None;
    };
    let flags: Vec<String> = redis::from_redis_value_ref(&fields[2]).unwrap();
    let told = [
        "write",
        "readonly",
        "denyoom",
        "admin",
        "blocking",
        "movablekeys",
    ];
    let mut flags: Vec<_> = flags
        .into_iter()
        .filter(|flag| told.contains(&flag.as_str()))
        .collect();
    flags.sort();
    let mut categories: Vec<String> = redis::from_redis_value_ref(&fields[6]).unwrap();
    categories.sort();
    flags.extend(categories);
    let numbers = [1, 3, 4, 5].map(|place| fields[place].clone());
    Some((numbers.into(), flags))
}

#[tokio::test]
async fn commands_are_described_as_redis_does() {
    let Some(server) = Redis::start() else {
        eprintln!("left out: redis-server 7.0 is not installed");
        return;
    };
    drop(server.connect().await);
    let site = Site::start(None).await;
    let socket = server.dir.path().join("socket");
    let urls = [
        format!("redis://{}/", site.address),
        format!("redis+unix://{}", socket.display()),
    ];
    let mut described = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for url in urls {
        let client = redis::Client::open(url).unwrap();
        let mut client = client.get_multiplexed_async_connection().await.unwrap();
        if names.is_empty() {
            names = redis::cmd("COMMAND")
                .arg("LIST")
                .query_async(&mut client)
                .await
                .unwrap();
        }
        let mut info = redis::cmd("COMMAND");
        info.arg("INFO").arg(&names);
        let answer: Vec<redis::Value> = info.query_async(&mut client).await.unwrap();
        described.push(answer);
    }
    let mut compared = 0;
    for ((name, ours), theirs) in names.iter().zip(&described[0]).zip(&described[1]) {
        // Some are of Redis 7.2.
        if let Some(theirs) = shape(theirs) {
            assert_eq!(shape(ours), Some(theirs), "{name}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} of {}", names.len());
    site.stop().await;
}
