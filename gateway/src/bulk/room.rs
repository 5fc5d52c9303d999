//! The room as the gateway sees it: files, and what is under way with each peer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use strait_transport::{LinkHandle, LogPace, Received, Seq, SiteName, WireVersion};
use tokio::sync::{Semaphore, watch};

use super::answer;
use super::disk::{Disk, Steps};
use super::failure::Failure;
use super::figures::{BulkFigures, Counters};
use super::incoming::{Incoming, Part, Receiving, Waiting};
use super::limit::Limits;
use super::mailbox::Overfull;
use super::message::{self, Header, Message};
use super::receive;
use super::serve;
use super::session::{Places, Session, TRANSFERS_MAX};
use super::store::{BulkConfig, FileRule, Recovery, Store, StoreOpenError};
use crate::streams::{StreamOpen, TransferId};

/// Files of this site and their traffic. Used as `Arc<Bulk>`.
#[derive(Debug)]
pub struct Bulk {
    pub(super) room: Arc<Room>,
}

#[derive(Debug)]
pub(super) struct Room {
    /// `bulk.dir`, or why it cannot be used.
    store: Result<Store, Failure>,
    pub(super) counters: Counters,
    pub(super) receiving: Receiving,
    pub(super) waiting: Waiting,
    pub(super) limits: Limits,
    closed: AtomicBool,
    sites: HashMap<SiteName, Site>,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Site {
    link: LinkHandle,
    session: Mutex<Option<Arc<Session>>>,
    places: Places,
    up: watch::Sender<bool>,
    pub(super) transfers: Semaphore,
    /// What the peer reads and writes, or why it cannot.
    store: Result<Store, Failure>,
    pub(super) steps: Steps,
    idle_max: Duration,
    lines: Mutex<Lines>,
}

/// Lines in the log that a peer decides about.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unreadable: LogPace,
    refused: LogPace,
    overfull: LogPace,
    pub(super) not_received: LogPace,
    pub(super) not_sent: LogPace,
}

impl Bulk {
    /// Opens `bulk.dir` and sweeps it. Where it was before and is missing, no file comes or goes
    /// until the next start.
    pub fn new(
        config: &BulkConfig,
        links: HashMap<SiteName, LinkHandle>,
    ) -> Result<(Self, Recovery), StoreOpenError> {
        let (store, recovery) = open_store(config)?;
        if let Ok(store) = &store
            && store.peers_share()
            && config.shared.is_none()
            && links.len() > 1
        {
            tracing::warn!(
                "peers share the files in bulk.dir, as in release 0.1.0, which made it: write \
                 `shared = true` under [bulk] to keep this, or `false`"
            );
        }
        let disk = Disk::default();
        let mut sites = HashMap::new();
        for (name, link) in links {
            let store = store.as_ref().map(|store| store.of_peer(&name));
            let store = store.map_err(Failure::clone);
            sites.insert(name, Site::new(link, store, disk.steps(), config.idle_max));
        }
        let room = Room {
            store,
            counters: Counters::default(),
            receiving: Receiving::default(),
            waiting: Waiting::default(),
            limits: Limits::default(),
            closed: AtomicBool::new(false),
            sites,
        };
        Ok((
            Self {
                room: Arc::new(room),
            },
            recovery,
        ))
    }

    /// The link to `site` is up; `fresh` as in [`strait_transport::LinkEvent::Up`], `version` is
    /// the one that both ends speak.
    /// Must run inside tokio.
    pub fn handle_up(&self, site: &SiteName, fresh: bool, version: WireVersion) {
        let Ok(site) = self.room.site(site) else {
            return;
        };
        if fresh && !self.room.closed.load(Ordering::SeqCst) {
            let new = Session::start(&site.link, version, site.places.clone());
            let old = site.session.lock().replace(new);
            if let Some(old) = old {
                old.end();
            }
        }
        site.up.send_replace(true);
    }

    /// The link to `site` is down. What is under way waits.
    pub fn handle_down(&self, site: &SiteName) {
        if let Ok(site) = self.room.site(site) {
            site.up.send_replace(false);
        }
    }

    /// Takes a batch of a stream that is this room's, and acknowledges it, at once or when there is
    /// memory for it. Never waits.
    /// Must run inside tokio.
    pub fn handle_batch(&self, site: &SiteName, open: &StreamOpen, batch: Received) {
        let peer = self.room.sites.get(site);
        let session = peer.and_then(|peer| Some((peer, peer.current_session()?)));
        if let Some((peer, session)) = session {
            let from = Peer {
                name: site,
                site: peer,
                session: &session,
            };
            match open {
                StreamOpen::Grid { .. }
                | StreamOpen::CompareAsk
                | StreamOpen::CompareAnswer
                | StreamOpen::Refusals
                | StreamOpen::FlowMessages
                | StreamOpen::FlowOpen(_)
                | StreamOpen::FlowData { .. } => {}
                StreamOpen::BulkMessages => self.handle_message(&from, &batch),
                StreamOpen::BulkData { transfer } => {
                    return self.handle_data(&from, *transfer, batch);
                }
            }
        }
        batch.ack();
    }

