//! What one seed gives.

use std::fmt;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Faults that are drawn at most to find those that are wanted.
const DRAWN_MAX: usize = 10_000;

/// How the sites are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Pair,
    /// Three, each with each.
    Mesh,
    /// Three, all with the first.
    Hub,
}

/// Something that goes wrong. Sites and links are named by their place in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: clients go on under what is broken.
    Calm,
    /// SIGTERM, and a start some time later.
    Stop { site: usize, down_ms: u64 },
    /// SIGKILL, and a start some time later.
    Kill { site: usize, down_ms: u64 },
    /// SIGKILL of all at once.
    KillAll { down_ms: u64 },
    /// The disk forgets what was not fsynced. Its gateway lives that much longer and meets errors.
    PowerCut {
        site: usize,
        lives_ms: u64,
        down_ms: u64,
    },
    /// SIGSTOP and SIGCONT.
    Freeze { site: usize, ms: u64 },
    /// SIGKILL while stopped.
    FreezeAndKill { site: usize, ms: u64 },
    /// Nothing crosses a link in these directions.
    Cut {
        link: usize,
        there: bool,
        back: bool,
    },
    /// Only TCP crosses a link.
    BlockUdp { link: usize },
    /// A link loses so many per cent.
    Lossy { link: usize, percent: u32 },
    /// All links are well again.
    Heal,
    /// The machine's clock is so many seconds ahead from now on.
    Clock { site: usize, ahead_s: i64 },
    /// The disk has no room for that long; killed and started meanwhile, or not.
    FullDisk { site: usize, ms: u64, kill: bool },
    /// Bits flip in files of the grid and of the history while the gateway is down. `alone`: clients
    /// write at it before its links are up.
    Flip { site: usize, bits: u32, alone: bool },
    /// The data directory is lost and the site rebuilt. `settled`: its peers hold all of it by then.
    Burn { site: usize, settled: bool },
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// How long clients write before it.
    pub pause_ms: u64,
    pub fault: Fault,
}

/// A round, as its seed wants it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    /// Older entries of logs go to the disk: `on_full = "spill"` with little memory.
    pub spill: bool,
    /// Longest text of a log's entry.
    pub line_bytes_max: u64,
    pub delay_ms: u64,
    pub loss_percent: f64,
    /// Whether the disks write bytes before the lengths of files.
    pub ordered: bool,
    /// `grid.flush_ms`.
    pub flush_ms: u64,
    /// `grid.compare_min`.
    pub compare_min: u64,
    pub steps: Vec<Step>,
    /// Not from the seed: the gateway that each site runs until its first restart.
    pub before: Option<PathBuf>,
}

impl Plan {
    /// A plan of so many steps.
    pub fn new(seed: u64, steps: usize) -> Self {
        Self::of(seed, steps, "")
    }

