//! A nightly dump, shipped to the other site every day.

use super::stage::{Stage, strait};
use super::{App, Arguments, line, postgres};
use crate::lab::Side;

/// Who ships `dump.sql`, and how.
const CONTENDERS: [(&str, &str); 6] = [
    // What the database takes to say it, without a copy anywhere: no nightly dump is faster.
    ("pg_dump alone", "$DUMP /dev/null"),
    (
        "ssh",
        "ssh -F ssh.conf far 'cat > $PWD/there.sql' < dump.sql",
    ),
    (
        "ssh -C",
        "ssh -C -F ssh.conf far 'cat > $PWD/there.sql' < dump.sql",
    ),
    (
        "zstd -3 | ssh",
        "zstd -3 -q -c dump.sql | ssh -F ssh.conf far 'cat > $PWD/there.sql.zst'",
    ),
    // Into yesterday's file: its delta algorithm at its best.
    (
        "rsync -z",
        "rsync -z --no-whole-file -e 'ssh -F ssh.conf' dump.sql far:$PWD/there.sql",
    ),
    (
        "strait push",
        "$STRAIT --data east push --quiet dump.sql west:there.sql",
    ),
];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for (name, script) in CONTENDERS
        .into_iter()
        .filter(|c| arguments.is_asked_for(c.0))
    {
        let mut stage = Stage::new(&arguments.link)?;
        stage.serve_postgres(arguments.rows)?;
        if name == "strait push" {
            stage.serve_strait(&[])?;
        } else {
            stage.serve_ssh()?;
        }
        let dir = stage.path("").display().to_string();
        let script = script.replace("$PWD/", &dir);
        let dump = format!("pg_dump -h 127.0.0.1 -p {} -U postgres -f", postgres::PORT);
        let script = script.replace("$DUMP", &dump);
        let script = script.replace("$STRAIT", &strait()?.display().to_string());
        for day in 1..=arguments.days {
            if day > 1 {
                stage.one_day(arguments.rows, day)?;
            }
            stage.shell(Side::Near, &format!("{dump} dump.sql"))?;
            let raw_bytes = std::fs::metadata(stage.path("dump.sql"))?.len();
            let cost = stage.measure(|| stage.shell(Side::Near, &script).map(drop))?;
            line(App::PgDump, name, format!("day {day}"), raw_bytes, &cost)?;
        }
    }
    Ok(())
}
