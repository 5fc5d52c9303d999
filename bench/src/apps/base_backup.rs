//! A standby at the far side: seeded by pg_basebackup, and seeded again.

use super::stage::{Forward, Stage};
use super::{App, Arguments, line, postgres};
use crate::lab::Side;

/// Where the far side finds the server.
const HERE: u16 = 54_321;

/// Who brings the server to the far side's port, and what pg_basebackup is told.
const CONTENDERS: [(&str, &str, &str); 4] = [
    ("tunnel, plain", "", ""),
    ("tunnel, ssh -C", "-C", ""),
    (
        "tunnel, --compress=server-zstd",
        "",
        "--compress=server-zstd:3 -Ft",
    ),
    ("strait forward", "", ""),
];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for (name, ssh, options) in CONTENDERS {
        let mut stage = Stage::new(&arguments.link)?;
        stage.serve_postgres(arguments.rows)?;
        if name == "strait forward" {
            stage.serve_strait(&[Forward {
                from: Side::Far,
                listen: HERE,
                target: postgres::PORT,
            }])?;
        } else {
            stage.serve_ssh()?;
            // A remote forward: the far side's port leads back to the near side.
            let mut tunnel = stage.command(Side::Near, "ssh");
            tunnel
                .args(ssh.split_whitespace())
                .args(["-F", "ssh.conf", "-N", "-R"]);
            tunnel
                .arg(format!("{HERE}:127.0.0.1:{}", postgres::PORT))
                .arg("far");
            stage.serve(tunnel)?;
        }
        stage.wait_for_port(Side::Far, HERE)?;
        for round in ["first", "again"] {
            if round == "again" {
                stage.one_day(arguments.rows, 1)?;
            }
            let target = stage.postgres_folder(&format!("standby-{round}"))?;
            let program = postgres::program("pg_basebackup")?.join(" ");
            let script = format!(
                "{program} -h 127.0.0.1 -p {HERE} -U postgres -c fast -X fetch {options} -D {}/data",
                target.display()
            );
            let cost = stage.measure(|| stage.shell(Side::Far, &script).map(drop))?;
            let size = stage.shell(Side::Near, "du -sb postgres/data | cut -f 1")?;
            let raw_bytes = size.trim().parse()?;
            line(App::PgBasebackup, name, round.to_owned(), raw_bytes, &cost)?;
        }
    }
    Ok(())
}
