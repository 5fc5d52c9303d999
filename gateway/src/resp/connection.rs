//! One client's connection.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout_at;

use super::busy::BusyPoll;
use super::client::Entered;
use super::commands::{self, Context, DiskRead, Later, Next, Session};
use super::door::AUTH_WITHIN;
use super::durability::Durability;
use super::info;
use super::parse::{Parsed, Parser, keys_ahead};
use super::reply::Replies;
use super::server::Shared;
use super::stream::Stream;
use crate::grid::{Absent, Feed, LOOK_AHEAD_MAX, LogId, Ticket, now_ms};

/// Room made in the buffer for each read.
pub(super) const READ_BYTES: usize = 32 << 10;
/// Commands go on under one hold of the lock until the replies are this long: then they are
/// written, however slowly the client reads, before the next command is looked at.
const REPLY_BYTES_HIGH: usize = 256 << 10;
/// A buffer that one large command or reply has grown is given back above this.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// Memory of a client that reads its replies, with its task and what of its buffers was ever touched.
pub const CLIENT_BYTES: u64 = 16 << 10;
/// And the most, beside replies of 64 KiB and more: both buffers as large as they are kept.
pub const CLIENT_BYTES_MAX: u64 = 2 * BUFFER_BYTES_KEPT as u64;
/// A buffer of more than this holds several commands.
const PIPELINE_BYTES_MIN: usize = 256;

/// What to do after a round of commands.
enum Round {
    /// The buffer holds no whole command; this many bytes are needed.
    Read(usize),
    /// Write the replies, then go on with what the buffer holds.
    Write,
    Later(Later),
    /// Write the replies, wait for room in memory and the end of a pause, then go on.
    Full(Option<Feed>),
    /// Write the replies, take this block into memory, then go on.
    Thaw(LogId, Absent),
    /// Write the replies, read this block, then go on.
    ReadAhead(LogId, Absent),
    Close,
}

