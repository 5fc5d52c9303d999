//! The command line: one file for each subcommand.
//!
//! Only here is the environment read.

mod check_config;
mod demo;
mod init;
mod local_file;
mod logging;
mod ls;
mod pair;
mod pull;
mod push;
mod run;
mod status;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigErrors;
use crate::datadir::Layout;
use logging::LogFormat;

/// Keeps sites in step over a slow, lossy, long-distance link.
#[derive(Debug, Parser)]
#[command(
    name = "strait",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Globals {
    /// The gateway's data directory
    #[arg(
        long,
        global = true,
        env = "STRAIT_DATA",
        default_value = "./strait-data"
    )]
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// What to log: error, warn, info, debug, or like `info,strait::grid=debug`
    #[arg(
        long,
        global = true,
        env = "STRAIT_LOG",
        value_name = "FILTER",
        hide = true
    )]
    log: Option<String>,
    /// How to log
    #[arg(
        long,
        global = true,
        env = "STRAIT_LOG_FORMAT",
        value_name = "FORMAT",
        hide = true
    )]
    #[arg(value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl Globals {
    /// Where things are in the data directory.
    pub(crate) fn layout(&self) -> Layout {
        Layout::at(&self.data)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory: this site's key and a commented strait.toml
    Init(init::Args),
    /// Print this site's token, or add the peer whose token it is
    Pair(pair::Args),
    /// Run the gateway
    Run(run::Args),
    /// Name every mistake in the configuration, with its line and its remedy
    CheckConfig(check_config::Args),
    /// Show how the running gateway and its links are
    Status(status::Args),
    /// Send files to a peer site
    Push(push::Args),
    /// Fetch files from a peer site
    Pull(pull::Args),
    /// List the files at a peer site
    Ls(ls::Args),
    /// Show two gateways at work over a bad link, all on this machine
    Demo(crate::demo::DemoArgs),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    let result = logging::start(globals.log.as_deref(), globals.log_format)
        .and_then(|()| dispatch(&globals, command));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Mistakes in a file begin with its name, as editors expect.
            match error.downcast_ref::<ConfigErrors>() {
                Some(mistakes) => eprintln!("{mistakes}"),
                None => eprintln!("strait: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(globals: &Globals, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init::run(globals, args),
        Command::Pair(args) => pair::run(globals, args),
        Command::Run(args) => run::run(globals, args),
        Command::CheckConfig(args) => check_config::run(globals, args),
        Command::Status(args) => status::run(globals, args),
        Command::Push(args) => push::run(globals, args),
        Command::Pull(args) => pull::run(globals, args),
        Command::Ls(args) => ls::run(globals, args),
        Command::Demo(args) => demo::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
