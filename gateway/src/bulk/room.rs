//! The room as the gateway sees it: files, and what is under way with each peer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use strait_transport::{LinkHandle, Received, Seq, SiteName, WireVersion};
use tokio::sync::{Semaphore, watch};

use super::failure::Failure;
use super::figures::{BulkFigures, Counters};
use super::incoming::{Incoming, Part, Receiving};
use super::limit::Limits;
use super::message::{self, Header, Message};
use super::serve;
use super::session::Session;
use super::store::{BulkConfig, FileRule, Recovery, Store, StoreOpenError};
use crate::streams::{StreamOpen, TransferId};

/// Files that this gateway's own clients may push to or pull from one site at once;
/// more wait in line.
const TRANSFERS_MAX: usize = 192;
/// Files that a peer may be sending us at once: its clients' pushes and our clients'
/// pulls, and some that were given up and are still on their way.
const RECEIVING_MAX: usize = 2 * TRANSFERS_MAX + 32;
/// Pulls and questions that all peers together may have under way at once.
const SERVING_MAX: usize = 2 * TRANSFERS_MAX;

/// Files of this site and their traffic. Used as `Arc<Bulk>`.
#[derive(Debug)]
pub struct Bulk {
    pub(super) room: Arc<Room>,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) store: Store,
    pub(super) counters: Counters,
    pub(super) receiving: Receiving,
    pub(super) serving: Semaphore,
    pub(super) limits: Limits,
    closed: AtomicBool,
    sites: HashMap<SiteName, Site>,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Site {
    link: LinkHandle,
    session: Mutex<Option<Arc<Session>>>,
    up: watch::Sender<bool>,
    pub(super) transfers: Semaphore,
}

impl Bulk {
    /// Opens `bulk.dir` and sweeps it.
    pub fn new(
        config: &BulkConfig,
        links: HashMap<SiteName, LinkHandle>,
    ) -> Result<(Self, Recovery), StoreOpenError> {
        let (store, recovery) = Store::open(config)?;
        let sites = links
            .into_iter()
            .map(|(name, link)| (name, Site::new(link)));
        let room = Room {
            store,
            counters: Counters::default(),
            receiving: Receiving::default(),
            serving: Semaphore::new(SERVING_MAX),
            limits: Limits::default(),
            closed: AtomicBool::new(false),
            sites: sites.collect(),
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
            let new = Session::start(&site.link, version);
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

    /// Takes a batch of a stream that is this room's, and acknowledges it. Never waits.
    /// Must run inside tokio.
    pub fn handle_batch(&self, site: &SiteName, open: &StreamOpen, batch: Received) {
        let session = self
            .room
            .site(site)
            .ok()
            .and_then(|site| site.session.lock().clone());
        if let Some(session) = session {
            match open {
                StreamOpen::Grid { .. }
                | StreamOpen::CompareAsk
                | StreamOpen::CompareAnswer
                | StreamOpen::Refusals
                | StreamOpen::FlowMessages
                | StreamOpen::FlowOpen(_)
                | StreamOpen::FlowData { .. } => {}
                StreamOpen::BulkMessages => self.handle_message(site, &session, &batch),
                StreamOpen::BulkData { transfer } => {
                    self.handle_data(site, &session, *transfer, &batch);
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
        let files = self.room.store.retain(rules, SystemTime::now());
        if files > 0 {
            tracing::info!(files, "removed files beyond what is kept of them");
        }
    }

    /// Counts since the start.
    pub fn figures(&self) -> BulkFigures {
        self.room.counters.read(self.room.store.bytes())
    }

    fn handle_message(&self, site: &SiteName, session: &Arc<Session>, batch: &Received) {
        let message = match message::decode(&batch.bytes) {
            Ok(message) => message,
            Err(error) => {
                if let Some(more) = session.unreadable.lock().is_due(Instant::now()) {
                    tracing::warn!(%site, %error, more, "a message about files was not understood");
                }
                return;
            }
        };
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
                let asked = serve::Asked {
                    session: session.clone(),
                    transfer,
                    path,
                    limit,
                };
                tokio::spawn(serve::serve_pull(self.room.clone(), site.clone(), asked));
            }
            Message::Ask { request, question } => {
                let (room, session) = (self.room.clone(), session.clone());
                tokio::spawn(serve::serve_question(room, session, request, question));
            }
        }
    }

    fn handle_data(
        &self,
        site: &SiteName,
        session: &Arc<Session>,
        transfer: TransferId,
        batch: &Received,
    ) {
        if batch.seq != Seq(0) {
            let part = Part {
                bytes: batch.bytes.clone(),
                last: batch.last,
            };
            session.deliver(batch.stream, part);
            return;
        }
        if let Err(failure) = self.begin_receiving(site, session, transfer, batch) {
            tracing::warn!(%site, %failure, "a file from the peer was refused");
            let session = session.clone();
            tokio::spawn(async move {
                session
                    .send(Message::Failed { transfer, failure })
                    .await
                    .ok();
            });
        }
    }

    fn begin_receiving(
        &self,
        site: &SiteName,
        session: &Arc<Session>,
        transfer: TransferId,
        batch: &Received,
    ) -> Result<(), Failure> {
        let header = message::decode(&batch.bytes).map_err(Failure::protocol)?;
        if batch.last {
            // The sender gave up before it began, or has nothing to say.
            return Err(Failure::protocol("a file without a trailer"));
        }
        if session.incoming_count() >= RECEIVING_MAX {
            return Err(Failure::Busy);
        }
        let incoming = |length, meta| {
            let receiving = &self.room.receiving;
            let (queue, incoming) =
                Incoming::new(session.clone(), receiving, transfer, length, meta);
            session.add_incoming(batch.stream, queue);
            incoming
        };
        let no_replace = matches!(header, Header::PushNew { .. });
        match header {
            Header::Push { file, offset } | Header::PushNew { file, offset } => {
                let rest = file.length.map(|length| length.saturating_sub(offset));
                let incoming = incoming(rest, file.meta);
                let (room, site) = (self.room.clone(), site.clone());
                let push = serve::Push {
                    file,
                    offset,
                    no_replace,
                };
                tokio::task::spawn_blocking(move || {
                    serve::receive_push(&room, &site, &push, incoming);
                });
            }
            Header::Pull { length, meta } => {
                let waiting = session.take_pull(transfer);
                let waiting =
                    waiting.ok_or_else(|| Failure::Aborted("nobody waits for it".into()))?;
                // Whoever asked may leave at this moment: then the file is discarded.
                waiting.send(Ok(incoming(Some(length), meta))).ok();
            }
        }
        Ok(())
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
    fn new(link: LinkHandle) -> Self {
        Self {
            link,
            session: Mutex::new(None),
            up: watch::Sender::new(false),
            transfers: Semaphore::new(TRANSFERS_MAX),
        }
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
        let session = self.session.lock().clone();
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

    fn down(&self) -> Failure {
        let status = self.link.status();
        let reason = status
            .last_error
            .unwrap_or_else(|| status.phase.name().to_owned());
        Failure::LinkDown(reason)
    }
}
