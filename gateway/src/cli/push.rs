use super::Globals;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_globals: &Globals, Args {}: Args) -> anyhow::Result<()> {
    anyhow::bail!("not in this build yet")
}
