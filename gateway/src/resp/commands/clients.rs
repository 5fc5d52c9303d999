//! `CLIENT`: who is connected.

use super::super::client::{ClientId, ClientInfo};
use super::super::number::parse_u64;
use super::super::parse::Args;
use super::super::users::Users;
use super::connection::timeout;
use super::{CommandError, Context, Next, Outcome, SYNTAX, fail};

pub(super) const HELP: &str = "\
GETNAME
    Return the name of the current connection.
ID
    Return the ID of the current connection.
INFO
    Return information about the current client connection.
KILL <ip:port>
    Kill connection made from <ip:port>.
KILL <option> <value> [<option> <value> [...]]
    Kill connections. Options are:
    * ADDR <ip:port>
      Kill connections made from the specified address
    * ID <client-id>
      Kill the connection with that ID.
    * LADDR <ip:port>
      Kill connections made to specified local address
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Kill connections by type. All are normal.
    * USER <username>
      Kill connections authenticated by <username>.
    * SKIPME (YES|NO)
      Skip killing current connection (default: yes).
LIST [options ...]
    Return information about client connections. Options:
    * ID <client-id> [<client-id> ...]
      Return these clients.
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Return clients of specified type.
UNPAUSE
    Stop the current client pause, resuming traffic.
PAUSE <timeout> [WRITE|ALL]
    Suspend all, or just write, commands on data for <timeout> milliseconds.
REPLY ON
    Return OK. Replies cannot be switched off.
SETINFO <option> <value>
    Set LIB-NAME or LIB-VER, as CLIENT LIST shows them.
SETNAME <name>
    Assign the name <name> to the current connection.
NO-EVICT (ON|OFF)
    Return OK: no client is evicted.
NO-TOUCH (ON|OFF)
    Return OK: reading changes nothing.";

/// Longest name that a client may give itself.
const NAME_BYTES_MAX: usize = 1024;

/// Reads a client's name for itself.
pub(super) fn client_name(name: &[u8]) -> Result<String, CommandError> {
    match std::str::from_utf8(name) {
        Ok(name)
            if name.len() <= NAME_BYTES_MAX
                && name.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) =>
        {
            Ok(name.to_owned())
        }
        Ok(_) | Err(_) => {
            fail("ERR Client names cannot contain spaces, newlines or special characters.")
        }
    }
}

pub(super) fn id(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.count(context.session.entered.id().0);
    Ok(Next::Go)
}

