//! Each with its line and its remedy.

use super::super::*;
use super::{NORTH, WEST, check};

/// `LINE: text` of each mistake.
fn mistakes(text: &str) -> Vec<(usize, String)> {
    match check(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .mistakes()
            .iter()
            .map(|m| (m.line, format!("{}; {}", m.what, m.remedy)))
            .collect(),
    }
}

fn peer(site: &str, key: &str, more: &str) -> String {
    format!("site = \"east\"\n[[peer]]\nsite = \"{site}\"\nkey = \"{key}\"\n{more}\n")
}

#[test]
fn forwards_need_a_peer_a_port_and_a_target() {
    let forward = |listen: &str, peer: &str, more: &str| {
        format!("[[forward]]\nlisten = \"{listen}\"\npeer = \"{peer}\"\n{more}\n")
    };
    let target = "target = \"db:5432\"";
    let first = forward("127.0.0.1:1", "west", target);
    let second = |more: &str| forward("127.0.0.1:2", "west", more);
    for (second, line, what) in [
        (
            forward("127.0.0.1:2", "south", target),
            12,
            "south is no peer",
        ),
        (forward("0.0.0.0:1", "west", target), 11, "is taken"),
        (forward("127.0.0.1:6390", "west", target), 11, "is taken"),
        (second(""), 10, "needs either target"),
        (second("target = \"db\""), 13, "has no port"),
        (second("class = \"x\""), 13, "is no class"),
        (second("bypass = 1"), 13, "is no bypass"),
        (
            "[[sync]]\ndir = \"x\"\nto = \"south:\"".to_owned(),
            12,
            "south is no peer",
        ),
        (
            "[forwarding]\nallow = [\"*:*\"]".to_owned(),
            11,
            "is no list of targets",
        ),
    ] {
        let text = format!("{}{first}{second}", peer("west", WEST, ""));
        let found = mistakes(&text);
        assert!(
            found.iter().any(|(l, w)| *l == line && w.contains(what)),
            "{found:?} {what}"
        );
    }
}

