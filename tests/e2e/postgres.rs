//! PostgreSQL over strait: its WAL archive, and its clients and standbys through a forward.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use strait_tests::postgres::{POSTGRES_USER, Postgres, query, reachable_binary};
use strait_tests::{Cable, Site, eventually, free_port};

/// Two sites; PostgreSQL's user may use east's gateway.
fn sites_for_postgres() -> (Site, Site, Cable) {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let cable = Cable::to(west.link);
    east.pair_with(&west, Some(cable.address()));
    west.pair_with(&east, None);
    let config = std::fs::read_to_string(east.config()).unwrap();
    let group = format!("group = \"{POSTGRES_USER}\"");
    std::fs::write(
        east.config(),
        config.replace("# group = \"postgres\"", &group),
    )
    .unwrap();
    east.start();
    west.start();
    (east, west, cable)
}

#[test]
fn archive_command_and_restore_command_bring_a_lost_server_back() {
    let (east, mut west, cable) = sites_for_postgres();
    let programs = tempfile::tempdir().unwrap();
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.path(), everyone).unwrap();
    let strait = format!(
        "{} --data {}",
        reachable_binary(programs.path()).display(),
        east.data().display()
    );
    let primary = Postgres::start(&format!(
        "wal_level = replica\narchive_mode = on\n\
         archive_command = '{strait} push --quiet --no-replace %p west:wal/%f'"
    ));
    primary
        .query("create table t (n int); insert into t select generate_series(1, 1000)")
        .unwrap();
    let standby = Postgres::vacant();
    standby.seed_from(primary.port, &["-X", "none"]);

    // The archive is away for a while, and its gateway is killed: PostgreSQL notices nothing.
    cable.cut();
    let switch = "insert into t select generate_series(1001, 2000); select pg_switch_wal()";
    primary.query(switch).unwrap();
    west.kill();
    west.start();
    cable.heal();
    let last = "select pg_walfile_name(pg_current_wal_lsn())";
    primary
        .query("insert into t select generate_series(2001, 3000)")
        .unwrap();
    let last = primary.query(last).unwrap();
    primary.query("select pg_switch_wal()").unwrap();
    eventually("all WAL is archived", 120, || {
        let archived = primary.query("select last_archived_wal from pg_stat_archiver")?;
        (archived >= last).then_some(())
    });

    // The same again is success, another file under the name is not.
    let segment = primary.data().join("pg_wal").join(&last);
    let target = format!("west:wal/{last}");
    let again = ["push", "--no-replace", segment.to_str().unwrap(), &target];
    east.must(&again);
    let other = programs.path().join("other");
    std::fs::write(&other, "not WAL").unwrap();
    let refused = east.strait(&["push", "--no-replace", other.to_str().unwrap(), &target]);
    assert!(!refused.status.success());

    drop(primary);
    let mut standby = standby;
    standby.configure(&format!(
        "archive_mode = off\nrestore_command = '{strait} pull --quiet west:wal/%f %p'"
    ));
    std::fs::write(standby.data().join("recovery.signal"), "").unwrap();
    standby.run();
    eventually("recovery has come to its end", 60, || {
        let recovering = standby.query("select pg_is_in_recovery()")?;
        (recovering == "f").then_some(())
    });
    assert_eq!(
        standby.query("select count(*), sum(n) from t").unwrap(),
        "3000|4501500"
    );
}

#[test]
fn a_stopped_server_starts_from_what_was_pushed_and_pulled() {
    let (east, west, _cable) = sites_for_postgres();
    let mut server = Postgres::start("");
    server
        .query("create table t as select generate_series(1, 1000) n")
        .unwrap();
    server.stop();
    let folder = format!("{}/", server.data().display());
    east.must(&["push", "--quiet", &folder, "west:pgdata"]);
    let empty = west.data().join("bulk/east/pgdata/pg_notify");
    assert!(empty.is_dir());
    let mut again = Postgres::vacant();
    let data = again.data();
    east.must(&["pull", "--quiet", "west:pgdata/", data.to_str().unwrap()]);
    again.adopt();
    again.run();
    assert_eq!(again.query("select count(*) from t").unwrap(), "1000");
}