    /// Ends all that is under way, so that no thread waits for a peer any more.
    /// [`Bulk::serve_control`] does this when it is told to stop.
    pub fn close(&self) {
        self.room.closed.store(true, Ordering::SeqCst);
        for site in self.room.sites.values() {
            let session = site.session.lock().take();
            if let Some(session) = session {
                session.end();
            }
        }
    }

    /// Removes the files here that a rule is about and does not keep. Blocks.
    pub fn retain(&self, rules: &[FileRule]) {
        let store = self.room.store.as_ref();
        let files = store.map_or(0, |store| store.retain(rules, SystemTime::now()));
        if files > 0 {
            tracing::info!(files, "removed files beyond what is kept of them");
        }
    }

    /// Counts since the start.
    pub fn figures(&self) -> BulkFigures {
        let store = self.room.store.as_ref();
        let stored = store.map(Store::stored).unwrap_or_default();
        self.room.counters.read(stored)
    }

    fn handle_message(&self, from: &Peer<'_>, batch: &Received) {
        let message = match message::decode(&batch.bytes) {
            Ok(message) => message,
            Err(error) => {
                self.room.counters.malformed();
                if let Some(more) = from.site.is_line_due(|lines| &mut lines.unreadable) {
                    let site = from.name;
                    tracing::warn!(%site, %error, more, "a message about files was not understood");
                }
                return;
            }
        };
        let session = from.session;
        match message {
            Message::Credit { transfer, batches } => session.handle_credit(transfer, batches),
            Message::Done { transfer } => session.handle_verdict(transfer, Ok(())),
            Message::Failed { transfer, failure } => {
                session.handle_verdict(transfer, Err(failure));
            }
            Message::Answer { request, outcome } => session.handle_answer(request, outcome),
            Message::Pull {
                transfer,
                path,
                limit,
            } => {
                let Some(place) = session.place(batch.bytes.len()) else {
                    let failure = Failure::Busy;
                    return from.refuse(&Message::Failed { transfer, failure });
                };
                let asked = serve::Asked {
                    session: session.clone(),
                    transfer,
                    path,
                    limit,
                    place,
                };
                tokio::spawn(serve::serve_pull(
                    self.room.clone(),
                    from.name.clone(),
                    asked,
                ));
            }
            Message::Ask { request, question } => {
                let Some(place) = session.place(batch.bytes.len()) else {
                    let outcome = Err(Failure::Busy);
                    return from.refuse(&Message::Answer { request, outcome });
                };
                let room = (self.room.clone(), from.name.clone());
                let asked = (request, question);
                tokio::spawn(answer::serve_question(room, session.clone(), asked, place));
            }
        }
    }

    fn handle_data(&self, from: &Peer<'_>, transfer: TransferId, batch: Received) {
        if batch.seq != Seq(0) {
            let (stream, seq) = (batch.stream, batch.seq);
            from.session.deliver(stream, seq, Part::of(batch));
            return;
        }
        let begun = self.begin_receiving(from, transfer, &batch);
        batch.ack();
        if let Err(failure) = begun {
            if let Some(more) = from.site.is_line_due(|lines| &mut lines.refused) {
                let site = from.name;
                tracing::warn!(%site, %failure, more, "a file from the peer was refused");
            }
            from.refuse(&Message::Failed { transfer, failure });
        }
    }

    fn begin_receiving(
        &self,
        from: &Peer<'_>,
        transfer: TransferId,
        batch: &Received,
    ) -> Result<(), Failure> {
        let header = message::decode(&batch.bytes).map_err(|error| {
            self.room.counters.malformed();
            Failure::protocol(error)
        })?;
        if batch.last {
            // The sender gave up before it began, or has nothing to say.
            return Err(Failure::protocol("a file without a trailer"));
        }
        let session = from.session;
        let incoming = |length, meta, waiting| {
            let receiving = &self.room.receiving;
            let incoming = Incoming::new(session, receiving, transfer, (length, meta), waiting);
            let (inlet, incoming) = incoming.ok_or(Failure::Busy)?;
            session.add_incoming(batch.stream, inlet);
            Ok::<_, Failure>(incoming)
        };
        let no_replace = matches!(header, Header::PushNew { .. });
        match header {
            Header::Push { file, offset } | Header::PushNew { file, offset } => {
                let rest = file.length.map(|length| length.saturating_sub(offset));
                let waiting = Some(self.room.waiting.clone());
                let incoming = incoming(rest, file.meta, waiting)?;
                let (room, name) = (self.room.clone(), from.name.clone());
                let push = receive::Push {
                    file,
                    offset,
                    no_replace,
                };
                tokio::spawn(receive::receive_push(room, name, push, incoming));
            }
            Header::Pull { length, meta } => {
                let waiting = session.take_pull(transfer);
                let waiting =
                    waiting.ok_or_else(|| Failure::Aborted("nobody waits for it".into()))?;
                // Whoever asked may leave at this moment: then the file is discarded.
                waiting.send(incoming(Some(length), meta, None)).ok();
            }
        }
        Ok(())
    }
}

