//! Who is connected.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strait_transport::LogPace;
use tokio::task::AbortHandle;

use super::address::ClientAddress;
use super::commands;
use super::door::Door;
use super::endpoint::Endpoint;
use super::users::User;
use crate::grid::now_ms;

/// Number of a client, never used twice by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

/// What a client did last.
#[derive(Debug)]
pub(super) struct Activity {
    /// Milliseconds since 1970.
    pub(super) at_ms: AtomicU64,
    /// The command's number.
    command: AtomicU16,
    /// Bytes of memory that it holds: an unfinished request, a transaction, unread replies.
    pub(super) held: AtomicU64,
}

/// What `CLIENT LIST` shows of a client.
#[derive(Clone, Debug)]
pub(super) struct ClientInfo {
    pub(super) id: ClientId,
    pub(super) address: ClientAddress,
    /// Where it connected.
    pub(super) listener: Arc<Endpoint>,
    pub(super) since: Instant,
    pub(super) name: String,
    pub(super) lib_name: String,
    pub(super) lib_version: String,
    pub(super) resp: u8,
    /// As whom it came in.
    pub(super) user: Arc<User>,
    /// It has not authenticated.
    pub(super) owes_password: bool,
    pub(super) activity: Arc<Activity>,
    /// What serves it.
    pub(super) task: Option<AbortHandle>,
}

impl ClientInfo {
    /// One line of `CLIENT LIST`.
    pub(super) fn line(&self) -> String {
        let mut line = String::new();
        let at_ms = self.activity.at_ms.load(Ordering::Relaxed);
        let command = self.activity.command.load(Ordering::Relaxed);
        // Writing to a string cannot fail.
        writeln!(
            line,
            "id={} addr={} laddr={} name={} age={} idle={} flags=N db=0 sub=0 psub=0 ssub=0 \
             omem={} cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            self.id.0,
            self.address,
            self.listener.local_address(),
            self.name,
            self.since.elapsed().as_secs(),
            now_ms().saturating_sub(at_ms) / 1000,
            self.activity.held.load(Ordering::Relaxed),
            commands::name_of(command).unwrap_or("NULL"),
            self.user.name(),
            self.resp,
            self.lib_name,
            self.lib_version,
        )
        .unwrap_or_default();
        line
    }
}

/// Redis clients in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFigures {
    /// Connected now.
    pub connected: u64,
    /// Of those, how many wait for room in memory, or in a blocking command.
    pub blocked: u64,
    /// Connections that were served since the start.
    pub connections: u64,
    /// Connections that were turned away, as there were `clients_max`.
    pub turned_away: u64,
    /// Commands carried out, whatever they were answered.
    pub commands: u64,
    /// Bytes of requests that are not whole, transactions that wait and replies that are not read;
    /// less than 64 KiB of one client do not count.
    #[serde(default)]
    pub unread_bytes: u64,
    /// Clients that were cut off as those were too much.
    #[serde(default)]
    pub cut_off: u64,
    /// Wrong passwords.
    #[serde(default)]
    pub wrong_passwords: u64,
    /// Connections closed before the client gave its password: it took too long, or another client
    /// needed the place.
    #[serde(default)]
    pub unauthenticated: u64,
    /// Connections closed as they spoke HTTP.
    #[serde(default)]
    pub http: u64,
    /// Commands that were refused as their user has no right to them.
    #[serde(default)]
    pub denied: u64,
    /// TLS handshakes that succeeded.
    #[serde(default)]
    pub handshakes: u64,
    /// Those that failed, or took too long.
    #[serde(default)]
    pub failed_handshakes: u64,
}

/// All connected clients.
#[derive(Debug, Default)]
pub struct Clients {
    pub(super) list: Mutex<BTreeMap<ClientId, ClientInfo>>,
    last: AtomicU64,
    blocked: AtomicU64,
    turned_away: AtomicU64,
    commands: AtomicU64,
    /// Bytes of memory that they hold.
    pub(super) held: AtomicU64,
    pub(super) cut_off: AtomicU64,
    pub(super) cut_off_lines: Mutex<LogPace>,
    pub(super) door: Door,
    /// What there was at the last `CONFIG RESETSTAT`.
    reset: Mutex<ClientFigures>,
}

