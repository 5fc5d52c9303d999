//! `MULTI` … `EXEC`: commands that are carried out together, no other client's between them; and
//! `WATCH`, without whose keys standing still they are not.

use std::collections::HashMap;

use super::super::parse::Args;
use super::super::reply::Replies;
use super::{Command, Context, Later, Next, Outcome, carry_out, fail, logs, permit};
use crate::grid::{Feed, OpError, ReadAhead};

/// What a transaction may hold, its bookkeeping included: other clients wait while it runs.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Once the replies of a transaction are this long, nothing more is read in it.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// Names that one client may watch, their bookkeeping included.
const WATCHED_BYTES_MAX: usize = 1 << 20;
/// What a watched key takes besides its name.
const WATCHED_KEY_BYTES: usize = 64;

/// Commands that wait for `EXEC`.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each command, and where its arguments end among `ranges`.
    commands: Vec<(&'static Command, usize)>,
    /// Where the arguments lie in `bytes`.
    ranges: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    /// A command was refused: none of the others will be carried out.
    is_spoilt: bool,
}

impl Queue {
    /// Takes a copy of a command and says so.
    pub(super) fn push(
        &mut self,
        command: &'static Command,
        args: Args<'_>,
        replies: &mut Replies,
    ) {
        let bytes: usize = args.from(0).map(<[u8]>::len).sum();
        if self.bytes() + bytes + args.len() * size_of::<(usize, usize)>() > QUEUE_BYTES_MAX {
            self.spoil();
            return replies.error("ERR the transaction is longer than 16777216 bytes");
        }
        for arg in args.from(0) {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(arg);
            self.ranges.push((from, self.bytes.len()));
        }
        self.commands.push((command, self.ranges.len()));
        replies.simple("QUEUED");
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
            + size_of_val(self.ranges.as_slice())
            + size_of_val(self.commands.as_slice())
    }

    /// Each command with its arguments.
    fn each(&self) -> impl Iterator<Item = (&'static Command, Args<'_>)> {
        let starts = std::iter::once(0).chain(self.commands.iter().map(|(_, to)| *to));
        let commands = self.commands.iter().zip(starts);
        commands.map(|((command, to), from)| {
            (*command, Args::new(&self.bytes, &self.ranges[from..*to]))
        })
    }

    /// Whether there is a command in it for which `holds`.
    pub(super) fn has(&self, holds: impl Fn(&Command) -> bool) -> bool {
        self.commands.iter().any(|(command, _)| holds(command))
    }

    /// For what there must be room in memory: where there is for logs, there is for counters.
    pub(super) fn needs_room(&self) -> Option<Feed> {
        let needed = self
            .commands
            .iter()
            .filter_map(|(command, _)| command.needs_room());
        needed.max_by_key(|feed| *feed as usize)
    }

    /// A command was refused.
    pub(super) fn spoil(&mut self) {
        *self = Self {
            is_spoilt: true,
            ..Self::default()
        };
    }
}

pub(super) fn multi(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    if context.session.queue.is_some() {
        return fail("ERR MULTI calls can not be nested");
    }
    context.session.queue = Some(Box::default());
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn discard(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    if context.session.queue.take().is_none() {
        return fail("ERR DISCARD without MULTI");
    }
    context.session.watch = None;
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn watch(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if context.session.queue.is_some() {
        return fail("ERR WATCH inside MULTI is not allowed");
    }
    let (watch, held) = context.session.watch.get_or_insert_default();
    for key in args.from(1) {
        *held += key.len() + WATCHED_KEY_BYTES;
        if *held > WATCHED_BYTES_MAX {
            return fail("ERR more keys are watched than 1048576 bytes hold");
        }
        context.state.watch(key, watch);
    }
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn unwatch(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.session.watch = None;
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn exec(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let Some(queue) = context.session.queue.take() else {
        return fail("ERR EXEC without MULTI");
    };
    let watch = context.session.watch.take();
    if queue.is_spoilt {
        return fail("EXECABORT Transaction discarded because of previous errors.");
    }
    if watch.as_ref().is_some_and(|(watch, _)| watch.is_spoilt()) {
        context.session.ahead = ReadAhead::default();
        context.replies.null_array();
        return Ok(Next::Go);
    }
    if let Some(next) = needs_disk(context, &queue) {
        (context.session.queue, context.session.watch) = (Some(queue), watch);
        return Ok(next);
    }
    context.replies.array(queue.commands.len());
    let start = context.replies.bytes.len();
    for (command, args) in queue.each() {
        if !command.is_write() && context.replies.bytes.len() - start > REPLY_BYTES_MAX {
            context
                .replies
                .error("ERR the transaction's replies are longer than 67108864 bytes");
            continue;
        }
        // Rights may have changed since it was queued.
        if let Err(denied) = permit::check_user(&context.session.user, command, args) {
            context.replies.error(&denied.within_exec().to_string());
            continue;
        }
        match carry_out(context, command, args) {
            // It has waited before it began.
            Next::Go | Next::Close | Next::Full(_) | Next::Thaw(..) | Next::ReadAhead(..) => {}
            // Nobody waits while others wait for him.
            Next::Later(Later::Read(_)) => context.replies.null_array(),
            Next::Later(Later::OnDisk(_)) => context.replies.error(&OpError::OnDisk.to_string()),
            Next::Later(Later::Info(_) | Later::Wait { .. }) => {
                context
                    .replies
                    .error("ERR Command not allowed inside a transaction");
            }
        }
    }
    context.session.ahead = ReadAhead::default();
    Ok(Next::Go)
}

/// What is to be read from the disk before the transaction can begin. That is seen by trying its
/// reads, and asking its trims, as things are before it; where its own trims have a later read go to
/// other blocks, that read gets an error.
fn needs_disk(context: &mut Context<'_>, queue: &Queue) -> Option<Next> {
    let limit = context.server.config.limits.reply_bytes_max;
    let mut added = HashMap::<&[u8], u64>::new();
    let of_logs = |(command, _): &(&Command, _)| command.name.starts_with('x');
    for (command, args) in queue.each().filter(of_logs) {
        // Where its keys are among them differs; one that writes has its key first.
        let keys_max = if command.is_write() { 1 } else { args.len() };
        let mut keys = args.from(1).take(keys_max);
        if !keys.any(|key| context.state.has_cold_entries(key)) {
            continue;
        }
        if command.is_write() {
            let more = added.entry(args.get(1)).or_default();
            *more += u64::from(command.name == "xadd");
            let needs = logs::trim_needs(context.state, args, *more);
            if let Some((log, absent)) = needs
                && context.session.ahead.may_thaw()
            {
                return Some(Next::Thaw(log, absent));
            }
            continue;
        }
        let mut replies = Replies::up_to(limit);
        let mut trial = Context {
            replies: &mut replies,
            server: context.server,
            state: context.state,
            session: context.session,
            now_ms: context.now_ms,
        };
        if let Ok(Next::Later(Later::OnDisk(read))) = (command.run)(&mut trial, args)
            && context.session.ahead.wants(read.needs.0, &read.needs.1)
        {
            let (log, absent) = read.needs;
            return Some(Next::ReadAhead(log, absent));
        }
    }
    None
}