#[test]
fn each_mistake_has_its_line_and_its_remedy() {
    let cases: &[(&str, usize, &str)] = &[
        ("", 1, "site is missing; name this site"),
        ("\nsite = 3", 2, "3 is no text"),
        ("site = \"East\"", 1, "is no site name; use 1 to 32"),
        (
            "site = \"east\"\nsites = 1",
            2,
            "unknown key `sites`; did you mean `site`?",
        ),
        (
            "site = \"east\"\nzzz = 1",
            2,
            "unknown key `zzz`; known here: site, listen",
        ),
        ("site = \"east\"\nsite = \"west\"", 2, "duplicate key"),
        (
            "site = \"east\"\n[[file]]\npattern = \"x\"",
            2,
            "nothing of these files would be kept; say how many",
        ),
        (
            "site = \"east\"\n[[window]]\nto = \"09:00\"\nclass = \"bulk\"\nrate = \"closed\"\nfrom = \"8:00\"",
            6,
            "is no time of the day; write it like \"08:30\"",
        ),
        (
            "site = \"east\"\n[[window]]\nfrom = \"08:00\"\nto = \"24:00\"\nclass = \"control\"\nrate = \"closed\"",
            5,
            "is no class that can wait",
        ),
        (
            "site = \"east\"\n[[window]]\nfrom = \"08:00\"\nto = \"24:00\"\nclass = \"bulk\"\nrate = \"closed\"\ndays = [\"monday\"]",
            7,
            "is no list of days; write them like [\"mon\"",
        ),
        ("site = \"east", 1, "toml.io"),
        (
            "site = \"east\"\nlisten = 1",
            2,
            "listen is no table; write [listen]",
        ),
        (
            "site = \"east\"\n[listen]\nlinks = \"x\"",
            3,
            "did you mean `link`?",
        ),
        (
            "site = \"east\"\n[listen]\nlink = \"east:7440\"",
            3,
            "is no IP address and port",
        ),
        (
            "site = \"east\"\n[listen]\nlink = \"10.0.0.1\"",
            3,
            "is no IP address and port",
        ),
        (
            "site = \"east\"\n[listen]\n\nhttp = \"0.0.0.0:7441\"",
            4,
            "not on loopback",
        ),
        (
            "site = \"east\"\n[listen]\ngrid = \"0.0.0.0:6390\"",
            3,
            "set password",
        ),
        (
            "site = \"east\"\n[listen]\nhttp = \"127.0.0.1:6390\"",
            3,
            "both TCP port 6390",
        ),
        (
            "site = \"east\"\n[listen]\ngrid = \"[::1]:7441\"\nhttp = \"[::1]:7441\"",
            4,
            "both",
        ),
        (
            "site = \"east\"\n[listen]\nhttp_allow_remote = \"yes\"",
            3,
            "write true or false",
        ),
        (
            "site = \"east\"\n[listen]\nadvertise = \"e:1\"",
            3,
            "is no list",
        ),
        (
            "site = \"east\"\n[listen]\nlink_from = [\"192.0.2.0/33\"]",
            3,
            "is no list of networks",
        ),
        (
            "site = \"east\"\n[listen]\nadvertise = [\"e\"]",
            3,
            "has no port",
        ),
        (
            "site = \"east\"\n[grid]\nflush_ms = 0",
            3,
            "0 is out of range; use 1 to 10000",
        ),
        (
            "site = \"east\"\n[grid]\nflush_ms = -5",
            3,
            "-5 is no whole number",
        ),
        (
            "site = \"east\"\n[grid]\nflush_ms = \"50ms\"",
            3,
            "without quotes",
        ),
        (
            "site = \"east\"\n[grid]\nflush = 50",
            3,
            "did you mean `flush_ms`?",
        ),
        (
            "site = \"east\"\n[grid]\nmemory_bytes_max = \"1Gb/s\"",
            3,
            "is not a size",
        ),
        (
            "site = \"east\"\n[grid]\nmemory_bytes_max = 1073741824",
            3,
            "like \"256MiB\"",
        ),
        (
            "site = \"east\"\n[grid]\nmemory_bytes_max = \"1KiB\"",
            3,
            "use 1MiB to 1TiB",
        ),
        (
            "site = \"east\"\n[grid]\ndurability_of = [[\"a\", \"disc\"]]",
            3,
            "\"disc\" is no durability",
        ),
        (
            "site = \"east\"\n[grid]\nclients_max = 0",
            3,
            "out of range",
        ),
        (
            "site = \"east\"\n[grid]\npassword = 7",
            3,
            "write it in quotes",
        ),
        (
            "site = \"east\"\n[history]\nmemory_bytes_max = \"1MiB\"",
            3,
            "use 16MiB",
        ),
        (
            "site = \"east\"\n[history]\ndisk_bytes_max = \"9ZB\"",
            3,
            "is not a size",
        ),
        (
            "site = \"east\"\n[bulk]\ndir = \"../x\"",
            3,
            "goes up with `..`",
        ),
        ("site = \"east\"\n[bulk]\ndir = \"\"", 3, "is no path"),
        (
            "site = \"east\"\n[bulk]\ndir = \".\"",
            3,
            "holds the gateway's own files",
        ),
        (
            "site = \"east\"\n[bulk]\ndir = \"/\"",
            3,
            "holds the gateway's own files",
        ),
        (
            "site = \"east\"\n[bulk]\ndir = \"grid/x\"",
            3,
            "holds the gateway's own files",
        ),
        (
            "site = \"east\"\n[compression]\nlevel = 20",
            3,
            "from 1 to 19",
        ),
        (
            "site = \"east\"\n[compression]\nlevel = \"fast\"",
            3,
            "write \"adaptive\"",
        ),
        (
            "site = \"east\"\n[peer]\nsite = \"west\"",
            2,
            "write [[peer]]",
        ),
        (
            "site = \"east\"\n[[peer]]\nsite = \"west\"",
            2,
            "peer.key is missing",
        ),
        (
            "site = \"east\"\n[[peer]]\nsite = \"west\"\nkey = \"abc\"",
            4,
            "is no key",
        ),
    ];
    for (text, line, part) in cases {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert_eq!(found[0].0, *line, "{text:?}: {found:?}");
        assert!(found[0].1.contains(part), "{text:?}: {found:?}");
    }
}

