//! A standby at the far side: seeded by pg_basebackup, and seeded again.

use super::stage::{Stage, to_near};
use super::{App, Arguments, line, postgres};
use crate::lab::Side;

/// Where the far side finds the server.
const HERE: u16 = 54_321;

/// Who brings the server to the far side's port, and what pg_basebackup is told.
const CONTENDERS: [(&str, &str, &str); 5] = [
    ("local, no link", "", ""),
    ("tunnel, plain", "", ""),
    ("tunnel, ssh -C", "-C", ""),
    (
        "tunnel, --compress=server-zstd",
        "",
        "--compress=server-zstd:3",
    ),
    ("strait forward", "", ""),
];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for (name, ssh, options) in CONTENDERS
        .into_iter()
        .filter(|c| arguments.is_asked_for(c.0))
    {
        let mut stage = Stage::new(&arguments.link)?;
        stage.serve_postgres(arguments.rows)?;
        let (side, port) = match name {
            "local, no link" => (Side::Near, postgres::PORT),
            _ => (Side::Far, HERE),
        };
        match name {
            "local, no link" => {}
            "strait forward" => stage.serve_strait(&[to_near(HERE, postgres::PORT)])?,
            _ => {
                stage.serve_ssh()?;
                stage.serve_tunnel(ssh, &[to_near(HERE, postgres::PORT)])?;
            }
        }
        stage.wait_for_port(side, port)?;
        for round in ["first", "again"] {
            if round == "again" {
                stage.one_day(arguments.rows, 1)?;
            }
            let target = stage.postgres_folder(&format!("standby-{round}"))?;
            let script = postgres::base_backup(port, options, &target)?;
            let cost = stage.measure(|| stage.shell(side, &script).map(drop))?;
            let size = stage.shell(Side::Near, "du -sb postgres/data | cut -f 1")?;
            let raw_bytes = size.trim().parse()?;
            line(App::PgBasebackup, name, round.to_owned(), raw_bytes, &cost)?;
        }
    }
    Ok(())
}
