//! What deleted counters are forgotten by: statements of what sites hold, made now and then; and scans that
//! tell all, for a peer that was away while something was forgotten.

use std::time::Duration;

use strait_transport::SendError;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::message;
use super::Shipper;
use crate::grid::{CounterScan, FlushNumber, Positions, Statement};

/// From one statement to the next, if there is anything new to say.
const EVERY: Duration = Duration::from_secs(2);

/// The statements that a peer was sent.
pub(super) struct Statements {
    /// None: the peer does not know them.
    next: Option<Instant>,
    made: Vec<Statement>,
    /// What is to be said behind a flush.
    waits: Option<(FlushNumber, Vec<Statement>)>,
    warned: bool,
}

impl Statements {
    pub(super) fn new(are_known: bool) -> Self {
        Self {
            next: are_known.then(Instant::now),
            made: Vec::new(),
            waits: None,
            warned: false,
        }
    }

    /// Waits until it is time for others.
    pub(super) async fn due(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// A catch-up begins: the peer may count nothing that it was told before.
    pub(super) fn begin_anew(&mut self) {
        (self.made, self.waits) = (Vec::new(), None);
    }

    /// Those that say something new.
    fn news(&mut self, said: Vec<Statement>) -> Vec<Statement> {
        let is_old = |said: &Statement| self.made.iter().any(|made| made.says_as_much_as(said));
        let (old, news): (Vec<_>, Vec<_>) = said.into_iter().partition(is_old);
        self.made = old;
        self.made.extend(news.iter().cloned());
        news
    }
}

impl Shipper {
    /// Takes down what we hold, and what we have heard of others.
    pub(super) fn take_statements(&mut self) {
        self.statements.next = Some(Instant::now() + EVERY);
        if self.statements.waits.is_none() {
            self.statements.waits = Some(self.grid.statements(self.link.site()));
        }
    }

    /// Tells the peer what was taken down, once it was sent all flushes up to then: what it is sent
    /// afterwards builds on what we held.
    pub(super) async fn make_statements(&mut self, shipped: FlushNumber) -> Result<(), SendError> {
        let is_due = |(flush, _): &mut (FlushNumber, _)| *flush <= shipped;
        let Some((_, said)) = self.statements.waits.take_if(is_due) else {
            return Ok(());
        };
        for said in self.statements.news(said) {
            let batch = message::statement(&said.encode());
            self.out.send(batch, false).await?;
        }
        Ok(())
    }

    /// Begins to tell the peer the counters that it lacks; all of them, if it may hold what was deleted and
    /// forgotten here since.
    pub(super) async fn begin_scan(
        &mut self,
        theirs: &Positions,
    ) -> Result<CounterScan, SendError> {
        if !self.grid.has_forgotten_beyond(theirs) {
            return Ok(self.grid.scan_counters(theirs));
        }
        if self.statements.next.is_none() {
            if !self.statements.warned {
                warn!(
                    "the peer is of the release before and was away while counters were deleted: those may come back"
                );
            }
            self.statements.warned = true;
            return Ok(self.grid.scan_counters(theirs));
        }
        info!("the peer was away while counters were deleted: it is told all that is left");
        self.flush_packer().await?;
        self.out.send(message::whole_begins(), false).await?;
        Ok(self.grid.scan_whole())
    }

    /// All is told that [`Self::begin_scan`] began to tell.
    pub(super) async fn end_scan(&mut self, scan: &CounterScan) -> Result<(), SendError> {
        if !scan.is_whole() {
            return Ok(());
        }
        self.flush_packer().await?;
        let (forgotten, records) = scan.forgotten();
        // One piece: there are few enough origins.
        for piece in forgotten.encode() {
            self.out.send(message::whole_ends(&piece), false).await?;
        }
        for record in records {
            self.push(&record).await?;
        }
        Ok(())
    }

    /// Sends the records that wait for others.
    async fn flush_packer(&mut self) -> Result<(), SendError> {
        if let Some(batch) = self.packer.finish() {
            self.send(batch).await?;
        }
        Ok(())
    }
}
