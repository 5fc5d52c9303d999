//! Users and their rights, as Redis has them.

use std::fmt::Write;

use tokio::io::BufReader;

use super::super::commands;
use super::same_as_redis::{Redis, answers};
use super::*;

/// Of the users of these tests: the name, and rules that Redis takes, too.
type Rules = (&'static str, &'static str);

const ANN: Rules = (
    "ann",
    "on >secret %R~r:* %W~w:* ~b:* +@all -@dangerous -incrby",
);
const BOB: Rules = (
    "bob",
    "on >secret ~b:* +@connection +@transaction (%R~r:* +get +xread) (~c:* +@write)",
);
const CY: Rules = (
    "cy",
    "on >secret allkeys +@read +client|id +acl|whoami -hget",
);
const OFF: Rules = ("off", "sanitize-payload off >secret ~* +@all");
const OPEN: Rules = ("open", "on nopass ~o:* +set +ping");
const ALL: [Rules; 5] = [ANN, BOB, CY, OFF, OPEN];

fn users(rules: &[Rules]) -> Admission {
    let users = rules
        .iter()
        .map(|(name, rules)| User::parse(name, rules).unwrap());
    Admission {
        users: Users::new(None, users.collect()),
        tls: None,
    }
}

async fn started(rules: &[Rules]) -> Site {
    let config = RespConfig {
        admission: users(rules),
        clients_max: 100,
        ..resp_config()
    };
    Site::with_config(grid_config(None), config).await
}

/// The same users at a redis-server.
async fn redis_with(rules: &[Rules]) -> Option<Redis> {
    let Some(redis) = Redis::start() else {
        eprintln!("left out: redis-server 7.0 is not installed");
        return None;
    };
    let mut stream = BufReader::new(redis.connect().await);
    for (name, rules) in rules {
        let command = format!("ACL SETUSER {name} reset {rules}");
        let said = answers(&mut stream, [&*command]).await;
        assert_eq!(said[0].1, "+OK\r\n", "{command}");
    }
    Some(redis)
}

