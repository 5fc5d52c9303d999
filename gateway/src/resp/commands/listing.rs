//! `COMMAND`: what commands there are. All of it comes from the table.

use super::super::glob;
use super::super::parse::Args;
use super::super::reply::Replies;
use super::categories::Category;
use super::table::{self, Command};
use super::{Context, Next, Outcome, SYNTAX, fail, permit};

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

pub(super) fn info(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 2 {
        return all(context, args);
    }
    context.replies.array(args.len() - 2);
    for name in args.from(2) {
        match table::named(name) {
            Some(command) => describe(context.replies, command),
            None => context.replies.null(),
        }
    }
    Ok(Next::Go)
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
    let categories: Vec<_> = command.categories.each().collect();
    replies.set(categories.len());
    for category in categories {
        replies.simple(&format!("@{}", category.name()));
    }
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
        5 if args.is(2, "FILTERBY") && args.is(3, "ACLCAT") => {
            let category = Category::named(value);
            Box::new(move |command| category.is_some_and(|it| command.categories.has(it)))
        }
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
    let asked_args = args.skip(2);
    if !command.accepts(asked_args.len()) {
        return fail("ERR Invalid number of arguments specified for command");
    }
    let places = match permit::key_places(command, asked_args) {
        Some(places) if places.len() == 0 => return fail("ERR The command has no key arguments"),
        Some(places) => places,
        None => return fail("ERR Invalid arguments specified for command"),
    };
    context.replies.array(places.len());
    places.for_each(|place| context.replies.bulk(asked_args.get(place)));
    Ok(Next::Go)
}