#[test]
fn peers_must_be_others_and_different() {
    let own_key = PublicKey::from_bytes([9; 32]).to_string();
    let twin = |site: &str, key: &str| {
        peer("west", WEST, "") + &format!("[[peer]]\nsite = \"{site}\"\nkey = \"{key}\"\n")
    };
    let cases = [
        (peer("east", WEST, ""), 3, "own name"),
        (peer("west", &own_key, ""), 4, "own key"),
        (twin("west", NORTH), 7, "peer west is already in line 3"),
        (
            twin("north", WEST),
            8,
            "peer north has the key of peer west",
        ),
        (
            twin("north", NORTH) + "[history]\nmemory_bytes_max = \"20MiB\"",
            10,
            "use \"32MiB\" or more",
        ),
        (peer("west", WEST, "rate = \"100\""), 5, "is not a rate"),
        (
            peer("west", WEST, "rate = \"1bit/s\""),
            5,
            "use 10kbit/s to 1000Gbit/s",
        ),
        (
            peer("west", WEST, "congestion = \"bbr\""),
            5,
            "write \"strait\" or \"cubic\"",
        ),
        (
            peer("west", WEST, "transport = \"udp\""),
            5,
            "write \"auto\", \"quic\" or \"tcp\"",
        ),
        (
            peer("west", WEST, &format!("next_key = \"{own_key}\"")),
            5,
            "own key",
        ),
        (
            peer("west", WEST, "addresses = [\"w:0\"]"),
            5,
            "port from 1 to 65535",
        ),
        (
            peer("west", WEST, "addresses = [\"a b:1\"]"),
            5,
            "host name",
        ),
        (
            peer("west", WEST, "address = \"w:1\""),
            5,
            "did you mean `addresses`?",
        ),
    ];
    for (text, line, part) in cases {
        let found = mistakes(&text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert_eq!(found[0].0, line, "{text:?}: {found:?}");
        assert!(found[0].1.contains(part), "{text:?}: {found:?}");
    }
    assert!(mistakes(&twin("north", NORTH)).is_empty());
}

#[test]
fn listeners_of_the_grid_are_named_and_differ() {
    let grid = |value: &str| format!("site = \"east\"\n[listen]\ngrid = {value}\n");
    let long = format!("\"unix:{}\"", "x".repeat(110));
    for (value, part) in [
        ("[]", "too few"),
        ("[\"127.0.0.1:1\", 7]", "is no text"),
        ("\"unix:\"", "it is no path"),
        ("\"unix:../x\"", "goes up"),
        (&long, "at most 107 bytes"),
        (
            "[\"unix:x\", \"unix:x\"]",
            "names unix:/data/x and unix:/data/x",
        ),
        ("[\"127.0.0.1:1\", \"127.0.0.1:1\"]", "another port"),
        (
            "[\"127.0.0.1:1\", \"127.0.0.1:7441\"]",
            "listen.http are both",
        ),
        ("[\"unix:x\", \"0.0.0.0:6390\"]", "is open to all"),
        ("\"tls:x\"", "stands no IP address and port"),
        ("\"tls:127.0.0.1:1\"", "has no certificate"),
        (
            "[\"tls:127.0.0.1:1\", \"127.0.0.1:1\"]\n[grid.tls]\ncert = \"c\"\nkey = \"k\"",
            "another port",
        ),
        (
            "\"tls:0.0.0.0:1\"\n[grid.tls]\ncert = \"c\"\nkey = \"k\"",
            "is open to all",
        ),
        (
            "\"127.0.0.1:1\"\n[grid.tls]\ncert = \"c\"",
            "needs both cert and key",
        ),
        ("\"unix:x\"\nunix_mode = 770", "permissions"),
        ("\"unix:x\"\nunix_mode = \"0999\"", "permissions"),
    ] {
        let found = mistakes(&grid(value));
        assert_eq!(found.len(), 1, "{value}: {found:?}");
        assert!(found[0].1.contains(part), "{value}: {found:?}");
    }
    let several = "[\"0.0.0.0:6390\", \"unix:x\"]\n[grid]\npassword = { file = \"p\" }";
    let config = check(&grid(several)).unwrap();
    assert_eq!(config.listen.grid[1].to_string(), "unix:/data/x");
    let file = Secret::File("/data/p".into());
    assert_eq!(config.grid.password, Some(file));
    // Who must show a certificate needs no password.
    let files = "cert = \"c\"\nkey = \"/k\"\nclient_ca = \"ca\"";
    let config = check(&grid(&format!("\"tls:0.0.0.0:1\"\n[grid.tls]\n{files}"))).unwrap();
    let tls = TlsSettings {
        cert: "/data/c".into(),
        key: "/k".into(),
        client_ca: Some("/data/ca".into()),
    };
    assert_eq!(config.grid.tls, Some(tls));
}

#[test]
fn users_of_the_grid_have_names_rights_and_passwords() {
    let section = |text: &str| {
        let head = "site = \"east\"\n[listen]\ngrid = \"0.0.0.0:6390\"\n[grid]\npassword = \"x\"\n";
        format!("{head}[[grid.user]]\n{text}\n")
    };
    let hash = "0".repeat(64);
    for (text, part) in [
        ("rules = \"on nopass\"", "grid.user.name is missing"),
        ("name = \"a b\"\nrules = \"off\"", "no name of a user"),
        ("name = \"a\"", "grid.user.rules is missing"),
        ("name = \"a\"\nrules = \"~a\"", "neither on nor off"),
        (
            "name = \"a\"\nrules = \"on +foo\"",
            "`+foo` names no command",
        ),
        ("name = \"a\"\nrules = \"on ~a\"", "it has no password"),
        ("name = \"a\"\nrules = \"on nopass\"", "is open to all"),
        (
            "name = \"a\"\nrules = \"off\"\npassword_sha256 = \"0\"",
            "no SHA-256 of a password",
        ),
        (
            "name = \"a\"\nrules = \"off\"\nchannels = \"x\"",
            "unknown key `grid.user.channels`",
        ),
        (
            "name = \"a\"\nrules = \"off\"\n[[grid.user]]\nname = \"a\"\nrules = \"off\"",
            "two sections define the user a",
        ),
        (
            "name = \"default\"\nrules = \"off\"",
            "password of the user default, which",
        ),
    ] {
        let found = mistakes(&section(text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].1.contains(part), "{text}: {found:?}");
    }
    let open = "site = \"east\"\n[[grid.user]]\nname = \"a\"\nrules = \"on >x\"\n";
    let found = mistakes(open);
    assert!(found[0].1.contains("holds nobody back"), "{found:?}");
    // What may hold a password is not shown.
    let error = check(&section(
        "name = \"a\"\nrules = \"on >hidden (>hidden foo)\"",
    ))
    .unwrap_err();
    assert!(!error.to_string().contains("hidden"), "{error}");
    for (text, holds_secret) in [
        (
            "rules = \"on ~a\"\npassword = { env = \"A\" }".to_owned(),
            false,
        ),
        ("rules = \"on >x\"".to_owned(), true),
        (
            format!("rules = \"off\"\npassword_sha256 = \"{hash}\""),
            true,
        ),
        ("rules = \"on ~a\"\npassword = \"secret\"".to_owned(), true),
    ] {
        let text = format!("name = \"a\"\n{text}");
        let config = check(&section(&text).replace("\"x\"\n[[", "{ env = \"B\" }\n[[")).unwrap();
        assert_eq!(config.holds_password(), holds_secret, "{text}");
        assert_eq!(config.grid.users[0].user.name(), "a");
    }
}

#[test]
fn a_password_has_one_place() {
    for (value, part) in [
        ("{ file = 7 }", "neither a file nor a variable"),
        (
            "{ file = \"a\", env = \"b\" }",
            "neither a file nor a variable",
        ),
        ("{ vault = \"a\" }", "neither a file nor a variable"),
        ("{ env = \"a=b\" }", "neither a file nor a variable"),
        ("{ file = \"../a\" }", "goes up"),
    ] {
        let found = mistakes(&format!("site = \"east\"\n[grid]\npassword = {value}\n"));
        assert_eq!(found.len(), 1, "{value}: {found:?}");
        assert!(found[0].1.contains(part), "{value}: {found:?}");
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_their_lines() {
    let text = "sit = \"east\"\n[grid]\nflush_ms = 0\npassword = 5\n[bulk]\ndir = \"..\"\n";
    let errors = check(text).unwrap_err();
    let lines: Vec<_> = errors.mistakes().iter().map(|m| m.line).collect();
    assert_eq!(lines, [1, 1, 3, 4, 6]);
    let shown = errors.to_string();
    assert!(shown.contains("/data/strait.toml:3: grid.flush_ms: 0 is out of range"));
    assert!(
        shown.contains("\n  3 | flush_ms = 0\n    |            ^"),
        "{shown}"
    );
    assert!(
        !shown.contains("password = 5"),
        "a line with a secret is not shown: {shown}"
    );
}
