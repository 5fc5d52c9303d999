//! The log on its way to standard error. A thread of its own writes it: whoever logs never waits for
//! a reader that has stopped, and never ends because a reader has gone or a disk is full. Lines that
//! find no room here, or that cannot be written, are lost and counted; the log says how many when it
//! goes on.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes of lines that may wait.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// How long an end of the process waits for lines that are not written yet.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Before the next attempt where standard error is set not to block, and takes no more.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// The log of this process, if it has been started.
static OF_PROCESS: OnceLock<LogQueue> = OnceLock::new();

/// Lines of this process's log that were lost.
pub(super) fn lost_lines() -> u64 {
    OF_PROCESS.get().map_or(0, LogQueue::lost)
}

/// Where lines wait. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<Vec<u8>>,
    /// Of those, and of the one that is being written.
    bytes: usize,
    /// What it says of lost lines finds room always.
    writer: Option<ThreadId>,
    closed: bool,
}

impl LogQueue {
    /// Writes lines to `out` on a new thread. `say_lost` is to log that so many lines were lost.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        say_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, Farewell)> {
        let queue = Self::default();
        let own = queue.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || own.run(Pen { out, torn: false }, say_lost))?;
        Ok((queue.clone(), Farewell(queue)))
    }

    /// Has `/metrics` show what is lost of this one.
    pub(crate) fn show_in_metrics(&self) {
        OF_PROCESS.get_or_init(|| self.clone());
    }

    /// Adds a line with its end. Never waits.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut lines = self.0.lines.lock();
        let room = !lines.closed && lines.bytes + line.len() <= WAITING_BYTES_MAX;
        if !room && lines.writer != Some(thread::current().id()) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.bytes += line.len();
        lines.waiting.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn run(&self, mut pen: Pen<impl Write>, say_lost: impl Fn(u64)) {
        self.0.lines.lock().writer = Some(thread::current().id());
        let mut said = 0;
        while let Some(line) = self.next() {
            let lost = match pen.write(&line) {
                Ok(()) => self.lost(),
                Err(_) => {
                    self.0.lost.fetch_add(1, Ordering::Relaxed);
                    said
                }
            };
            if lost > said {
                say_lost(lost - said);
                said = lost;
            }
            self.0.lines.lock().bytes -= line.len();
            self.0.changed.notify_all();
        }
    }

    /// Waits for a line; none when there will be no more.
    fn next(&self) -> Option<Vec<u8>> {
        let mut lines = self.0.lines.lock();
        loop {
            if let Some(line) = lines.waiting.pop_front() {
                return Some(line);
            }
            if lines.closed {
                return None;
            }
            self.0.changed.wait(&mut lines);
        }
    }

    /// Takes no more, and waits until all is written, or for `patience`.
    fn close(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut lines = self.0.lines.lock();
        lines.closed = true;
        self.0.changed.notify_all();
        while lines.bytes > 0 {
            if self.0.changed.wait_until(&mut lines, deadline).timed_out() {
                return;
            }
        }
    }
}

/// For the one that formats lines: one call is one line.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Dropped at the end of the process: the last lines are written, if that is possible within two
/// seconds.
#[derive(Debug)]
pub(crate) struct Farewell(LogQueue);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.close(FAREWELL_MAX);
    }
}

/// Writes lines one by one.
#[derive(Debug)]
struct Pen<W> {
    out: W,
    /// Of the last line only the beginning was written.
    torn: bool,
}

impl<W: Write> Pen<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.put(b"\n")?;
        }
        self.put(line)
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written.min(bytes.len())..];
                    self.torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(WOULD_BLOCK_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Clone, Debug, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn with_room(bytes: usize) -> Self {
            Self(Arc::new(Mutex::new((bytes, Vec::new()))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock();
            let taken = bytes.len().min(disk.0);
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.0 -= taken;
            disk.1.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue whose note about lost lines goes the way of all lines.
    fn start(out: impl Write + Send + 'static) -> (LogQueue, Farewell) {
        let notes = Arc::new(OnceLock::<LogQueue>::new());
        let own = notes.clone();
        let say_lost = move |lost| {
            own.wait().push(format!("{lost} lost\n").as_bytes());
        };
        let (queue, farewell) = LogQueue::start(out, say_lost).unwrap();
        notes.set(queue.clone()).unwrap();
        (queue, farewell)
    }

    fn settle(queue: &LogQueue) {
        let mut lines = queue.0.lines.lock();
        while lines.bytes > 0 {
            queue.0.changed.wait(&mut lines);
        }
    }

    #[test]
    fn every_line_is_written_before_the_end() {
        let disk = Disk::with_room(1 << 20);
        let (queue, farewell) = start(disk.clone());
        let lines: Vec<_> = (0..1000).map(|n| format!("line {n}\n")).collect();
        lines.iter().for_each(|line| queue.push(line.as_bytes()));
        drop(farewell);
        assert_eq!(disk.text(), lines.concat());
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn a_full_disk_costs_lines_and_the_log_says_how_many() {
        let disk = Disk::with_room(8);
        let (queue, farewell) = start(disk.clone());
        for line in ["one\n", "two, torn\n", "three\n"] {
            queue.push(line.as_bytes());
            settle(&queue);
        }
        disk.0.lock().0 = 1 << 20;
        queue.push(b"four\n");
        settle(&queue);
        queue.push(b"five\n");
        drop(farewell);
        assert_eq!(disk.text(), "one\ntwo,\nfour\n2 lost\nfive\n");
        assert_eq!(queue.lost(), 2);
    }

    /// A reader that reads nothing until it is told to.
    struct Stopped(mpsc::Receiver<()>, Disk);

    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error: it reads from now on.
            self.0.recv().ok();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_up_nobody_and_takes_bounded_memory() {
        let disk = Disk::with_room(1 << 30);
        let (go_on, stopped) = mpsc::channel();
        let (queue, farewell) = start(Stopped(stopped, disk.clone()));
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..3000 {
            queue.push(&line);
        }
        assert_eq!(queue.0.lines.lock().bytes, WAITING_BYTES_MAX);
        let lost = queue.lost();
        assert_eq!(lost as usize, 3000 - WAITING_BYTES_MAX / line.len());
        let ending = Instant::now();
        queue.close(Duration::from_millis(10));
        assert!(ending.elapsed() < Duration::from_secs(20));
        queue.0.lines.lock().closed = false;
        drop(go_on);
        settle(&queue);
        drop(farewell);
        assert!(disk.text().contains(&format!("{lost} lost\n")));
    }
}
