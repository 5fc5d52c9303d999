//! `ACL`: who the users are, and what they may do. They stand in the configuration.

use std::fmt::Write;

use aws_lc_rs::rand;

use super::super::parse::Args;
use super::super::users::Selector;
use super::categories::Category;
use super::permit::{self, Denied};
use super::{CommandError, Context, Next, Outcome, fail, integer, table, wrong_number};

pub(super) const HELP: &str = "\
CAT [<category>]
    List all commands that belong to <category>, or all command categories
    when no category is specified.
DELUSER <username> [<username> ...]
    Return an error: users stand in strait.toml, and 'strait reload' reads it.
DRYRUN <username> <command> [<arg> ...]
    Returns whether the user can execute the given command without executing the command.
GETUSER <username>
    Get the user's details.
GENPASS [<bits>]
    Generate a secure 256-bit user password. The optional `bits` argument can
    be used to specify a different size.
LIST
    Show users details in config file format.
LOAD
    Return an error: 'strait reload' reads users anew.
LOG [<count> | RESET]
    Return an error: see the gateway's log and metrics.
SAVE
    Return an error: strait.toml is written by people.
SETUSER <username> <attribute> [<attribute> ...]
    Return an error, as DELUSER.
USERS
    List all the registered usernames.
WHOAMI
    Return the current connection username.";

pub(super) fn whoami(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let name = context.session.user.name().to_owned();
    context.replies.bulk(name.as_bytes());
    Ok(Next::Go)
}

pub(super) fn users(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let users = context.server.access.users();
    context.replies.array(users.all().len());
    for user in users.all() {
        context.replies.bulk(user.name().as_bytes());
    }
    Ok(Next::Go)
}

pub(super) fn list(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let users = context.server.access.users();
    context.replies.array(users.all().len());
    for user in users.all() {
        let line = format!("user {} {}", user.name(), user.describe());
        context.replies.bulk(line.as_bytes());
    }
    Ok(Next::Go)
}

pub(super) fn getuser(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let users = context.server.access.users();
    let Some(user) = users.find(args.get(2)) else {
        context.replies.null();
        return Ok(Next::Go);
    };
    let replies = &mut *context.replies;
    replies.map(6);
    replies.bulk(b"flags");
    replies.set(user.flags().count());
    user.flags().for_each(|flag| replies.bulk(flag.as_bytes()));
    replies.bulk(b"passwords");
    replies.array(user.passwords.len());
    for hash in &user.passwords {
        replies.bulk(hash.hex().as_bytes());
    }
    let (own, others) = user.selectors.split_at(1);
    for selector in own {
        rights(context, selector);
    }
    context.replies.bulk(b"selectors");
    context.replies.array(others.len());
    for selector in others {
        context.replies.map(3);
        rights(context, selector);
    }
    Ok(Next::Go)
}

fn rights(context: &mut Context<'_>, selector: &Selector) {
    for (name, rules) in [
        ("commands", selector.command_rules()),
        ("keys", selector.key_rules()),
        ("channels", selector.channel_rules()),
    ] {
        context.replies.bulk(name.as_bytes());
        context.replies.bulk(rules.as_bytes());
    }
}

pub(super) fn cat(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let names: Vec<_> = match args.len() {
        2 => Category::all().map(Category::name).collect(),
        3 => {
            let Some(category) = Category::named(args.get(2)) else {
                let name = quoted(args.get(2));
                return fail(format!("ERR Unknown category '{name}'"));
            };
            let members = table::each().filter(|command| command.categories.has(category));
            members.map(|command| command.name).collect()
        }
        _ => return too_many(args),
    };
    context.replies.array(names.len());
    names
        .iter()
        .for_each(|name| context.replies.bulk(name.as_bytes()));
    Ok(Next::Go)
}

/// Whether a user may send a command, which is not carried out.
pub(super) fn dryrun(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let users = context.server.access.users();
    let Some(user) = users.find(args.get(2)) else {
        return fail(format!("ERR User '{}' not found", quoted(args.get(2))));
    };
    let asked = args.skip(3);
    let command = table::find(asked.get(0));
    let command = command.and_then(
        |command| match command.parts.is_empty() || asked.len() == 1 {
            true => Some(command),
            false => command.part(asked.get(1)),
        },
    );
    let Some(command) = command else {
        let name = quoted(asked.get(0));
        return fail(format!("ERR Command '{name}' not found"));
    };
    if !command.accepts(asked.len()) {
        return Err(wrong_number(command.name));
    }
    match permit::check_user(user, command, asked) {
        Ok(()) => context.replies.ok(),
        Err(Denied::Command) => {
            let name = command.name;
            let text = format!("This user has no permissions to run the '{name}' command");
            context.replies.bulk(text.as_bytes());
        }
        Err(Denied::Key(place)) => {
            let key = quoted(asked.get(place));
            let text = format!("This user has no permissions to access the '{key}' key");
            context.replies.bulk(text.as_bytes());
        }
    }
    Ok(Next::Go)
}

/// So many random bits in hexadecimal digits, for a password.
pub(super) fn genpass(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let bits = match args.len() {
        2 => 256,
        3 => integer(args.get(2))?,
        _ => return too_many(args),
    };
    if !(1..=4096).contains(&bits) {
        return fail(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
             number up to 4096",
        );
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    if rand::fill(&mut bytes).is_err() {
        return fail("ERR the system has no random numbers");
    }
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    context.replies.bulk(&text.as_bytes()[..digits]);
    Ok(Next::Go)
}

/// Commands that change users, or read or write them elsewhere.
pub(super) fn read_only(_context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    fail("ERR users stand in strait.toml, as [[grid.user]], and 'strait reload' reads it")
}

pub(super) fn log(_context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    fail(
        "ERR what users were denied stands in the gateway's log, and is counted in \
         strait_grid_denied_total and strait_grid_wrong_passwords_total",
    )
}

/// As Redis has it for subcommands with an argument that may be left out.
fn too_many<T>(args: Args<'_>) -> Result<T, CommandError> {
    let part = quoted(args.get(1));
    fail(format!(
        "ERR unknown subcommand or wrong number of arguments for '{part}'. Try ACL HELP."
    ))
}

fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned()
}
