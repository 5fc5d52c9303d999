//! Moves packets between the two TUN devices.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::namespaces::{Namespaces, Side};
use super::pipe::{Figures, LinkConfig, Pipe};
use super::tun;

/// How soon a thread notices that it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);
const PACKET_BYTES_MAX: usize = 1 << 16;

/// The running link. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Wan {
    out: Arc<Direction>,
    back: Arc<Direction>,
    threads: Vec<JoinHandle<()>>,
}

/// One direction, between the thread that reads and the thread that writes.
#[derive(Debug)]
struct Direction {
    under_way: Mutex<UnderWay>,
    arrived: Condvar,
    stop: AtomicBool,
}

#[derive(Debug)]
struct UnderWay {
    pipe: Pipe,
    /// By when they come out; at the same time by when they were sent.
    packets: BTreeMap<(Instant, u64), Vec<u8>>,
    sent: u64,
}

impl Wan {
    pub(crate) fn start(namespaces: &Namespaces, config: LinkConfig) -> anyhow::Result<Self> {
        let open = |side| {
            let device = namespaces.device(side);
            let file =
                tun::open(&device).context("cannot make a TUN device: the lab needs root")?;
            namespaces.adopt(side, &device)?;
            anyhow::Ok(file)
        };
        let (near, far) = (open(Side::Near)?, open(Side::Far)?);
        let out = Arc::new(Direction::new(config, config.seed));
        let back = Arc::new(Direction::new(config, config.seed + 1));
        let mut threads = Vec::new();
        for (direction, from, to) in [(&out, &near, &far), (&back, &far, &near)] {
            let (reader, from) = (Arc::clone(direction), from.try_clone()?);
            threads.push(std::thread::spawn(move || reader.read(from)));
            let (writer, to) = (Arc::clone(direction), to.try_clone()?);
            threads.push(std::thread::spawn(move || writer.write(to)));
        }
        Ok(Self { out, back, threads })
    }

    /// Cuts or heals both directions.
    pub(crate) fn cut(&self, cut: bool) {
        for direction in [&self.out, &self.back] {
            direction.lock().pipe.set_cut(cut);
        }
    }

    /// What was sent from one side to the other.
    pub(crate) fn figures(&self, from: Side) -> Figures {
        let direction = match from {
            Side::Near => &self.out,
            Side::Far => &self.back,
        };
        direction.lock().pipe.figures()
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        for direction in [&self.out, &self.back] {
            direction.stop.store(true, Ordering::Relaxed);
            direction.arrived.notify_all();
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Direction {
    fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            under_way: Mutex::new(UnderWay {
                pipe: Pipe::new(config, seed, Instant::now()),
                packets: BTreeMap::new(),
                sent: 0,
            }),
            arrived: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Reads packets as fast as they come; the link's queue is `pipe`, not the device's.
    fn read(&self, mut device: File) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        while !self.is_stopped() {
            match device.read(&mut buffer) {
                Ok(len) => self.admit(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_readable(&device),
                // The namespace, and the device with it, is gone.
                Err(_) => return,
            }
        }
    }

    fn admit(&self, packet: &[u8]) {
        let mut under_way = self.lock();
        if let Some(out) = under_way.pipe.pass(Instant::now(), packet.len()) {
            under_way.sent += 1;
            let place = (out, under_way.sent);
            under_way.packets.insert(place, packet.to_vec());
            let is_first =
                under_way.packets.first_key_value().map(|(first, _)| *first) == Some(place);
            if is_first {
                self.arrived.notify_one();
            }
        }
    }

    fn write(&self, mut device: File) {
        while !self.is_stopped() {
            if let Some(packet) = self.next_due() {
                // A packet that the far end's system does not take is lost, as on a wire.
                drop(device.write(&packet));
            }
        }
    }

    /// The next packet, once its time has come.
    fn next_due(&self) -> Option<Vec<u8>> {
        let mut under_way = self.lock();
        let now = Instant::now();
        let wait = match under_way.packets.first_entry() {
            Some(first) if first.key().0 <= now => return Some(first.remove()),
            Some(first) => (first.key().0 - now).min(STOP_POLL),
            None => STOP_POLL,
        };
        drop(self.arrived.wait_timeout(under_way, wait));
        None
    }
}

fn wait_readable(device: &File) {
    let mut polled = [PollFd::new(device, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: STOP_POLL.as_nanos() as _,
    };
    if poll(&mut polled, Some(&timeout)).is_err() {
        // Interrupted, at worst: the next read tells.
        std::thread::yield_now();
    }
}