/// A client that waits, as long as this is held.
#[derive(Debug)]
pub(super) struct Blocked<'a>(&'a Clients);

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.0.blocked.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clients {
    /// One more waits.
    pub(super) fn block(&self) -> Blocked<'_> {
        self.blocked.fetch_add(1, Ordering::Relaxed);
        Blocked(self)
    }

    /// So many more commands were carried out.
    pub(super) fn count_commands(&self, commands: u64) {
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }

    /// How many there are and were.
    pub fn figures(&self) -> ClientFigures {
        let connected = self.list.lock().len() as u64;
        ClientFigures {
            connected,
            blocked: self.blocked.load(Ordering::Relaxed),
            connections: self.last.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
            unread_bytes: self.held.load(Ordering::Relaxed),
            cut_off: self.cut_off.load(Ordering::Relaxed),
            wrong_passwords: self.door.wrong_passwords(),
            unauthenticated: self.door.unauthenticated(),
            http: self.door.http(),
            denied: self.door.denied_commands(),
            handshakes: self.door.handshakes(),
            failed_handshakes: self.door.failed_handshakes(),
        }
    }

    /// What `INFO` shows: counts since the last `CONFIG RESETSTAT`.
    pub(super) fn shown(&self) -> ClientFigures {
        let (figures, reset) = (self.figures(), *self.reset.lock());
        ClientFigures {
            connections: figures.connections - reset.connections,
            turned_away: figures.turned_away - reset.turned_away,
            commands: figures.commands - reset.commands,
            cut_off: figures.cut_off - reset.cut_off,
            wrong_passwords: figures.wrong_passwords - reset.wrong_passwords,
            unauthenticated: figures.unauthenticated - reset.unauthenticated,
            http: figures.http - reset.http,
            denied: figures.denied - reset.denied,
            handshakes: figures.handshakes - reset.handshakes,
            failed_handshakes: figures.failed_handshakes - reset.failed_handshakes,
            ..figures
        }
    }

    /// Has `INFO` count from 0 again. Metrics do not: they only ever grow.
    pub(super) fn reset_shown(&self) {
        let mut reset = self.reset.lock();
        *reset = self.figures();
    }

    /// Registers a client until the returned guard is dropped. When there are `max` already, the one
    /// that has owed its password for longest makes room; none if there is no such one.
    pub(super) fn enter(
        self: &Arc<Self>,
        (address, listener): (ClientAddress, Arc<Endpoint>),
        (user, owes_password): (Arc<User>, bool),
        max: usize,
    ) -> Option<Entered> {
        let mut list = self.list.lock();
        if list.len() >= max && !self.make_room(&mut list) {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = ClientId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let info = ClientInfo {
            id,
            address: address.clone(),
            listener,
            since: Instant::now(),
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            resp: 2,
            user,
            owes_password,
            activity: Arc::new(Activity {
                at_ms: AtomicU64::new(now_ms()),
                command: AtomicU16::new(u16::MAX),
                held: AtomicU64::new(0),
            }),
            task: None,
        };
        let activity = info.activity.clone();
        list.insert(id, info);
        Some(Entered {
            id,
            address,
            activity,
            clients: self.clone(),
        })
    }

    /// Cuts off the client that has owed its password for longest; false if there is none.
    fn make_room(&self, list: &mut BTreeMap<ClientId, ClientInfo>) -> bool {
        // Ids rise with time. One without a task is only just being served.
        let mut owing = list.values().filter(|client| client.owes_password);
        let oldest = owing.find_map(|client| Some((client.id, client.task.clone()?)));
        let Some((id, task)) = oldest else {
            return false;
        };
        list.remove(&id);
        task.abort();
        self.door.closed_unauthenticated();
        true
    }

    /// Says what serves a client, so that it can be ended. One that has lost its place is ended at
    /// once.
    pub(super) fn served_by(&self, id: ClientId, task: AbortHandle) {
        match self.list.lock().get_mut(&id) {
            Some(info) => info.task = Some(task),
            None => task.abort(),
        }
    }

    /// Cuts off the clients that are meant; how many.
    pub(super) fn kill(&self, is_meant: impl Fn(&ClientInfo) -> bool) -> u64 {
        let list = self.list.lock();
        let meant = list.values().filter(|client| is_meant(client));
        let tasks: Vec<_> = meant.filter_map(|client| client.task.clone()).collect();
        // A task that ends takes its client off the list.
        drop(list);
        tasks.iter().for_each(AbortHandle::abort);
        tasks.len() as u64
    }

    /// `CLIENT LIST`, of those that are meant.
    pub(super) fn lines(&self, is_meant: impl Fn(&ClientInfo) -> bool) -> String {
        let list = self.list.lock();
        let meant = list.values().filter(|client| is_meant(client));
        meant.map(ClientInfo::line).collect()
    }
}

/// A client's place in the list.
#[derive(Debug)]
pub(super) struct Entered {
    id: ClientId,
    address: ClientAddress,
    activity: Arc<Activity>,
    clients: Arc<Clients>,
}

impl Entered {
    pub(super) fn id(&self) -> ClientId {
        self.id
    }

    /// The client's own address.
    pub(super) fn address(&self) -> &ClientAddress {
        &self.address
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Notes the command that the client sent last, by its number.
    pub(super) fn saw(&self, now_ms: u64, command: u16) {
        self.activity.at_ms.store(now_ms, Ordering::Relaxed);
        self.activity.command.store(command, Ordering::Relaxed);
    }

    /// Changes what is shown of the client.
    pub(super) fn update(&self, change: impl FnOnce(&mut ClientInfo)) {
        if let Some(info) = self.clients.list.lock().get_mut(&self.id) {
            change(info);
        }
    }

    /// What is shown of the client.
    pub(super) fn info(&self) -> Option<ClientInfo> {
        self.clients.list.lock().get(&self.id).cloned()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let held = self.activity.held.swap(0, Ordering::Relaxed);
        self.clients.held.fetch_sub(held, Ordering::Relaxed);
        self.clients.list.lock().remove(&self.id);
    }
}
