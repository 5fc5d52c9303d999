//! The exit statuses of commands; docs/OPERATING.md has the table.
//!
//! PostgreSQL decides by them. It takes 1 to 125 from a `restore_command` for "the archive does
//! not have this file", ends recovery there and begins to serve; above 125 it stops instead
//! (`RestoreArchivedFile` in its `xlogarchive.c`). An `archive_command` that exits with 1 to 125
//! is counted as failed and tried again; above 125 the archiver starts anew and counts nothing
//! (`pgarch_archiveXlog` in `pgarch.c`). So the commands that ask whether something is there
//! tell "it is not there" from "there was no answer", and all others stay below 126.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;

use super::far_tree::NothingMatches;
use super::{Cli, Command};
use crate::bulk::Failure;
use crate::bulk::control::client::ClientError;

/// A command failed. From one that asks: the far site answered that it has no such file.
const FAILED: u8 = 1;
/// A mistake on the command line.
const USAGE: u8 = 2;
/// Rust's own for a panic.
const PANICKED: u8 = 101;
/// A command that asks got no answer, or could not keep it. Below are the statuses of commands
/// that a shell cannot run (126, 127) and those that died of a signal (128 and more; PostgreSQL
/// takes 143 for its own shutdown); 255 is ssh's.
const NO_ANSWER: u8 = 200;
/// The commands that ask.
const ASKING: [&str; 2] = ["pull", "ls"];

/// What a command's failures mean to a program that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It asks whether something is there.
    Ask,
    Act,
}

impl Purpose {
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Pull(_) | Command::Ls(_) => Self::Ask,
            Command::Init(_)
            | Command::Pair(_)
            | Command::Key(_)
            | Command::Reload(_)
            | Command::Renew(_)
            | Command::Run(_)
            | Command::CheckConfig(_)
            | Command::Status(_)
            | Command::Push(_)
            | Command::Rm(_)
            | Command::Verify(_)
            | Command::Replay(_)
            | Command::Snapshots(_)
            | Command::Export(_)
            | Command::Demo(_) => Self::Act,
        }
    }

    /// Of words that are no command line. A mistyped `pull` is no reason to end a recovery, so
    /// where no other command can be made out, they count as one that asks.
    pub(super) fn of_words(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<_> = words.into_iter().skip(1).collect();
        let names = |name: &str| words.iter().any(|word| word == name);
        let cli = Cli::command();
        let acts = cli.get_subcommands().any(|known| names(known.get_name()));
        match acts && !ASKING.into_iter().any(names) {
            true => Self::Act,
            false => Self::Ask,
        }
    }

    pub(super) fn failure(self, error: &anyhow::Error) -> ExitCode {
        match self {
            Self::Ask if !says_absent(error) => NO_ANSWER.into(),
            Self::Ask | Self::Act => FAILED.into(),
        }
    }

    pub(super) fn panic(self) -> ExitCode {
        match self {
            Self::Ask => NO_ANSWER.into(),
            Self::Act => PANICKED.into(),
        }
    }

    /// Also of what is no mistake: help and version that were asked for.
    pub(super) fn usage(self, error: &clap::Error) -> ExitCode {
        if !error.use_stderr() {
            return ExitCode::SUCCESS;
        }
        match self {
            Self::Ask => NO_ANSWER.into(),
            Self::Act => USAGE.into(),
        }
    }
}

/// Whether the far site has said that it has nothing of that name.
fn says_absent(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<ClientError>();
    matches!(failed, Some(ClientError::Failed(Failure::NotFound))) || error.is::<NothingMatches>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(line: &str) -> Purpose {
        Purpose::of_words(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_mistake_on_the_command_line_never_looks_like_a_file_that_is_not_there() {
        for line in [
            "strait pull",
            "strait --dta x pull west:wal/0 f",
            "strait --data push pull west:wal/0 f",
            "strait pul west:wal/0 f",
            "strait",
        ] {
            assert_eq!(purpose(line), Purpose::Ask, "{line}");
        }
        for line in ["strait push", "strait --data x push --qiet f west:wal/0"] {
            assert_eq!(purpose(line), Purpose::Act, "{line}");
        }
    }

    #[test]
    fn only_the_far_sites_no_is_a_no() {
        let code = |error: anyhow::Error| Purpose::Ask.failure(&error.context("pull west:f"));
        let client = |failure| code(ClientError::Failed(failure).into());
        assert_eq!(client(Failure::NotFound), FAILED.into());
        let other_failures = [
            Failure::LinkDown("dialing".to_owned()),
            Failure::SessionReset,
            Failure::Busy,
            Failure::Io("not found".to_owned()),
        ];
        for failure in other_failures {
            assert_eq!(client(failure.clone()), NO_ANSWER.into(), "{failure}");
        }
        let here = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(code(here.into()), NO_ANSWER.into());
    }
}
