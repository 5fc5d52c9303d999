//! Whether a user may do what a command asks for, as Redis's ACL decides it.

use std::iter::StepBy;
use std::ops::Range;

use super::super::parse::Args;
use super::super::users::{KeyAccess, Selector, User};
use super::table::{self, Command};
use super::{CommandError, Session};

/// What a user has no right to. The greater of two is what Redis tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denied {
    Command,
    /// The argument at this place is the first such key.
    Key(usize),
}

impl Denied {
    /// As the reply to `EXEC` has it.
    pub(super) fn within_exec(self) -> CommandError {
        let reason = match self {
            Self::Command => "no permission to execute the command or subcommand",
            Self::Key(_) => "no permission to touch the specified keys",
        };
        let text = "NOPERM ACLs rules changed between the moment the transaction was accumulated \
                    and the EXEC call. This command is no longer allowed for the following reason: ";
        CommandError(format!("{text}{reason}").into())
    }

    fn error(self, command: &Command) -> CommandError {
        CommandError(match self {
            Self::Command => {
                let name = command.name;
                format!("NOPERM this user has no permissions to run the '{name}' command").into()
            }
            Self::Key(_) => {
                "NOPERM this user has no permissions to access one of the keys used as arguments"
                    .into()
            }
        })
    }
}

/// Whether the client may send the command.
///
/// # Errors
/// Says that it must authenticate first, or what its user has no right to.
pub(super) fn check(
    session: &Session,
    command: &Command,
    args: Args<'_>,
) -> Result<(), CommandError> {
    if session.may_all {
        return Ok(());
    }
    if !session.authenticated && !command.before_auth {
        return Err(CommandError("NOAUTH Authentication required.".into()));
    }
    check_user(&session.user, command, args).map_err(|denied| {
        let entered = &session.entered;
        let door = &entered.clients().door;
        door.denied(entered.address(), session.user.name(), command.name);
        denied.error(command)
    })
}

/// Whether the client may go on with a command that it was allowed to send, on these keys.
///
/// # Errors
/// Says what its user has no right to any more.
pub(super) fn check_keys<'a>(
    session: &Session,
    name: &str,
    keys: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<(), CommandError> {
    let Some(command) = table::find(name.as_bytes()) else {
        return Ok(());
    };
    let allows = |selector: &Selector| {
        let mut keys = keys.clone();
        selector.allows_command(command.number)
            && keys.all(|key| selector.allows_key(key, command.access))
    };
    match session.user.selectors.iter().any(allows) {
        true => Ok(()),
        false => Err(Denied::Key(0).error(command)),
    }
}

/// Whether a user may send the command: one of its sets of rights must allow all of it.
pub(super) fn check_user(user: &User, command: &Command, args: Args<'_>) -> Result<(), Denied> {
    let mut worst = Denied::Command;
    for selector in &user.selectors {
        match check_selector(selector, command, args) {
            Ok(()) => return Ok(()),
            Err(denied) => worst = worst.max(denied),
        }
    }
    Err(worst)
}

fn check_selector(selector: &Selector, command: &Command, args: Args<'_>) -> Result<(), Denied> {
    if !command.before_auth && !selector.allows_command(command.number) {
        return Err(Denied::Command);
    }
    // Where no keys can be told, the command itself finds fault.
    let mut places = key_places(command, args).unwrap_or((0..0).step_by(1));
    let access = access(command, args);
    let is_denied = |place: &usize| !selector.allows_key(args.get(*place), access);
    places
        .find(is_denied)
        .map_or(Ok(()), |place| Err(Denied::Key(place)))
}

/// `SET` with `GET` reads, too.
fn access(command: &Command, args: Args<'_>) -> KeyAccess {
    match command.name {
        "set" if (3..args.len()).any(|place| args.is(place, "GET")) => KeyAccess::BOTH,
        _ => command.access,
    }
}

/// Where the keys of a command stand among its arguments.
type KeyPlaces = StepBy<Range<usize>>;

/// Where the keys stand; none where the arguments do not tell.
pub(super) fn key_places(command: &Command, args: Args<'_>) -> Option<KeyPlaces> {
    let (first, last, step) = match command.name {
        "xread" => {
            let streams = (1..args.len()).find(|place| args.is(*place, "STREAMS"))?;
            (streams + 1, streams + (args.len() - streams) / 2, 1)
        }
        _ => {
            let (first, last, step) = command.keys;
            // Before the end, if it is less than 0.
            let last = if last < 0 { args.len() as i64 } else { 0 } + i64::from(last);
            (first as usize, last as usize, step as usize)
        }
    };
    let places = if first == 0 { 0..0 } else { first..last + 1 };
    Some(places.step_by(step.max(1)))
}
