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
