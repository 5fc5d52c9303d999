//! Clients at one site: counters and log lines at a steady pace, and a probe that
//! measures how late a line is at the other site.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::resp::blocking::{Client, Reply};

/// Counters that the load touches, the low numbers more often.
const BANNERS: f64 = 20_000.0;
/// Increments of one pipeline.
const INCREMENTS: usize = 400;
/// Log lines of one pipeline.
const LINES: usize = 40;
/// A pipeline of each is sent so often.
const TICK: Duration = Duration::from_millis(20);
/// The probe writes so often.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// What clients have written so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) events: u64,
    /// Bytes of their requests.
    pub(super) bytes: u64,
}

impl std::ops::Add for Written {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Writes counters and log lines for `duration`, about 20,000 and 2,000 a second.
pub(super) fn feed(grid: SocketAddr, seed: u64, duration: Duration) -> anyhow::Result<Written> {
    let mut client = Client::connect(grid)?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut written = Written::default();
    let start = Instant::now();
    let mut tick = 0;
    while start.elapsed() < duration {
        for _ in 0..INCREMENTS {
            let key = banner(&mut random);
            client.queue(&[b"INCR", key.as_bytes()]);
        }
        for _ in 0..LINES {
            let line = access_line(&mut random);
            client.queue(&[b"XADD", b"clicks", b"*", b"line", line.as_bytes()]);
        }
        written.bytes += client.pending_bytes();
        written.events += client.flush()?.len() as u64;
        tick += 1;
        thread::sleep((TICK * tick).saturating_sub(start.elapsed()));
    }
    Ok(written)
}

/// A skewed choice: a tenth of the counters gets about half of the increments.
fn banner(random: &mut StdRng) -> String {
    let skewed = random.random::<f64>().powi(3) * BANNERS;
    format!("banner:{:07}:impressions", skewed as u64)
}

/// A line as web servers write them, about 200 bytes.
fn access_line(random: &mut StdRng) -> String {
    const AGENTS: [&str; 3] = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/138.0.0.0",
    ];
    let agent = AGENTS[random.random_range(0..AGENTS.len())];
    format!(
        "198.51.100.{} - - \"GET /catalogue/{}/item-{}.html HTTP/1.1\" 200 {} \"-\" \"{agent}\" {}ms",
        random.random_range(1..255),
        random.random_range(1..60),
        random.random_range(1..9000),
        random.random_range(400..60_000),
        random.random_range(1..400),
    )
}

/// Measures how late a line of one site is at the other, while it is told to.
#[derive(Debug)]
pub(super) struct Probe {
    start: Instant,
    going: AtomicBool,
    stopped: AtomicBool,
    lags: Mutex<Vec<Duration>>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            going: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            lags: Mutex::default(),
        }
    }
}

impl Probe {
    /// Starts to write lines, and to measure.
    pub(super) fn go(&self) {
        self.lags.lock().clear();
        self.going.store(true, Ordering::Relaxed);
    }

    /// Stops writing; the lags since [`Probe::go`], sorted.
    pub(super) fn pause(&self) -> Vec<Duration> {
        self.going.store(false, Ordering::Relaxed);
        let mut lags = std::mem::take(&mut *self.lags.lock());
        lags.sort();
        lags
    }

    /// Ends both of its threads.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Writes lines with the time to the log `probe` until stopped.
    pub(super) fn write(&self, grid: SocketAddr) -> anyhow::Result<()> {
        let mut client = Client::connect(grid)?;
        while !self.stopped() {
            if self.going.load(Ordering::Relaxed) {
                let sent = self.start.elapsed().as_micros().to_string();
                client.call(&[b"XADD", b"probe", b"*", b"t", sent.as_bytes()])?;
            }
            thread::sleep(PROBE_EVERY);
        }
        Ok(())
    }

    /// Reads the lines of `log` as they arrive and notes how late each is.
    pub(super) fn read(&self, grid: SocketAddr, log: &str) -> anyhow::Result<()> {
        let mut client = Client::connect(grid)?;
        let mut last = "0-0".to_owned();
        while !self.stopped() {
            let reply = client.call(&[
                b"XREAD",
                b"BLOCK",
                b"200",
                b"STREAMS",
                log.as_bytes(),
                last.as_bytes(),
            ])?;
            let now = self.start.elapsed();
            for (id, sent) in probe_lines(reply) {
                last = id;
                self.lags.lock().push(now.saturating_sub(sent));
            }
        }
        Ok(())
    }
}

/// The ids and times in an XREAD reply for one log.
fn probe_lines(reply: Reply) -> Vec<(String, Duration)> {
    let mut lines = Vec::new();
    let Some(Reply::Array(entries)) = last_of(reply).and_then(last_of) else {
        return lines;
    };
    for entry in entries {
        let Reply::Array(parts) = entry else { continue };
        if let [Reply::Text(id), Reply::Array(fields)] = parts.as_slice()
            && let [_, Reply::Text(micros)] = fields.as_slice()
            && let Ok(micros) = micros.parse()
        {
            lines.push((id.clone(), Duration::from_micros(micros)));
        }
    }
    lines
}

fn last_of(reply: Reply) -> Option<Reply> {
    match reply {
        Reply::Array(mut elements) => elements.pop(),
        Reply::Nil | Reply::Integer(_) | Reply::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_lines_are_found_in_a_reply() {
        let text = |text: &str| Reply::Text(text.to_owned());
        let entry = Reply::Array(vec![
            text("5-0"),
            Reply::Array(vec![text("t"), text("1500")]),
        ]);
        let log = Reply::Array(vec![text("east.probe"), Reply::Array(vec![entry])]);
        let lines = probe_lines(Reply::Array(vec![log]));
        assert_eq!(lines, [("5-0".to_owned(), Duration::from_micros(1500))]);
        assert!(probe_lines(Reply::Nil).is_empty());
    }

    #[test]
    fn the_load_is_skewed() {
        let mut random = StdRng::seed_from_u64(1);
        let low = (0..1000)
            .filter(|_| banner(&mut random).as_str() < "banner:0002000")
            .count();
        assert!(low > 400, "{low} of 1000 in the lowest tenth");
    }
}