    /// A plan of so many steps, of none but faults whose name begins so.
    pub fn of(seed: u64, steps: usize, name: &str) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let shape = match random.random_range(0..4) {
            0 | 1 => Shape::Pair,
            2 => Shape::Mesh,
            _ => Shape::Hub,
        };
        let spill = random.random_bool(0.4);
        let mut plan = Self {
            seed,
            shape,
            spill,
            line_bytes_max: if spill { 4000 } else { 200 },
            delay_ms: random.random_range(0..20),
            loss_percent: [0.0, 0.1, 1.0][random.random_range(0..3)],
            ordered: random.random_bool(0.5),
            flush_ms: [5, 50, 50, 400][random.random_range(0..4)],
            compare_min: [1, 60][random.random_range(0..2)],
            steps: Vec::new(),
            before: None,
        };
        let drawn = std::iter::repeat_with(|| plan.step(&mut random)).take(DRAWN_MAX);
        let wanted = drawn.filter(|step| format!("{:?}", step.fault).starts_with(name));
        plan.steps = wanted.take(steps).collect();
        plan
    }

    /// A quiet round: nothing goes wrong for that long.
    pub fn calm(ms: u64) -> Self {
        let step = Step {
            pause_ms: ms,
            fault: Fault::Calm,
        };
        Self {
            seed: 0,
            shape: Shape::Pair,
            spill: false,
            line_bytes_max: 200,
            delay_ms: 1,
            loss_percent: 0.0,
            ordered: true,
            flush_ms: 50,
            compare_min: 60,
            steps: vec![step],
            before: None,
        }
    }

    pub fn sites(&self) -> usize {
        match self.shape {
            Shape::Pair => 2,
            Shape::Mesh | Shape::Hub => 3,
        }
    }

    /// Which sites each link joins: the first dials.
    pub fn links(&self) -> Vec<(usize, usize)> {
        match self.shape {
            Shape::Pair => vec![(0, 1)],
            Shape::Mesh => vec![(0, 1), (0, 2), (1, 2)],
            Shape::Hub => vec![(1, 0), (2, 0)],
        }
    }

    /// Whether any clock is set, so that gateways need one of their own.
    pub fn sets_clocks(&self) -> bool {
        let mut faults = self.steps.iter().map(|step| step.fault);
        faults.any(|fault| matches!(fault, Fault::Clock { .. }))
    }

    fn step(&self, random: &mut StdRng) -> Step {
        Step {
            pause_ms: random.random_range(100..1500),
            fault: self.fault(random),
        }
    }

    fn fault(&self, random: &mut StdRng) -> Fault {
        let site = random.random_range(0..self.sites());
        let link = random.random_range(0..self.links().len());
        let down_ms = random.random_range(0..1500);
        let ms = random.random_range(200..3000);
        match random.random_range(0..100) {
            0..20 => Fault::Kill { site, down_ms },
            20..25 => Fault::KillAll { down_ms },
            25..40 => Fault::PowerCut {
                site,
                lives_ms: [0, 5, 200][random.random_range(0..3)],
                down_ms,
            },
            40..45 => Fault::Stop { site, down_ms },
            45..50 => Fault::Freeze { site, ms },
            50..53 => Fault::FreezeAndKill { site, ms },
            53..63 => {
                let (there, back) =
                    [(true, true), (true, false), (false, true)][random.random_range(0..3)];
                Fault::Cut { link, there, back }
            }
            63..66 => Fault::BlockUdp { link },
            66..70 => Fault::Lossy {
                link,
                percent: random.random_range(2..30),
            },
            70..80 => Fault::Heal,
            80..86 => Fault::Clock {
                site,
                ahead_s: [-7200, -90, -3, 0, 4, 120, 7200][random.random_range(0..7)],
            },
            86..91 => Fault::FullDisk {
                site,
                ms,
                kill: random.random_bool(0.6),
            },
            91..97 => Fault::Flip {
                site,
                bits: random.random_range(1..4),
                alone: random.random_bool(0.6),
            },
            _ => Fault::Burn {
                site,
                settled: random.random_bool(0.5),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:?}, spill {}, lines to {} B, delay {} ms, loss {} %, ordered {}, flush {} ms, \
             compare {} min",
            self.seed,
            self.shape,
            self.spill,
            self.line_bytes_max,
            self.delay_ms,
            self.loss_percent,
            self.ordered,
            self.flush_ms,
            self.compare_min
        )?;
        for (n, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {n:2}  after {:4} ms  {:?}", step.pause_ms, step.fault)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_another_seed_another() {
        let (one, again) = (Plan::new(7, 20), Plan::new(7, 20));
        assert_eq!(one.to_string(), again.to_string());
        assert_ne!(one.to_string(), Plan::new(8, 20).to_string());
    }

    #[test]
    fn a_hundred_seeds_have_every_fault_and_shape() {
        let plans: String = (0..100)
            .map(|seed| Plan::new(seed, 20).to_string())
            .collect();
        let wanted = [
            "Pair",
            "Mesh",
            "Hub",
            "Stop",
            "Kill ",
            "KillAll",
            "PowerCut",
            "Freeze ",
            "FreezeAndKill",
            "Cut",
            "BlockUdp",
            "Lossy",
            "Heal",
            "Clock",
            "FullDisk",
            "Flip",
            "Burn",
        ];
        for name in wanted {
            assert!(plans.contains(name), "no {name}");
        }
    }
}
