//! One direction of the link: what happens to each packet, and when.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkConfig {
    pub(crate) rate_bits_s: f64,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// Longest time by which a packet comes after one that was sent later.
    pub(crate) reorder: Duration,
    pub(crate) queue: Duration,
    /// Probability that a packet is lost at random.
    pub(crate) loss: f64,
    /// Mean number of packets lost in a row.
    pub(crate) burst: f64,
    pub(crate) seed: u64,
}

/// What crossed one direction. Bytes are those of IP packets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) offered_packets: u64,
    pub(crate) offered_bytes: u64,
    pub(crate) lost_packets: u64,
    pub(crate) overflow_packets: u64,
    pub(crate) cut_packets: u64,
    pub(crate) queue_mean_ms: f64,
    pub(crate) queue_max_ms: f64,
}

impl Figures {
    /// Packets that did not arrive, of those offered.
    pub(crate) fn lost_percent(&self) -> f64 {
        let lost = self.lost_packets + self.overflow_packets + self.cut_packets;
        100.0 * lost as f64 / self.offered_packets.max(1) as f64
    }
}

#[derive(Debug)]
pub(super) struct Pipe {
    config: LinkConfig,
    rng: StdRng,
    /// When the last accepted bit leaves the queue.
    free_at: Instant,
    /// When the last accepted packet comes out, the delay in which packets overtake each other apart.
    last_out: Instant,
    losing: bool,
    cut: bool,
    figures: Figures,
    queue_sum: Duration,
}

impl Pipe {
    pub(super) fn new(config: LinkConfig, seed: u64, now: Instant) -> Self {
        Self {
            config,
            rng: StdRng::seed_from_u64(seed),
            free_at: now,
            last_out: now,
            losing: false,
            cut: false,
            figures: Figures::default(),
            queue_sum: Duration::ZERO,
        }
    }

    /// When a packet of `bytes` comes out, unless it is lost.
    pub(super) fn pass(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        self.figures.offered_packets += 1;
        self.figures.offered_bytes += bytes as u64;
        let queue = self.free_at.saturating_duration_since(now);
        self.queue_sum += queue;
        self.figures.queue_max_ms = self.figures.queue_max_ms.max(queue.as_secs_f64() * 1e3);
        if self.cut {
            self.figures.cut_packets += 1;
            return None;
        }
        if queue > self.config.queue {
            self.figures.overflow_packets += 1;
            return None;
        }
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / self.config.rate_bits_s);
        self.free_at = self.free_at.max(now) + takes;
        if self.loses() {
            self.figures.lost_packets += 1;
            return None;
        }
        let jitter = self.config.jitter.mul_f64(self.rng.random());
        self.last_out = self.last_out.max(self.free_at + self.config.delay + jitter);
        Some(self.last_out + self.config.reorder.mul_f64(self.rng.random()))
    }

    /// Two states (Gilbert): bursts of the mean length, at the mean rate.
    fn loses(&mut self) -> bool {
        let LinkConfig { loss, burst, .. } = self.config;
        let stop = 1.0 / burst;
        let start = (loss * stop / (1.0 - loss).max(1e-9)).min(1.0);
        let losing = match self.losing {
            true => !self.rng.random_bool(stop),
            false => self.rng.random_bool(start),
        };
        self.losing = losing && burst > 1.0;
        losing
    }

    pub(super) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    pub(super) fn figures(&self) -> Figures {
        let packets = self.figures.offered_packets.max(1) as f64;
        Figures {
            queue_mean_ms: self.queue_sum.as_secs_f64() * 1e3 / packets,
            ..self.figures
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(loss: f64, burst: f64, now: Instant) -> Pipe {
        let config = LinkConfig {
            rate_bits_s: 8e6,
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(5),
            reorder: Duration::ZERO,
            queue: Duration::from_millis(10),
            loss,
            burst,
            seed: 1,
        };
        Pipe::new(config, config.seed, now)
    }

    #[test]
    fn a_packet_takes_its_time_and_a_full_queue_drops() {
        let now = Instant::now();
        let mut pipe = pipe(0.0, 1.0, now);
        let outs: Vec<_> = (0..20).map(|_| pipe.pass(now, 1000)).collect();
        // 1 ms a packet: eleven are within 10 ms of queue.
        assert_eq!(outs.iter().flatten().count(), 11);
        let first = outs[0].unwrap() - now;
        assert!((51..=56).contains(&first.as_millis()), "{first:?}");
        assert!(outs.iter().flatten().is_sorted());
        assert_eq!(pipe.figures().overflow_packets, 9);
    }

    #[test]
    fn packets_overtake_each_other_where_that_is_asked_for() {
        let now = Instant::now();
        let mut pipe = pipe(0.0, 1.0, now);
        pipe.config.reorder = Duration::from_millis(4);
        let outs: Vec<_> = (0..11).filter_map(|_| pipe.pass(now, 1000)).collect();
        assert!(outs.len() == 11 && !outs.is_sorted());
        let first = outs[0] - now;
        assert!((51..=60).contains(&first.as_millis()), "{first:?}");
    }

    #[test]
    fn loss_is_as_asked_for_single_or_in_bursts() {
        for burst in [1.0, 8.0] {
            let mut now = Instant::now();
            let mut pipe = pipe(0.02, burst, now);
            let mut runs = 0;
            let mut before = true;
            for _ in 0..200_000 {
                now += Duration::from_millis(2);
                let arrives = pipe.pass(now, 1000).is_some();
                runs += u32::from(before && !arrives);
                before = arrives;
            }
            let lost = pipe.figures().lost_packets as f64;
            assert!((0.015..0.025).contains(&(lost / 200_000.0)), "{lost}");
            let length = lost / f64::from(runs);
            assert!((0.8 * burst..1.2 * burst).contains(&length), "{length}");
        }
    }
}
