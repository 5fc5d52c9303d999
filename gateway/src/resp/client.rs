//! Who is connected.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Number of a client, never used twice by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

/// What `CLIENT LIST` shows of a client.
#[derive(Clone, Debug)]
pub(super) struct ClientInfo {
    pub(super) id: ClientId,
    pub(super) address: SocketAddr,
    pub(super) local_address: SocketAddr,
    pub(super) since: Instant,
    pub(super) name: String,
    pub(super) lib_name: String,
    pub(super) lib_version: String,
    pub(super) resp: u8,
}

impl ClientInfo {
    /// One line of `CLIENT LIST`.
    pub(super) fn line(&self) -> String {
        let mut line = String::new();
        // Writing to a string cannot fail.
        writeln!(
            line,
            "id={} addr={} laddr={} name={} age={} db=0 resp={} lib-name={} lib-ver={}",
            self.id.0,
            self.address,
            self.local_address,
            self.name,
            self.since.elapsed().as_secs(),
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
}

/// All connected clients.
#[derive(Debug, Default)]
pub struct Clients {
    list: Mutex<BTreeMap<ClientId, ClientInfo>>,
    last: AtomicU64,
    blocked: AtomicU64,
    turned_away: AtomicU64,
    commands: AtomicU64,
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
        }
    }

    /// Registers a client until the returned guard is dropped; none when there are too many.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: SocketAddr,
        local_address: SocketAddr,
        max: usize,
    ) -> Option<Entered> {
        let mut list = self.list.lock();
        if list.len() >= max {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = ClientId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let info = ClientInfo {
            id,
            address,
            local_address,
            since: Instant::now(),
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            resp: 2,
        };
        list.insert(id, info);
        Some(Entered {
            id,
            clients: self.clone(),
        })
    }

    /// `CLIENT LIST`.
    pub(super) fn lines(&self) -> String {
        self.list.lock().values().map(ClientInfo::line).collect()
    }
}

/// A client's place in the list.
#[derive(Debug)]
pub(super) struct Entered {
    id: ClientId,
    clients: Arc<Clients>,
}

impl Entered {
    pub(super) fn id(&self) -> ClientId {
        self.id
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
        self.clients.list.lock().remove(&self.id);
    }
}