/// Asks the gateway whose socket is its first argument its second one, and shows the answer.
const ASK: &str = "import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
asked = sys.argv[2].encode()
s.sendall(struct.pack('<IB', len(asked), 0) + asked)
print(s.recv(1 << 16))";

#[test]
fn members_of_the_group_use_files_and_compare_nothing() {
    let (east, _west, _cable) = sites_for_postgres();
    let programs = tempfile::tempdir().unwrap();
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.path(), everyone).unwrap();
    let member = |program: &str| {
        let mut command = Command::new("setpriv");
        let user = format!("--reuid={POSTGRES_USER}");
        command.args([&user, "--regid=postgres", "--init-groups", program]);
        command.current_dir("/");
        command
    };
    let strait = reachable_binary(programs.path());
    let mut list = member(strait.to_str().unwrap());
    let list = list.arg("--data").arg(east.data()).args(["ls", "west:"]);
    let output = list.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let asked = |asked: &str| {
        let what = format!("{{\"gateway\":{asked}}}");
        let request = format!("{{\"site\":\"\",\"path\":\"\",\"wait_s\":0,\"what\":{what}}}");
        let opening = format!("{{\"version\":1,\"request\":{request}}}");
        let mut ask = member("/usr/bin/python3");
        let ask = ask.args(["-c", ASK]).arg(east.data().join("strait.sock"));
        String::from_utf8(ask.arg(opening).output().unwrap().stdout).unwrap()
    };
    let told = asked("\"alive\"");
    assert!(told.contains("told"), "{told}");
    for refused in [r#"{"compare":{"site":"west"}}"#, r#""reload""#, r#""grid""#] {
        let told = asked(refused);
        assert!(
            told.contains("refused") && told.contains("only the user"),
            "{refused}: {told}"
        );
    }
    east.must(&["verify", "west"]);
}

