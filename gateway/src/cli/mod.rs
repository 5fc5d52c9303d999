//! The command line: one file for each subcommand.
//!
//! Only here is the environment read.

mod check_config;
mod demo;
mod display;
mod exit;
mod export;
mod far_look;
mod far_tree;
mod folders;
mod init;
mod key;
mod local_file;
mod local_tree;
mod logging;
mod ls;
pub(crate) mod output;
mod own;
mod pair;
mod pull;
mod push;
mod reload;
mod renew;
mod replay;
mod rm;
mod run;
mod snapshots;
mod status;
mod time;
mod transfer;
mod verify;
mod verify_grid;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigErrors};
use crate::datadir::{Layout, check_format};
use crate::privacy;
use exit::Purpose;
use logging::{Log, LogFormat};
use output::{explain, is_closed_output, tell};

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

    /// The configuration in the data directory. A mistyped directory is told from one whose
    /// file is missing.
    fn config(&self) -> anyhow::Result<Config> {
        let layout = self.layout();
        check_format(&layout)?;
        Ok(config::load(&layout.config())?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory: this site's key and a commented strait.toml
    Init(init::Args),
    /// Print this site's token, or add the peer whose token it is
    Pair(pair::Args),
    /// Exchange this site's key, without a restart
    Key(key::Args),
    /// Make the running gateway read keys and peers anew
    Reload(reload::Args),
    /// Go on as another incarnation of the site: for one of two copies of a data directory
    Renew(renew::Args),
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
    /// Remove files at a peer site
    Rm(rm::Args),
    /// Compare files here, or all counters and logs, with those at a peer site
    Verify(verify::Args),
    /// Watch a rebuilt site get its counters and logs back from a peer, and prove that it has all
    Replay(replay::Args),
    /// List the snapshots of the counters that this site keeps
    Snapshots(snapshots::Args),
    /// Write counters and logs as RESP, NDJSON or CSV
    Export(export::Args),
    /// Show two gateways at work over a bad link, all on this machine
    Demo(crate::demo::DemoArgs),
}

impl Command {
    /// Whether all files that it makes are of a data directory.
    const fn writes_data(&self) -> bool {
        match self {
            Self::Init(_) | Self::Pair(_) | Self::Key(_) | Self::Renew(_) | Self::Run(_) => true,
            Self::Reload(_)
            | Self::CheckConfig(_)
            | Self::Status(_)
            | Self::Push(_)
            | Self::Pull(_)
            | Self::Ls(_)
            | Self::Rm(_)
            | Self::Verify(_)
            | Self::Replay(_)
            | Self::Snapshots(_)
            | Self::Export(_)
            | Self::Demo(_) => false,
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { globals, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Whoever would read it may have gone.
            error.print().ok();
            return Purpose::of_words(std::env::args_os()).usage(&error);
        }
    };
    let purpose = Purpose::of(&command);
    let run = AssertUnwindSafe(|| run_command(&globals, command, purpose));
    // The panic has been told where it happened.
    std::panic::catch_unwind(run).unwrap_or_else(|_| purpose.panic())
}

fn run_command(globals: &Globals, command: Command, purpose: Purpose) -> ExitCode {
    // The demo tells its own story.
    let told = matches!(command, Command::Demo(_));
    let filter = if told {
        logging::QUIET_FILTER
    } else {
        logging::FILTER
    };
    let log = match Log::start(globals.log.as_deref(), filter, globals.log_format) {
        Ok(log) => log,
        Err(error) => {
            tell!("strait: {}", explain(&error));
            return purpose.failure(&error);
        }
    };
    let runs = matches!(command, Command::Run(_));
    match dispatch(globals, command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Mistakes in a file begin with its name, as editors expect.
            let text = match error.downcast_ref::<ConfigErrors>() {
                Some(mistakes) => mistakes.to_string(),
                None => format!("strait: {}", explain(&error)),
            };
            match runs {
                // A gateway waits for no reader, also when it ends.
                true => log.say(&text),
                false => tell!("{text}"),
            }
            purpose.failure(&error)
        }
    }
}

fn dispatch(globals: &Globals, command: Command) -> anyhow::Result<()> {
    if command.writes_data() {
        privacy::begin();
    }
    match command {
        Command::Init(args) => init::run(globals, args),
        Command::Pair(args) => pair::run(globals, args),
        Command::Key(args) => key::run(globals, args),
        Command::Reload(args) => reload::run(globals, args),
        Command::Renew(args) => renew::run(globals, args),
        Command::Run(args) => run::run(globals, args),
        Command::CheckConfig(args) => check_config::run(globals, args),
        Command::Status(args) => status::run(globals, args),
        Command::Push(args) => push::run(globals, args),
        Command::Pull(args) => pull::run(globals, args),
        Command::Ls(args) => ls::run(globals, args),
        Command::Rm(args) => rm::run(globals, args),
        Command::Verify(args) => verify::run(globals, args),
        Command::Replay(args) => replay::run(globals, args),
        Command::Snapshots(args) => snapshots::run(globals, args),
        Command::Export(args) => export::run(globals, args),
        Command::Demo(args) => demo::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use std::path::Path;

    use super::*;
    use crate::config::PairToken;
    use crate::datadir::read_identity;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn strait(data: &Path, words: &[&str]) -> anyhow::Result<()> {
        let data = data.to_str().unwrap();
        let words = [&["strait", "--data", data], words].concat();
        let Cli { globals, command } = Cli::try_parse_from(words)?;
        dispatch(&globals, command)
    }

    fn token(data: &Path, addresses: &[&str]) -> String {
        let layout = Layout::at(data);
        let token = PairToken {
            site: config::load(&layout.config()).unwrap().site,
            key: read_identity(&layout).unwrap().public_key(),
            addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
        };
        token.to_string()
    }

    #[test]
    fn two_sites_are_made_and_paired() {
        let home = tempfile::tempdir().unwrap();
        let (east, west) = (&home.path().join("east"), &home.path().join("west"));
        strait(
            east,
            &["init", "--site", "east", "--advertise", "e.example:7440"],
        )
        .unwrap();
        strait(
            west,
            &["init", "--site", "west", "--link", "127.0.0.1:7450"],
        )
        .unwrap();
        assert!(strait(east, &["init", "--site", "east"]).is_err());
        strait(west, &["pair"]).unwrap();
        strait(west, &["pair", &token(east, &["e.example:7440"])]).unwrap();
        strait(
            east,
            &["pair", &token(west, &[]), "--address", "w.example:1"],
        )
        .unwrap();
        for data in [east, west] {
            strait(data, &["check-config"]).unwrap();
        }
        let config = config::load(&Layout::at(east).config()).unwrap();
        let key = read_identity(&Layout::at(west)).unwrap().public_key();
        assert_eq!(config.peers[0].site.as_ref(), "west");
        assert_eq!(config.peers[0].key, key);
        assert_eq!(config.peers[0].addresses, ["w.example:1"]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let (nowhere, east) = (&home.path().join("nowhere"), &home.path().join("east"));
        let told = |data: &Path, words: &[&str]| explain(&strait(data, words).unwrap_err());
        for words in [
            &["status"][..],
            &["verify", "west"],
            &["snapshots"],
            &["export"],
        ] {
            let told = told(nowhere, words);
            assert!(
                told.contains("there is no data directory"),
                "{words:?}: {told}"
            );
        }
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let http = taken.local_addr().unwrap().to_string();
        drop(taken);
        strait(east, &["init", "--site", "east", "--http", &http]).unwrap();
        for words in [
            &["status"][..],
            &["verify", "west"],
            &["replay", "--from", "west"],
        ] {
            let told = told(east, words);
            assert!(
                told.contains("no gateway runs on this data directory"),
                "{words:?}: {told}"
            );
        }
        let told = told(east, &["push", "/nosuch", "west:"]);
        assert!(told.contains("1 of 1 not sent"), "{told}");
    }

    #[test]
    fn wrong_tokens_are_refused_and_change_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (east, other) = (&home.path().join("east"), &home.path().join("other"));
        strait(east, &["init", "--site", "east"]).unwrap();
        let before = std::fs::read(Layout::at(east).config()).unwrap();
        let own = token(east, &[]);
        strait(other, &["init", "--site", "east"]).unwrap();
        let same_name = token(other, &[]);
        for wrong in ["", "hello", &own[1..], &own, &same_name] {
            assert!(strait(east, &["pair", wrong]).is_err(), "{wrong}");
        }
        assert_eq!(std::fs::read(Layout::at(east).config()).unwrap(), before);
    }
}
