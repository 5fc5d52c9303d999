//! `HELP` of commands that consist of others.

use super::super::parse::Args;
use super::{Context, Next, Outcome, table};

/// Lines of a family's help, after Redis's own first and before its last.
pub(super) fn help(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(family) = table::find(args.get(0)) else {
        return Err(super::unknown(args));
    };
    let name = family.name.to_ascii_uppercase();
    let first = format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let last = ["HELP", "    Prints this help."];
    let lines: Vec<_> = std::iter::once(first.as_str())
        .chain(family.help.lines())
        .chain(last)
        .collect();
    context.replies.array(lines.len());
    lines.iter().for_each(|line| context.replies.simple(line));
    Ok(Next::Go)
}