/// The same commands to both, and the same answers.
async fn compare(site: &Site, redis: &Redis, commands: &[&str]) {
    let mut ours = BufReader::new(site.client().await.0);
    let mut theirs = BufReader::new(redis.connect().await);
    let ours = answers(&mut ours, commands.iter().copied()).await;
    let theirs = answers(&mut theirs, commands.iter().copied()).await;
    let mut differing = String::new();
    for ((command, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        if ours != theirs {
            writeln!(
                differing,
                "{command}\n  strait {ours:?}\n  redis  {theirs:?}"
            )
            .unwrap();
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

/// Every command on keys that a user may read, write, both or neither.
#[tokio::test]
async fn rights_are_those_of_redis() {
    let Some(redis) = redis_with(&ALL).await else {
        return;
    };
    let site = started(&ALL).await;
    let mut asked = Vec::new();
    for (name, words) in commands::names() {
        // Of Redis 7.2; no command of Redis 7.0 itself; answers with lists of its own.
        if ["waitaof", "client|no-touch", "client|setinfo", "quit"].contains(&name) {
            continue;
        }
        let command = name.replace('|', " ");
        let own = command.split(' ').count();
        for (user, _) in ALL {
            for key in ["r:1", "w:1", "b:1", "c:1", "x"] {
                let mut line = format!("ACL DRYRUN {user} {command}");
                match name {
                    "xread" => line += &format!(" STREAMS {key} b:2 0 0"),
                    _ => line += &format!(" {key}").repeat(words - own),
                }
                asked.push(line);
            }
            asked.push(format!("ACL DRYRUN {user} SET w:1 1 GET"));
            asked.push(format!("ACL DRYRUN {user} DEL b:1 w:1 r:1"));
        }
    }
    assert!(asked.len() > 2000, "{}", asked.len());
    let asked: Vec<_> = asked.iter().map(|line| &**line).collect();
    compare(&site, &redis, &asked).await;
    site.stop().await;
}

#[tokio::test]
async fn users_are_told_what_redis_tells_them() {
    let Some(redis) = redis_with(&ALL).await else {
        return;
    };
    let site = started(&ALL).await;
    let script = "\
ACL WHOAMI
ACL USERS
ACL
ACL FOO
ACL WHOAMI x
ACL GETUSER nosuch
ACL GETUSER off
ACL CAT nosuch
ACL CAT a b
ACL GENPASS x
ACL GENPASS 0
ACL GENPASS 5000
ACL DRYRUN nosuch get x
ACL DRYRUN ann nosuch
ACL DRYRUN ann client nosuch
ACL DRYRUN ann get
ACL DRYRUN ann xread x y z
CLIENT KILL USER nosuch
AUTH ann wrong
AUTH off secret
AUTH nosuch secret
AUTH nosuch
ACL WHOAMI
AUTH ann secret
ACL WHOAMI
INCR x
INCR b:1
INCRBY b:1 1
GET r:1
GET w:1
SET w:1 1
SET w:1 1 GET
MGET r:1 w:1
MGET r:1
EXISTS w:1 x
EXISTS w:1
FOO
GET
CONFIG GET x
CLIENT LIST
CLIENT ID x
MULTI
GET x
EXEC
MULTI
INCR b:1
EXEC
HELLO 3 AUTH bob wrong
AUTH bob secret
ACL WHOAMI
ACL LIST
PING
GET r:1
GET c:1
SET c:1 5
MULTI
DISCARD
AUTH cy secret
ACL WHOAMI
GET b:1
HGET h f
HGETALL h
INCR b:1
CLIENT ID x
CLIENT INFO
AUTH open anything
PING
SET o:1 1
SET p:1 1
RESET
ACL WHOAMI
GET b:1";
    let script: Vec<_> = script.lines().collect();
    compare(&site, &redis, &script).await;
    let figures = site.clients.figures();
    assert!(
        figures.denied > 15 && figures.wrong_passwords == 4,
        "{figures:?}"
    );
    site.stop().await;
}

#[tokio::test]
async fn users_are_listed_and_cannot_be_changed() {
    let site = started(&[BOB]).await;
    let mut client = site.client().await;
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let bob = format!(
        "user bob on #{hash} ~b:* resetchannels -@all +@connection +@transaction (%R~r:* resetchannels \
         -@all +get +xread) (~c:* resetchannels -@all +@write)"
    );
    let default = "user default on nopass ~* &* +@all";
    let listed = format!(
        "*2\r\n${}\r\n{bob}\r\n${}\r\n{default}\r\n",
        bob.len(),
        default.len()
    );
    client.expect("ACL LIST\r\n", &listed).await;
    client.expect("ACL CAT transaction\r\n", "*5\r\n").await;
    let rest = "$7\r\ndiscard\r\n$4\r\nexec\r\n$5\r\nmulti\r\n$7\r\nunwatch\r\n$5\r\nwatch\r\n";
    client.expect("", rest).await;
    for command in ["SETUSER bob", "DELUSER bob", "LOAD", "SAVE"] {
        let said = client.line(&format!("ACL {command}\r\n")).await;
        assert!(said.contains("users stand in strait.toml"), "{said}");
    }
    let generated = client.line("ACL GENPASS 5\r\n").await;
    assert_eq!(generated, "$2\r\n");
    site.stop().await;
}

#[tokio::test]
async fn clients_are_known_by_their_user() {
    let site = started(&[ANN, CY]).await;
    let (mut ann, mut cy, mut any) = (
        site.client().await,
        site.client().await,
        site.client().await,
    );
    ann.expect("AUTH ann secret\r\n", "+OK\r\n").await;
    cy.expect("AUTH cy secret\r\n", "+OK\r\n").await;
    any.0
        .write_all(b"CLIENT LIST\r\nCLIENT KILL USER ann\r\nPING\r\n")
        .await
        .unwrap();
    let mut said = String::new();
    while !said.ends_with("+PONG\r\n") {
        said.push(char::from(any.0.read_u8().await.unwrap()));
    }
    for user in ["ann", "cy", "default"] {
        assert_eq!(said.matches(&format!("user={user} ")).count(), 1, "{said}");
    }
    assert!(said.contains(":1\r\n+PONG"), "{said}");
    assert!(ann.closed().await);
    cy.expect("ACL WHOAMI\r\n", "$2\r\ncy\r\n").await;
    site.stop().await;
}

#[tokio::test]
async fn changed_rights_hold_at_once_and_who_is_gone_is_cut_off() {
    const BEFORE: [Rules; 2] = [("ann", "on >a ~* +@all"), ("bob", "on >b ~* +@all")];
    let site = started(&BEFORE).await;
    let (mut ann, mut bob) = (site.client().await, site.client().await);
    ann.expect("AUTH ann a\r\n", "+OK\r\n").await;
    bob.expect("AUTH bob b\r\n", "+OK\r\n").await;
    ann.expect(
        "INCR n\r\nMULTI\r\nINCR n\r\nGET n\r\n",
        ":1\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n",
    )
    .await;
    site.access
        .change(users(&[("ann", "on >other ~* +@read +exec")]));
    let denied = "*2\r\n-NOPERM ACLs rules changed between the moment the transaction was accumulated \
                  and the EXEC call. This command is no longer allowed for the following reason: no \
                  permission to execute the command or subcommand\r\n$1\r\n1\r\n";
    ann.expect("EXEC\r\n", denied).await;
    let said = ann.line("INCR n\r\n").await;
    assert_eq!(
        said,
        "-NOPERM this user has no permissions to run the 'incr' command\r\n"
    );
    assert!(bob.closed().await);
    let said = site.client().await.line("AUTH bob b\r\n").await;
    assert!(said.starts_with("-WRONGPASS"), "{said}");
    site.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_reads_nothing_that_it_may_no_longer_read() {
    let site = started(&[("ann", "on >a ~* +@all")]).await;
    let mut ann = site.client().await;
    ann.expect("AUTH ann a\r\n", "+OK\r\n").await;
    ann.0
        .write_all(b"XREAD BLOCK 0 STREAMS log $\r\n")
        .await
        .unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while site.clients.figures().blocked == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it never waits");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    site.access.change(users(&[("ann", "on >a ~other +@all")]));
    let mut writer = site.client().await;
    writer.line("XADD log * a 1\r\n").await;
    let said = ann.line("").await;
    assert!(
        said.starts_with("-NOPERM this user has no permissions to access one"),
        "{said}"
    );
    site.stop().await;
}

/// The default user itself may have fewer rights, or be off.
#[tokio::test]
async fn the_default_user_is_one_of_them() {
    let site = started(&[("default", "on nopass ~public:* +@all"), ANN]).await;
    let mut client = site.client().await;
    client.expect("INCR public:n\r\n", ":1\r\n").await;
    assert!(client.line("INCR n\r\n").await.starts_with("-NOPERM"));
    site.access.change(users(&[("default", "off"), ANN]));
    let mut client = site.client().await;
    assert!(client.line("PING\r\n").await.starts_with("-NOAUTH"));
    client.expect("AUTH ann secret\r\n", "+OK\r\n").await;
    site.stop().await;
}