/// `bulk.dir`, or why no file comes or goes.
fn open_store(config: &BulkConfig) -> Result<(Result<Store, Failure>, Recovery), StoreOpenError> {
    match Store::open(config) {
        Ok((store, recovery)) => Ok((Ok(store), recovery)),
        Err(error @ StoreOpenError::Missing { .. }) => {
            tracing::error!(%error, "no files come or go");
            Ok((Err(Failure::io(error)), Recovery::default()))
        }
        Err(error) => Err(error),
    }
}

/// The peer that something comes from.
#[derive(Clone, Copy, Debug)]
struct Peer<'a> {
    name: &'a SiteName,
    site: &'a Site,
    session: &'a Arc<Session>,
}

impl Peer<'_> {
    /// Tells the peer that something is not done. One that asks on and does not listen loses all
    /// that is under way with it.
    fn refuse(&self, message: &Message) {
        if let Err(Overfull) = self.session.refuse(message) {
            self.session.end();
        }
    }
}

impl Room {
    pub(super) fn site(&self, name: &SiteName) -> Result<&Site, Failure> {
        self.sites
            .get(name)
            .ok_or_else(|| Failure::UnknownSite(self.site_names()))
    }

    /// For a person who named another.
    pub(super) fn site_names(&self) -> String {
        let mut names: Vec<_> = self.sites.keys().map(ToString::to_string).collect();
        names.sort();
        names.join(", ")
    }
}

impl Site {
    fn new(
        link: LinkHandle,
        store: Result<Store, Failure>,
        steps: Steps,
        idle_max: Duration,
    ) -> Self {
        Self {
            link,
            session: Mutex::new(None),
            places: Places::default(),
            up: watch::Sender::new(false),
            transfers: Semaphore::new(TRANSFERS_MAX),
            store,
            steps,
            idle_max,
            lines: Mutex::default(),
        }
    }

    pub(super) fn store(&self) -> Result<&Store, Failure> {
        self.store.as_ref().map_err(Clone::clone)
    }

    /// How many lines of a kind went unlogged since the last one, if one may be written now.
    pub(super) fn is_line_due(&self, kind: impl FnOnce(&mut Lines) -> &mut LogPace) -> Option<u64> {
        kind(&mut self.lines.lock()).is_due(Instant::now())
    }

    /// The session, if the link has one. After one that a peer has lost by not listening another
    /// begins.
    pub(super) fn current_session(&self) -> Option<Arc<Session>> {
        let mut session = self.session.lock();
        let current = session.as_mut()?;
        if current.is_over() {
            if let Some(more) = self.is_line_due(|lines| &mut lines.overfull) {
                tracing::warn!(
                    site = %self.link.site(), more,
                    "the peer takes no answers about files: all that was under way with it has ended"
                );
            }
            *current = Session::start(&self.link, current.version(), self.places.clone());
        }
        Some(current.clone())
    }

    pub(super) fn link(&self) -> &LinkHandle {
        &self.link
    }

    /// The session, once the link is up, if that happens within `patience`.
    pub(super) async fn session(&self, patience: Duration) -> Result<Arc<Session>, Failure> {
        let mut up = self.up.subscribe();
        // The sender lives as long as this site.
        let waited = tokio::time::timeout(patience, up.wait_for(|up| *up))
            .await
            .is_ok();
        let session = self.current_session();
        session.filter(|_| waited).ok_or_else(|| self.down())
    }

    /// Returns when the link has been down for `patience` on end.
    pub(super) async fn down_for(&self, patience: Duration) -> Failure {
        let mut up = self.up.subscribe();
        loop {
            up.wait_for(|up| !*up).await.ok();
            if tokio::time::timeout(patience, up.wait_for(|up| *up))
                .await
                .is_err()
            {
                return self.down();
            }
        }
    }

    /// Returns when the link has been up for as long as a file may rest.
    pub(super) async fn up_for_idle_max(&self) {
        let mut up = self.up.subscribe();
        loop {
            up.wait_for(|up| *up).await.ok();
            let down = tokio::time::timeout(self.idle_max, up.wait_for(|up| !*up));
            if down.await.is_err() {
                return;
            }
        }
    }

    fn down(&self) -> Failure {
        let status = self.link.status();
        let reason = status
            .last_error
            .unwrap_or_else(|| status.phase.name().to_owned());
        Failure::link_down(&reason)
    }
}