/// PostgreSQL takes a status of 1 to 125 for the end of the archive, and serves what it has.
#[test]
fn recovery_stops_wherever_the_archive_cannot_be_asked() {
    let (mut east, mut west, cable) = sites_for_postgres();
    let gates = tempfile::tempdir().unwrap();
    let everyone = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(gates.path(), everyone(0o777)).unwrap();
    let binary = reachable_binary(gates.path());
    let strait = format!("{} --data {}", binary.display(), east.data().display());
    let primary = Postgres::start_as(
        &["--wal-segsize=1"],
        &format!(
            "wal_level = replica\narchive_mode = on\n\
             archive_command = '{strait} push --quiet --no-replace %p west:wal/%f'"
        ),
    );
    let mut standby = Postgres::vacant();
    standby.seed_from(primary.port, &["-X", "none"]);
    primary.query("create table t (n int)").unwrap();
    for part in 0..3 {
        let fill = format!(
            "insert into t select generate_series({part} * 4000 + 1, {part} * 4000 + 4000)"
        );
        primary.query(&fill).unwrap();
        if part == 2 {
            // What fails is counted, so that whoever watches the archiver sees it.
            east.stop();
        }
        primary.query("select pg_switch_wal()").unwrap();
    }
    eventually("the failure is counted", 60, || {
        let failed = primary.query("select failed_count from pg_stat_archiver")?;
        (failed != "0").then_some(())
    });
    east.start();
    let wal = west.data().join("bulk/east/wal");
    let archived = || {
        let names = std::fs::read_dir(&wal).unwrap();
        let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.len() == 24).collect();
        names.sort();
        names
    };
    let backup_from = std::fs::read_to_string(standby.data().join("backup_label")).unwrap();
    let backup_from = backup_from.split("file ").nth(1).unwrap()[..24].to_owned();
    let last = primary
        .query("select pg_walfile_name(pg_current_wal_lsn() - 1)")
        .unwrap();
    eventually("all WAL is archived", 120, || {
        (archived().last()? >= &last).then_some(())
    });
    drop(primary);

    let shut = |name: &str| gates.path().join(format!("{name}.shut"));
    let asked = |name: &str| gates.path().join(format!("{name}.asked"));
    let script = gates.path().join("restore");
    let wait = format!(
        "#!/bin/sh\nat={}/$1\ni=0\n\
         while [ -e $at.shut ] && [ $i -lt 600 ]; do : >$at.asked; sleep 0.1; i=$((i+1)); done\n\
         exec {strait} pull --quiet --wait 1 west:wal/$1 $2\n",
        gates.path().display()
    );
    std::fs::write(&script, wait).unwrap();
    std::fs::set_permissions(&script, everyone(0o755)).unwrap();
    standby.configure(&format!(
        "archive_mode = off\nrestore_command = '{} %f %p'",
        script.display()
    ));
    let signal = standby.data().join("recovery.signal");
    std::fs::write(&signal, "").unwrap();
    let mut names = archived();
    names.retain(|name| *name >= backup_from);
    assert!(names.len() >= 3, "{names:?}");
    names.insert(0, "00000002.history".to_owned());
    for (round, name) in names.iter().enumerate() {
        std::fs::write(shut(name), "").unwrap();
        standby.launch();
        eventually(&format!("{name} is asked for"), 60, || {
            asked(name).exists().then_some(())
        });
        match round % 3 {
            // Nobody knows yet that the link is down.
            0 => cable.cut(),
            1 => _ = east.stop(),
            _ => west.kill(),
        }
        std::fs::remove_file(shut(name)).unwrap();
        eventually("recovery stops", 60, || standby.has_ended().then_some(()));
        let log = standby.log();
        let fatal = format!("could not restore file \"{name}\" from archive");
        assert!(log.contains(&fatal) && signal.exists(), "{log}");
        match round % 3 {
            0 => cable.heal(),
            1 => east.start(),
            _ => west.start(),
        }
        east.must(&["ls", "--wait", "60", "west:wal"]);
    }
    standby.run();
    eventually("recovery has come to its end", 60, || {
        let recovering = standby.query("select pg_is_in_recovery()")?;
        (recovering == "f").then_some(())
    });
    let rows = standby.query("select count(*), sum(n) from t").unwrap();
    assert_eq!(rows, "12000|72006000");
}

#[test]
fn psql_pg_dump_and_a_standby_go_through_a_forward() {
    let server = Postgres::start("wal_level = replica\nmax_wal_senders = 4");
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let cable = Cable::to(west.link);
    east.pair_with(&west, Some(cable.address()));
    west.pair_with(&east, None);
    let listen = free_port();
    east.configure(&format!(
        "[[forward]]\nlisten = \"{listen}\"\npeer = \"west\"\ntarget = \"127.0.0.1:{}\"\n",
        server.port
    ));
    let config = std::fs::read_to_string(west.config()).unwrap();
    let allowed = config.replace("allow = []", "allow = [\"127.0.0.1:*\"]");
    std::fs::write(west.config(), allowed).unwrap();
    east.start();
    west.start();
    let fill = "create table t as select n, md5(n::text) from generate_series(1, 50000) n";
    eventually("psql gets through", 30, || query(listen.port(), "select 1"));
    query(listen.port(), fill).unwrap();

    let dump = |port: u16| {
        let mut dump = Command::new("pg_dump");
        dump.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
        // A random word guards each dump against psql's meta-commands.
        let text = String::from_utf8(dump.output().unwrap().stdout).unwrap();
        let plain = |line: &&str| !line.starts_with('\\') || *line == "\\.";
        text.lines()
            .filter(plain)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let through = dump(listen.port());
    assert!(through.len() > 50_000);
    assert!(through == dump(server.port), "both dumps are the same");

    let mut standby = Postgres::vacant();
    standby.seed_from(listen.port(), &["-R"]);
    standby.configure("hot_standby = on");
    standby.run();
    server
        .query("insert into t values (0, 'replicated')")
        .unwrap();
    eventually("the standby has it", 30, || {
        let found = standby.query("select md5 from t where n = 0")?;
        (found == "replicated").then_some(())
    });
}
