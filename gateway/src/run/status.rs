//! Fills the status document from the rooms of a running gateway.

use std::time::{Duration, Instant, SystemTime};

use strait_transport::{Phase, Refusal};

use super::parts::{Link, Parts};
use crate::grid::Feed;
use crate::heartbeat::{HANGS_AFTER, Late};
use crate::observe::{
    CompareReport, GatewayReport, HistoryReport, LinkReport, RefusalReport, Status, StatusSource,
    StreamReport,
};
use crate::replicate::{NotTaken, ProgressFigures};

impl StatusSource for Parts {
    fn status(&self) -> Status {
        let grid = self.grid.stats();
        // What the disk refuses reaches no peer either.
        let stuck_s = match grid.journal_failed {
            true => grid.unwritten_seconds,
            false => 0.0,
        };
        let (history, clients) = (self.history_report(), self.clients.figures());
        Status {
            memory: self.memory_report(&grid, &history, &clients),
            full_in_s: self.retention.full_in_s(&grid),
            disk_full_in_s: self
                .retention
                .disk_full_in_s(grid.cold_bytes, grid.cold_bytes_max),
            gateway: self.gateway_report(),
            not_ready: self.not_ready(),
            links: self
                .peers
                .present()
                .map(|link| self.link_report(link, stuck_s))
                .collect(),
            clients,
            refusals: Refusal::ALL
                .map(|refusal| self.refusal_report(refusal))
                .into(),
            grid,
            clock_steps: self.clock.steps(),
            snapshots: self.snapshots.report(),
            history,
            bulk: self.bulk.figures(),
            syncs: self.syncs.report(),
            forwards: self.forwards.report(),
        }
    }

    fn hangs(&self) -> Vec<String> {
        let late = self.late(HANGS_AFTER).into_iter();
        let hangs = late.filter_map(|(name, late)| match late {
            Late::Working(time) => Some((name, time)),
            Late::OnDisk(_) => None,
        });
        hangs
            .map(|(name, time)| format!("{name} has not come round for {} s", time.as_secs()))
            .collect()
    }

    fn digest(&self) -> String {
        self.grid.digest().to_string()
    }
}

impl Parts {
    /// Where Redis clients connect, as `listen.grid` has it.
    pub(super) fn grid_addresses(&self) -> String {
        let addresses = self.grid_endpoints.iter().map(ToString::to_string);
        addresses.collect::<Vec<_>>().join(", ")
    }

    fn gateway_report(&self) -> GatewayReport {
        GatewayReport {
            site: self.config.site.to_string(),
            key: self.key.read().to_string(),
            incarnation: self.incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            link_address: self.link_address.to_string(),
            grid_address: self.grid_addresses(),
        }
    }

    /// Recovery is over before anything is served: a broken disk is left, and a copied directory where
    /// no other peer takes this gateway for the right one.
    fn not_ready(&self) -> Vec<String> {
        let failed = self.grid.stats().journal_failed;
        let reason = "the grid's journal cannot be written: see the log".to_owned();
        let status = self.peers.present().map(|link| {
            let status = link.handle.status();
            (link.handle.site().clone(), status)
        });
        let status: Vec<_> = status.collect();
        let linked = status.iter().any(|(_, status)| status.phase == Phase::Up);
        let refused = status.iter().filter_map(|(site, status)| {
            let words = status.refused_as_copy.as_ref().filter(|_| !linked)?;
            Some(format!("{site} refuses this gateway as a copy: {words}"))
        });
        let failed = failed.then_some(reason).into_iter();
        failed.chain(refused).chain(self.on_disk()).collect()
    }

    /// What waits for the disk all too long.
    fn on_disk(&self) -> impl Iterator<Item = String> {
        let late = self.late(HANGS_AFTER).into_iter();
        late.filter_map(|(name, late)| match late {
            Late::OnDisk(time) => Some(format!(
                "the disk has not answered for {} s: {name} waits for it",
                time.as_secs()
            )),
            Late::Working(_) => None,
        })
    }

    /// What has not come round for `after`, with something to do.
    pub(super) fn late(&self, after: Duration) -> Vec<(String, Late)> {
        let mut heartbeats = vec![(
            "the thread that flushes the grid".to_owned(),
            self.grid.flushing(),
        )];
        for link in &self.peers.links {
            for feed in Feed::ALL {
                let (site, name) = (link.handle.site(), feed.name());
                let [applying, shipping] = link.progress.heartbeats(feed);
                heartbeats.push((
                    format!("the thread that applies {name} of {site}"),
                    applying,
                ));
                heartbeats.push((format!("the task that sends {name} to {site}"), shipping));
            }
        }
        let late = heartbeats.into_iter();
        late.filter_map(|(name, heartbeat)| Some((name, heartbeat.late(after)?)))
            .collect()
    }

    fn link_report(&self, link: &Link, stuck_s: f64) -> LinkReport {
        let status = link.handle.status();
        let now = SystemTime::now();
        let mut report = LinkReport::new(link.handle.site(), link.handle.key(), &status, now);
        let streams = Feed::ALL.map(|feed| {
            let figures = link.progress.figures(feed);
            let not_taken = link.progress.not_taken(feed);
            self.stream_report(feed, (&figures, not_taken), stuck_s)
        });
        report.streams = streams.into();
        report.heard_all = link.progress.heard_all();
        let (rounds, failed, last) = link.comparer.figures();
        report.compared = CompareReport {
            rounds,
            failed,
            last,
        };
        report
    }

    fn refusal_report(&self, refusal: Refusal) -> RefusalReport {
        RefusalReport {
            reason: refusal.name().to_owned(),
            connections: self.refusals.connections(refusal),
        }
    }

    fn stream_report(
        &self,
        feed: Feed,
        (figures, not_taken): (&ProgressFigures, NotTaken),
        stuck_s: f64,
    ) -> StreamReport {
        let lag = self.peers.clock.lag(feed, figures.acked, Instant::now());
        StreamReport {
            stream: feed.name().to_owned(),
            lag_s: lag.age.as_secs_f64().max(stuck_s),
            lag_records: lag.records,
            lag_bytes: lag.bytes,
            catching_up: figures.catching_up,
            sent_records: figures.sent,
            applied_records: figures.applied,
            refused_records: figures.refused,
            refusing: not_taken.here,
            refused_by_peer: not_taken.there,
            gaps: figures.gaps,
            catch_ups: figures.catch_ups,
        }
    }

    fn history_report(&self) -> HistoryReport {
        let figures = self.store.figures();
        HistoryReport {
            chunks: figures.chunks,
            memory_bytes: figures.memory_bytes,
            codec_bytes: figures.codec_bytes,
            untouched_bytes: figures.untouched_bytes,
            memory_bytes_max: self.config.history.memory_bytes_max,
            disk_bytes: figures.disk_bytes,
            disk_bytes_max: self.config.history.disk_bytes_max,
            quarantined: figures.quarantined,
            unwritable: figures.unwritable,
        }
    }
}
