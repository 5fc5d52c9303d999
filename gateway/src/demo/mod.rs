//! `strait demo`: two sites on loopback with a bad link between them.

pub mod wan;

/// What `strait demo` takes.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the demonstration and prints its report.
pub fn main(_args: DemoArgs) -> anyhow::Result<()> {
    anyhow::bail!("not in this build yet")
}
