//! `COMMAND`: what commands there are. All of it comes from the table.

use super::super::glob;
use super::super::parse::Args;
use super::super::reply::Replies;
use super::table::{self, Command};
use super::{Context, Next, Outcome, SYNTAX, fail};

pub(super) const HELP: &str = "\
(no subcommand)
    Return details about all commands.
COUNT
    Return the total number of commands in this server.
LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]
    Return a list of all commands in this server.
INFO [<command-name> ...]
    Return details about multiple commands.
    If no command names are given, details for all commands are returned.
DOCS [<command-name> ...]
    Return an empty map: see the gateway's documentation.
GETKEYS <full-command>
    Return the keys from a full command.";

pub(super) fn all(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let all = table::all();
    context.replies.array(all.len());
    all.iter()
        .for_each(|command| describe(context.replies, command));
    Ok(Next::Go)
}

pub(super) fn count(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.count(table::all().len() as u64);
    Ok(Next::Go)
}

/// Clients use these for hints while typing only.
pub(super) fn docs(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.map(0);
    Ok(Next::Go)
}

/// The command that a name like `get` or `client|list` stands for.
fn named(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        Some(bar) => table::find(&name[..bar])?.part(&name[bar + 1..]),
        None => table::find(name),
    }
}

pub(super) fn info(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 2 {
        return all(context, args);
    }
    context.replies.array(args.len() - 2);
    for name in args.from(2) {
        match named(name) {
            Some(command) => describe(context.replies, command),
            None => context.replies.null(),
        }
    }
    Ok(Next::Go)
}

/// Categories of Redis's access lists that a command belongs to, those by type of data apart.
fn categories(command: &Command) -> impl Iterator<Item = &'static str> {
    let has = |flag| command.flags.contains(&flag);
    let all = [
        ("@write", has("write")),
        ("@read", has("readonly")),
        ("@fast", has("fast")),
        ("@slow", !has("fast")),
        ("@admin", has("admin")),
        ("@dangerous", has("admin")),
        ("@blocking", has("blocking")),
    ];
    all.into_iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| name)
}

fn describe(replies: &mut Replies, command: &Command) {
    let (first, last, step) = command.keys;
    replies.array(10);
    replies.bulk(command.name.as_bytes());
    replies.integer(i64::from(command.arity));
    replies.set(command.flags.len());
    command.flags.iter().for_each(|flag| replies.simple(flag));
    for number in [first, last, step] {
        replies.integer(i64::from(number));
    }
    replies.set(categories(command).count());
    categories(command).for_each(|name| replies.simple(name));
    // Tips, key specifications.
    (0..2).for_each(|_| replies.array(0));
    replies.array(command.parts.len());
    command
        .parts
        .iter()
        .for_each(|part| describe(replies, part));
}

pub(super) fn list(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = args.get(4);
    let wanted: Box<dyn Fn(&Command) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "FILTERBY") && args.is(3, "PATTERN") => {
            let pattern = value.to_ascii_lowercase();
            Box::new(move |command| glob::matches(&pattern, command.name.as_bytes()))
        }
        5 if args.is(2, "FILTERBY") && args.is(3, "ACLCAT") => Box::new(|command| {
            let is_it = |name: &str| name.as_bytes()[1..].eq_ignore_ascii_case(value);
            categories(command).any(is_it)
        }),
        // There are no modules.
        5 if args.is(2, "FILTERBY") && args.is(3, "MODULE") => Box::new(|_| false),
        _ => return Err(SYNTAX),
    };
    let found: Vec<_> = table::each().filter(|command| wanted(command)).collect();
    context.replies.array(found.len());
    for command in found {
        context.replies.bulk(command.name.as_bytes());
    }
    Ok(Next::Go)
}

pub(super) fn getkeys(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let asked = table::find(args.get(2));
    let asked = asked.and_then(|command| match command.parts.is_empty() {
        true => Some(command),
        false => command.part(args.get(3)),
    });
    let Some(command) = asked else {
        return fail("ERR Invalid command specified");
    };
    let len = args.len() - 2;
    if !command.accepts(len) {
        return fail("ERR Invalid number of arguments specified for command");
    }
    let (first, last, step) = match command.name {
        "xread" => match (1..len).find(|place| args.is(place + 2, "STREAMS")) {
            Some(streams) => (streams + 1, streams + (len - streams) / 2, 1),
            None => return fail("ERR Invalid arguments specified for command"),
        },
        _ => {
            let (first, last, step) = command.keys;
            // Before the end, if it is less than 0.
            let last = if last < 0 { len as i64 } else { 0 } + i64::from(last);
            (first as usize, last as usize, step as usize)
        }
    };
    if first == 0 {
        return fail("ERR The command has no key arguments");
    }
    let keys = (first..=last).step_by(step.max(1));
    context.replies.array(keys.clone().count());
    keys.for_each(|place| context.replies.bulk(args.get(place + 2)));
    Ok(Next::Go)
}