/// A client's connection and all that belongs to it.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    busy: Arc<BusyPoll>,
    pub(super) stream: Stream,
    pub(super) session: Session,
    parser: Parser,
    pub(super) replies: Replies,
    /// For the blocks of a transaction that are read ahead: held until it has been carried out.
    turn: Option<OwnedSemaphorePermit>,
    pub(super) buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(
        (shared, busy): (Arc<Shared>, Arc<BusyPoll>),
        stream: Stream,
        entered: Entered,
    ) -> Self {
        let session = Session::new(entered, &shared.access);
        let replies = Replies::up_to(shared.config.limits.reply_bytes_max);
        Self {
            shared,
            busy,
            stream,
            session,
            parser: Parser::default(),
            replies,
            turn: None,
            buffer: Vec::with_capacity(READ_BYTES),
        }
    }

    /// Serves the client until it leaves.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut needed = 1;
        loop {
            while self.buffer.len() < needed {
                if self.read().await? == 0 {
                    return Ok(());
                }
            }
            while self.shared.clients.have_too_much(self.shared.config.limits) {
                yield_now().await;
            }
            self.busy.saw_request();
            if !self.session.renew_user(&self.shared.access) {
                return Ok(());
            }
            let (round, ticket) = self.commands();
            if !matches!(round, Round::ReadAhead(..)) {
                self.turn = None;
            }
            self.count_held();
            if !self.keep_promise(ticket).await? {
                return Ok(());
            }
            self.write().await?;
            needed = match round {
                Round::Read(needed) => needed,
                Round::Write => 0,
                Round::Later(later) => {
                    if !self.later(later).await? {
                        return Ok(());
                    }
                    self.write().await?;
                    0
                }
                Round::Full(feed) => {
                    if !self.wait_for_room(feed).await? {
                        return Ok(());
                    }
                    0
                }
                Round::Thaw(log, absent) => {
                    self.thaw(log, absent).await?;
                    0
                }
                Round::ReadAhead(log, absent) => {
                    self.read_ahead(log, absent).await?;
                    0
                }
                Round::Close => return self.stream.shutdown().await,
            };
        }
    }

    /// Carries out the commands in the buffer under one hold of the lock. The ticket stands for
    /// the flush that will hold what they wrote.
    fn commands(&mut self) -> (Round, Ticket) {
        let (mut done, mut commands) = (0, 0);
        let now_ms = now_ms();
        let mut state = self.shared.grid.lock();
        state.expire_some(now_ms);
        let written = state.writes();
        let mut looked_ahead = 0;
        let round = loop {
            let rest = &self.buffer[done..];
            if looked_ahead == 0 && rest.len() > PIPELINE_BYTES_MIN {
                state.look_ahead(keys_ahead(rest).take(LOOK_AHEAD_MAX));
                looked_ahead = LOOK_AHEAD_MAX;
            }
            looked_ahead = looked_ahead.saturating_sub(1);
            match self.parser.parse(rest, self.session.authenticated) {
                Ok(Parsed::Incomplete(needed)) => break Round::Read(needed),
                Err(error) => {
                    self.replies.error(&error.to_string());
                    break Round::Close;
                }
                Ok(Parsed::Command(length)) => {
                    let args = self.parser.args(rest);
                    let mut context = Context {
                        server: &self.shared,
                        state: &mut state,
                        session: &mut self.session,
                        replies: &mut self.replies,
                        now_ms,
                    };
                    let next = commands::run(&mut context, args);
                    if !matches!(next, Next::Full(_) | Next::Thaw(..) | Next::ReadAhead(..)) {
                        done += length;
                        commands += 1;
                    }
                    match next {
                        Next::Go if self.replies.bytes.len() < REPLY_BYTES_HIGH => {}
                        Next::Go => break Round::Write,
                        Next::Close => break Round::Close,
                        Next::Full(feed) => break Round::Full(feed),
                        Next::Thaw(log, absent) => break Round::Thaw(log, absent),
                        Next::ReadAhead(log, absent) => break Round::ReadAhead(log, absent),
                        Next::Later(later) => break Round::Later(later),
                    }
                }
            }
        };
        let ticket = state.ticket();
        let wrote = Feed::ALL.map(|feed| state.writes()[feed as usize] != written[feed as usize]);
        if wrote != [false; 2] && state.is_disk_late() {
            // So what is confirmed from memory and may yet be lost is never more than the window.
            self.session.promised = self.session.promised.max(Durability::Disk);
        }
        drop(state);
        self.session.promised_of = feeds_of(wrote);
        self.shared.clients.count_commands(commands);
        let entered = &self.session.entered;
        entered.saw(now_ms, self.session.last_command());
        self.buffer.drain(..done);
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        (round, ticket)
    }

    /// Reads some more of what the client sends; 0 bytes when it has left, or is sent away.
    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        let reading = self.stream.read_buf(&mut self.buffer);
        let read = match self.session.authenticated {
            true => reading.await?,
            false => match timeout_at(self.session.auth_by.into(), reading).await {
                Ok(read) if std::time::Instant::now() < self.session.auth_by => read?,
                Ok(_) | Err(_) => return self.refuse_unauthenticated().await,
            },
        };
        self.count_held();
        Ok(read)
    }

    async fn refuse_unauthenticated(&mut self) -> io::Result<usize> {
        self.replies
            .error(&format!("ERR no password in {} s", AUTH_WITHIN.as_secs()));
        self.write().await?;
        let entered = &self.session.entered;
        entered.clients().door.closed_unauthenticated();
        Ok(0)
    }

    pub(super) async fn write(&mut self) -> io::Result<()> {
        self.count_held();
        let (stream, bytes) = (&mut self.stream, &self.replies.bytes);
        let writing = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match self.session.authenticated {
            true => writing.await?,
            // Also one that reads no reply has to give the password in time.
            false => match timeout_at(self.session.auth_by.into(), writing).await {
                Ok(written) => written?,
                Err(late) => {
                    let entered = &self.session.entered;
                    entered.clients().door.closed_unauthenticated();
                    return Err(late.into());
                }
            },
        }
        self.replies.bytes.clear();
        if self.replies.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.replies.bytes = Vec::new();
        }
        self.count_held();
        Ok(())
    }

    /// Counts the memory that the client holds from now on.
    fn count_held(&self) {
        // A large buffer is given back once it is empty.
        let request = match self.buffer.capacity() {
            ..=BUFFER_BYTES_KEPT => self.buffer.len(),
            capacity => capacity,
        };
        let held = request + self.session.queued_bytes() + self.replies.bytes.len();
        let (entered, limits) = (&self.session.entered, self.shared.config.limits);
        entered.hold(held, limits);
    }

    /// Does what could not be done under the lock; false when the client left meanwhile.
    async fn later(&mut self, later: Later) -> io::Result<bool> {
        let shared = self.shared.clone();
        if let Later::Info(sections) = &later {
            let text = info::render(&shared, sections);
            self.replies.verbatim(&text);
            return Ok(true);
        }
        let _blocked = shared.clients.block();
        match later {
            Later::Info(_) => Ok(true),
            Later::Wait {
                sites,
                timeout,
                local,
            } => self.wait(sites, timeout, local).await,
            Later::Read(read) => self.blocking_read(read).await,
            Later::OnDisk(read) => self.read_disk(read).await.map(|()| true),
        }
    }

    /// Goes to the disk for a reply.
    pub(super) async fn read_disk(&mut self, read: DiskRead) -> io::Result<()> {
        let grid = self.shared.grid.clone();
        let _turn = self.shared.disk_reads.acquire().await;
        let mut replies = std::mem::take(&mut self.replies);
        let reading = spawn_blocking(move || {
            read.run(&grid, &mut replies);
            replies
        });
        self.replies = reading.await.map_err(io::Error::other)?;
        Ok(())
    }

    /// Takes a block into memory that a command has to look into. When the disk refuses, the
    /// client is sent away: the command cannot be done.
    async fn thaw(&mut self, log: LogId, absent: Absent) -> io::Result<()> {
        let grid = self.shared.grid.clone();
        let thawed = spawn_blocking(move || grid.thaw(log, &absent)).await;
        if let Err(error) = thawed.map_err(io::Error::other)? {
            self.replies.error(&format!("ERR {error}"));
            self.write().await?;
            return Err(io::Error::other(error));
        }
        Ok(())
    }

    /// Reads a block that a transaction will read.
    async fn read_ahead(&mut self, log: LogId, absent: Absent) -> io::Result<()> {
        let grid = self.shared.grid.clone();
        if self.turn.is_none() {
            let turn = self.shared.disk_reads.clone().acquire_owned().await;
            self.turn = Some(turn.map_err(io::Error::other)?);
        }
        let mut ahead = std::mem::take(&mut self.session.ahead);
        let reading = spawn_blocking(move || {
            grid.read_ahead(log, &absent, &mut ahead);
            ahead
        });
        self.session.ahead = reading.await.map_err(io::Error::other)?;
        Ok(())
    }
}

/// What a promise about these writes is about. Where nothing changed, what the client was shown may
/// be another's write, of either feed.
fn feeds_of(wrote: [bool; 2]) -> &'static [Feed] {
    match wrote {
        [true, false] => &[Feed::Counters],
        [false, true] => &[Feed::Logs],
        _ => &Feed::ALL,
    }
}
