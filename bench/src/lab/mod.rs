//! A wide-area link on one machine: two network namespaces, a TUN device in each, and this
//! process between them. Whatever runs in the namespaces crosses the link unchanged. Needs root.

mod namespaces;
mod pipe;
mod tun;
mod wan;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

pub(crate) use self::namespaces::{FAR_ADDRESS, Namespaces, Side};
pub(crate) use self::pipe::LinkConfig;
pub(crate) use self::wan::Wan;

/// The link, as the command line has it.
#[derive(Args, Clone, Debug)]
pub(crate) struct LinkArguments {
    /// Rate each way, Mbit/s, with IP headers
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// One-way delay, ms
    #[arg(long, default_value_t = 50.0)]
    pub(crate) delay: f64,
    /// Random loss each way, percent of packets
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// Packets lost in a row, on average
    #[arg(long, default_value_t = 1.0)]
    pub(crate) burst: f64,
    /// Extra delay at random, up to this, ms; packets keep their order
    #[arg(long, default_value_t = 0.0)]
    pub(crate) jitter: f64,
    /// Extra delay at random, up to this, ms, in which packets overtake each other
    #[arg(long, default_value_t = 0.0)]
    pub(crate) reorder: f64,
    /// Longest time a packet stands in the queue before the link, ms
    #[arg(long, default_value_t = 100.0)]
    pub(crate) queue: f64,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl LinkArguments {
    /// A fast link to next door.
    pub(crate) fn without_delay() -> Self {
        Self {
            rate: 1000.0,
            delay: 0.0,
            loss: 0.0,
            burst: 1.0,
            jitter: 0.0,
            reorder: 0.0,
            queue: 100.0,
            seed: 1,
        }
    }

    pub(crate) fn config(&self) -> anyhow::Result<LinkConfig> {
        if self.rate <= 0.0 || !(0.0..=100.0).contains(&self.loss) || self.burst < 1.0 {
            bail!("the rate must be above 0, the loss 0 to 100 percent, the burst at least 1");
        }
        let ms = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).context("a time below 0");
        Ok(LinkConfig {
            rate_bits_s: self.rate * 1e6,
            delay: ms(self.delay)?,
            jitter: ms(self.jitter)?,
            reorder: ms(self.reorder)?,
            queue: ms(self.queue)?,
            loss: self.loss / 100.0,
            burst: self.burst,
            seed: self.seed,
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    link: LinkArguments,
    /// Shell command to run at the far end (10.77.0.2) meanwhile
    #[arg(long)]
    far: Option<String>,
    /// Cut the link at this second …
    #[arg(long)]
    cut_at: Option<f64>,
    /// … and heal it after so many
    #[arg(long, default_value_t = 10.0)]
    cut_for: f64,
    /// What to run at the near end (10.77.0.1)
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs a command across the link; prints what crossed it as JSON to standard error.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    let namespaces = Namespaces::create()?;
    let wan = Wan::start(&namespaces, arguments.link.config()?)?;
    let far = arguments.far.as_ref().map(|far| {
        let mut shell = namespaces.command(Side::Far, "sh");
        shell.args(["-c", far]).spawn()
    });
    let mut far = far.transpose().context("cannot start the far command")?;
    let [program, rest @ ..] = &arguments.command[..] else {
        bail!("no command given");
    };
    let mut near: Command = namespaces.command(Side::Near, program);
    let mut near = near
        .args(rest)
        .spawn()
        .context("cannot start the command")?;
    if let Some(at) = arguments.cut_at {
        std::thread::sleep(Duration::from_secs_f64(at));
        wan.cut(true);
        std::thread::sleep(Duration::from_secs_f64(arguments.cut_for));
        wan.cut(false);
    }
    let status = near.wait()?;
    if let Some(far) = &mut far {
        far.kill()?;
        far.wait()?;
    }
    let [out, back] = [Side::Near, Side::Far].map(|from| wan.figures(from));
    eprintln!("{}", serde_json::json!({ "out": out, "back": back }));
    match status.success() {
        true => Ok(()),
        false => bail!("the command ended with {status}"),
    }
}