pub(super) fn getname(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let info = context.session.entered.info();
    match info.filter(|info| !info.name.is_empty()) {
        Some(info) => context.replies.bulk(info.name.as_bytes()),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

pub(super) fn setname(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let name = client_name(args.get(2))?;
    context.session.entered.update(|info| info.name = name);
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn setinfo(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = client_name(args.get(3))?;
    let entered = &context.session.entered;
    if args.is(2, "LIB-NAME") {
        entered.update(|info| info.lib_name = value);
    } else if args.is(2, "LIB-VER") {
        entered.update(|info| info.lib_version = value);
    } else {
        let option = String::from_utf8_lossy(args.get(2)).into_owned();
        return fail(format!("ERR Unrecognized option '{option}'"));
    }
    context.replies.ok();
    Ok(Next::Go)
}

/// What is listed of a client is what it did last: for who asks, that is this.
fn note_myself(context: &Context<'_>) {
    let session = &context.session;
    let number = session.last_command();
    session.entered.saw(context.now_ms, number);
}

pub(super) fn info(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    note_myself(context);
    let info = context.session.entered.info();
    let line = info.map_or_else(String::new, |info| info.line());
    context.replies.verbatim(&line);
    Ok(Next::Go)
}

/// `NO-EVICT` and `NO-TOUCH`: there is nothing to switch.
pub(super) fn switch(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if !args.is(2, "ON") && !args.is(2, "OFF") {
        return Err(SYNTAX);
    }
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn reply(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.is(2, "OFF") || args.is(2, "SKIP") {
        return fail("ERR replies cannot be switched off: send commands without waiting for them");
    }
    if !args.is(2, "ON") {
        return Err(SYNTAX);
    }
    context.replies.ok();
    Ok(Next::Go)
}

/// Whether that is the type of our clients: all have the same.
fn is_type(word: &[u8]) -> Result<bool, CommandError> {
    let is = |names: &[&str]| {
        names
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    if is(&["normal"]) {
        Ok(true)
    } else if is(&["master", "replica", "slave", "pubsub"]) {
        Ok(false)
    } else {
        let word = String::from_utf8_lossy(word);
        fail(format!("ERR Unknown client type '{word}'"))
    }
}

pub(super) fn list(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    note_myself(context);
    let clients = &context.server.clients;
    let lines = if args.len() == 2 {
        clients.lines(|_| true)
    } else if args.is(2, "TYPE") && args.len() == 4 {
        let all = is_type(args.get(3))?;
        clients.lines(|_| all)
    } else if args.is(2, "ID") && args.len() > 3 {
        let ids = args.from(3).map(|id| parse_u64(id).map(ClientId));
        let Some(ids) = ids.collect::<Option<std::collections::HashSet<_>>>() else {
            return fail("ERR Invalid client ID");
        };
        clients.lines(|client| ids.contains(&client.id))
    } else {
        return Err(SYNTAX);
    };
    context.replies.verbatim(&lines);
    Ok(Next::Go)
}

/// Which connections `CLIENT KILL` means: those for which all of it holds.
#[derive(Debug)]
struct Victims {
    id: Option<ClientId>,
    address: Option<String>,
    local_address: Option<String>,
    user: Option<String>,
    normal: bool,
    skip_me: bool,
}

impl Victims {
    fn parse(args: Args<'_>, users: &Users) -> Result<Self, CommandError> {
        let mut victims = Self {
            id: None,
            address: None,
            local_address: None,
            user: None,
            normal: true,
            skip_me: true,
        };
        if !args.len().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        for place in (2..args.len()).step_by(2) {
            let value = args.get(place + 1);
            let text = String::from_utf8_lossy(value).into_owned();
            if args.is(place, "ID") {
                let id = parse_u64(value).filter(|id| *id > 0);
                let Some(id) = id else {
                    return fail("ERR client-id should be greater than 0");
                };
                victims.id = Some(ClientId(id));
            } else if args.is(place, "TYPE") {
                victims.normal = is_type(value)?;
            } else if args.is(place, "ADDR") {
                victims.address = Some(text);
            } else if args.is(place, "LADDR") {
                victims.local_address = Some(text);
            } else if args.is(place, "USER") {
                if users.find(value).is_none() {
                    return fail(format!("ERR No such user '{text}'"));
                }
                victims.user = Some(text);
            } else if args.is(place, "SKIPME") && args.is(place + 1, "YES") {
                victims.skip_me = true;
            } else if args.is(place, "SKIPME") && args.is(place + 1, "NO") {
                victims.skip_me = false;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(victims)
    }

    fn include(&self, client: &ClientInfo) -> bool {
        let is = |wanted: &Option<String>, address: &dyn ToString| {
            wanted
                .as_ref()
                .is_none_or(|wanted| *wanted == address.to_string())
        };
        self.normal
            && self.id.is_none_or(|id| id == client.id)
            && is(&self.address, &client.address)
            && is(&self.user, &client.user.name())
            && is(&self.local_address, &client.listener.local_address())
    }
}

pub(super) fn kill(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let by_address = args.len() == 3;
    let victims = if by_address {
        Victims {
            id: None,
            address: Some(String::from_utf8_lossy(args.get(2)).into_owned()),
            local_address: None,
            user: None,
            normal: true,
            skip_me: false,
        }
    } else {
        Victims::parse(args, &context.server.access.users())?
    };
    let me = context.session.entered.id();
    let clients = &context.server.clients;
    let killed = clients.kill(|client| client.id != me && victims.include(client));
    let info = context.session.entered.info();
    let suicide = !victims.skip_me && info.is_some_and(|info| victims.include(&info));
    match killed + u64::from(suicide) {
        0 if by_address => return fail("ERR No such client"),
        _ if by_address => context.replies.ok(),
        count => context.replies.count(count),
    }
    Ok(if suicide { Next::Close } else { Next::Go })
}

/// `CLIENT PAUSE milliseconds [WRITE | ALL]`: until then data stands still, for clients.
pub(super) fn pause(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let writes_only = match args.len() {
        3 => false,
        4 if args.is(3, "ALL") => false,
        4 if args.is(3, "WRITE") => true,
        4 => return fail("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        _ => return Err(SYNTAX),
    };
    // 0 is no time here.
    let for_ms = timeout(args.get(2))?.unwrap_or_default().as_millis() as u64;
    let until_ms = context.now_ms.saturating_add(for_ms);
    context.server.pause.set(until_ms, writes_only);
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn unpause(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.server.pause.end();
    context.replies.ok();
    Ok(Next::Go)
}
