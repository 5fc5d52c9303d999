//! What a client may send instead: commands, a wait for more or a protocol error, however the bytes
//! arrive.

use std::path::Path;

use strait_fuzz::Target;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::io::BufReader;

use super::super::parse::{Parsed, Parser};
use super::same_as_redis::reply;
use super::*;
use crate::grid::Flusher;

#[test]
fn requests() {
    let target = Target {
        name: "resp",
        corpora: &[Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/corpus/resp"
        ))],
        memory_bytes_max: 1 << 20,
        per_mille: 1000,
    };
    let (mut parser, mut again) = (Parser::default(), Parser::default());
    let mut commands = 0;
    target.run(|input| {
        let mut rest = input;
        for authenticated in [true, false, true] {
            match parser.parse(rest, authenticated) {
                Ok(Parsed::Command(len)) => {
                    commands += 1;
                    let (command, after) = rest.split_at(len);
                    // The same without what follows, and not before it is whole.
                    assert_eq!(
                        again.parse(command, authenticated),
                        Ok(Parsed::Command(len))
                    );
                    let (args, same) = (parser.args(rest), again.args(command));
                    assert!((0..=args.len()).all(|n| args.get(n) == same.get(n)));
                    let cut = again.parse(&command[..len - 1], authenticated);
                    assert!(matches!(cut, Ok(Parsed::Incomplete(_))), "{cut:?}");
                    rest = after;
                }
                Ok(Parsed::Incomplete(needed)) => {
                    assert!(needed > rest.len());
                    break;
                }
                Err(_) => break,
            }
        }
    });
    assert!(commands > 0, "no command was understood");
}

/// Arguments that commands know, or nearly.
const WORDS: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "3",
    "10",
    "1000",
    "-1000",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e9",
    "1.5",
    "*",
    "-",
    "+",
    "(1-1",
    "1-1",
    "1-*",
    "5",
    "$",
    ">",
    "~",
    "=",
    "counter",
    "hash",
    "log",
    "nosuch",
    "west.log",
    "field",
    "[a-",
    "a|b",
    "get",
    "client|list",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "PERSIST",
    "KEEPTTL",
    "NX",
    "XX",
    "GT",
    "LT",
    "GET",
    "COUNT",
    "MATCH",
    "TYPE",
    "WITHVALUES",
    "STREAMS",
    "MAXLEN",
    "MINID",
    "LIMIT",
    "NOMKSTREAM",
    "FULL",
    "SAMPLES",
    "ID",
    "ADDR",
    "LADDR",
    "SKIPME",
    "YES",
    "USER",
    "default",
    "normal",
    "FILTERBY",
    "PATTERN",
    "ACLCAT",
    "slowlog-max-len",
    "slowlog-log-slower-than",
    "maxmemory",
    "LIB-NAME",
    "ON",
    "OFF",
    "\r\n+OK",
    "\u{1f980}",
];

/// They wait, or end the connection.
const LEFT_OUT: &[&str] = &[
    "wait",
    "waitaof",
    "quit",
    "client|kill",
    "client|pause",
    "auth",
    "hello",
];

#[tokio::test]
async fn commands_with_any_arguments_are_answered() {
    let site = Site::start(None).await;
    // Else writes would wait for the disk once the window of loss is over.
    let flusher = Flusher::spawn(site.grid.clone()).unwrap();
    let mut stream = BufReader::new(site.client().await.0);
    let names: Vec<_> = commands::names()
        .map(|(name, _)| name)
        .filter(|name| !LEFT_OUT.contains(name))
        .collect();
    assert!(names.len() > 100);
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..20_000 {
        let name = names.choose(&mut random).unwrap();
        let mut words: Vec<&str> = name.split('|').collect();
        let more = random.random_range(0..6);
        words.extend((0..more).map(|_| WORDS.choose(&mut random).unwrap()));
        let mut sent = format!("*{}\r\n", words.len());
        for word in &words {
            sent += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, reply(&mut stream)).await;
        let answer = answer.unwrap_or_else(|_| panic!("seed {seed}, {round}: {words:?}"));
        let kind = answer.bytes().next().unwrap_or(0);
        assert!(
            b"+-:$*".contains(&kind),
            "seed {seed}, {round}: {words:?} gave {answer:?}"
        );
    }
    site.stop().await;
    tokio::task::spawn_blocking(move || flusher.stop())
        .await
        .unwrap();
}
