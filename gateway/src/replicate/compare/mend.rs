//! Taking stretches of logs anew from the peer: what is lost here, and where the two sites differ.

use tracing::{error, info, warn};

use super::super::lines::About;
use super::ask::Asker;
use super::message::{Message, entry_id, id};
use super::{CompareError, FETCHED_RECORDS_MAX, blocking};
use crate::grid::{EntryId, LogName, MendError, Mended, Span, Told};

impl Asker {
    /// Takes what is lost of all logs from the peer, or may be, as far as it has that; how many entries.
    pub(super) async fn mend_holes(&mut self) -> Result<u64, CompareError> {
        Ok(self.mend_lost().await? + self.mend_doubts().await?.0)
    }

    /// Takes what may be lost of own logs from the peer; how many entries, and whether the peer told all
    /// that it holds there.
    pub(super) async fn mend_doubts(&mut self) -> Result<(u64, bool), CompareError> {
        let grid = self.grid.clone();
        let doubts = blocking(move || grid.doubts()).await?;
        let (mut entries, mut is_all) = (0, true);
        for (log, span) in doubts {
            let mended = self.mend(&log, span).await?;
            is_all &= mended.reached >= span.to;
            if mended.added > 0 {
                let peer = self.link.site();
                error!(%peer, %log, after = %span.after, to = %span.to, entries = mended.added,
                    "entries of a log of this site were lost, and are here again");
            }
            entries += mended.added;
        }
        Ok((entries, is_all))
    }

    async fn mend_lost(&mut self) -> Result<u64, CompareError> {
        let grid = self.grid.clone();
        let holes = blocking(move || grid.holes()).await?;
        let mut entries = 0;
        for (log, span) in holes {
            let mended = self.mend(&log, span).await?;
            let peer = self.link.site();
            if mended.added > 0 {
                info!(%peer, %log, after = %span.after, to = %mended.reached, entries = mended.added,
                    "entries of a log that were lost are here again");
            }
            if mended.reached < span.to {
                warn!(%peer, %log, after = %span.after.max(mended.reached), to = %span.to,
                    "the peer has not got all entries of a log that are lost here");
            }
            entries += mended.added;
        }
        Ok(entries)
    }

    /// Mends a stretch of which the two sites hold different entries.
    pub(super) async fn mend_differing(
        &mut self,
        log: &LogName,
        span: Span,
    ) -> Result<Mended, CompareError> {
        let mended = self.mend(log, span).await?;
        if let Some(more) = self.progress.lines.is_due(About::Differing) {
            let peer = self.link.site();
            error!(%peer, %log, after = %span.after, to = %span.to, entries = mended.added,
                contradicted = mended.contradicted, taken = mended.replaced, more,
                "the two sites held different entries of a log");
        }
        Ok(mended)
    }

    /// Makes `span` what both sites hold of it together, unit by unit.
    async fn mend(&mut self, log: &LogName, mut span: Span) -> Result<Mended, CompareError> {
        let mut all = Mended {
            reached: span.after,
            ..Mended::default()
        };
        loop {
            let (grid, of) = (self.grid.clone(), log.clone());
            let unit = blocking(move || grid.mendable(&of, span)).await?;
            let Some(unit) = unit else {
                return Ok(all);
            };
            let told = self.fetch(log, unit).await?;
            let (grid, of) = (self.grid.clone(), log.clone());
            let mended = match blocking(move || grid.mend(&of, unit, &told)).await? {
                Ok(mended) => mended,
                Err(MendError::NoDisk) => return Ok(all),
                Err(error) => {
                    if let Some(more) = self.progress.lines.is_due(About::NotMended) {
                        let peer = self.link.site();
                        error!(%peer, %log, %error, more, "a stretch of a log is not mended");
                    }
                    return Ok(all);
                }
            };
            all.added += mended.added;
            all.contradicted += mended.contradicted;
            all.replaced += mended.replaced;
            all.reached = all.reached.max(mended.reached);
            if mended.reached <= unit.after || mended.reached >= span.to {
                return Ok(all);
            }
            span.after = mended.reached;
        }
    }

    /// What the peer holds of a stretch.
    async fn fetch(&mut self, log: &LogName, span: Span) -> Result<Told, CompareError> {
        let message = Message::Fetch {
            site: log.site.to_string(),
            name: log.name.to_vec(),
            after: id(span.after),
            to: id(span.to),
        };
        self.send(&message).await?;
        let mut records = Vec::new();
        loop {
            let answer = self.answer().await?;
            if let Message::EntriesEnd { reached, agrees } = answer {
                return Ok(Told {
                    records,
                    reached: entry_id(reached),
                    is_right: self.is_right(log, span.after, agrees),
                });
            }
            if let Message::Entries(record) = answer
                && records.len() < FETCHED_RECORDS_MAX
            {
                records.push(record.into());
            }
        }
    }

    /// Whether the peer's word counts where the two sites contradict each other: it is the log's
    /// origin, or was as its origin at the last comparison, and we are neither.
    fn is_right(&self, log: &LogName, after: EntryId, agrees: bool) -> bool {
        log.site == *self.link.site() || (agrees && !self.grid.agrees(log, after))
    }
}
