//! The same commands to strait and to a redis-server, and the same bytes back. Left out, with a
//! word, where redis-server 7.0 is not installed.

use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::UnixStream;

use super::*;

/// Commands, one a line, to a fresh server. Lines that begin with `#` say why what follows is here.
const SCRIPT: &str = include_str!("same_as_redis.txt");

struct Redis {
    process: Child,
    dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Option<Self> {
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

    async fn connect(&self) -> UnixStream {
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
async fn reply(stream: &mut BufReader<impl AsyncRead + Unpin>) -> String {
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
        stream
            .write_all(format!("{hello}\r\n").as_bytes())
            .await
            .unwrap();
        reply(&mut stream).await;
    }
    let mut answers = Vec::new();
    for line in SCRIPT
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await
            .unwrap();
        let answer = tokio::time::timeout(PATIENCE, reply(&mut stream)).await;
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
