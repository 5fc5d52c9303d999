//! PostgreSQL servers, of Debian's package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::stage::{Stage, succeed};
use crate::lab::Side;

pub(super) const PORT: u16 = 54_320;

/// A program of the newest PostgreSQL here, run as the user `postgres`.
pub(super) fn program(name: &str) -> anyhow::Result<Vec<String>> {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let mut versions: Vec<_> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort();
    let path = versions
        .last()
        .context("PostgreSQL is not installed")?
        .join("bin")
        .join(name);
    let user = [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--init-groups",
    ];
    let mut words: Vec<_> = user.map(str::to_owned).into();
    words.push(path.display().to_string());
    Ok(words)
}

impl Stage {
    /// A folder that the user `postgres` owns.
    pub(super) fn postgres_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        std::fs::create_dir(&path)?;
        succeed(Command::new("chown").arg("postgres").arg(&path))?;
        Ok(path)
    }

    /// Starts a server at the near side with a table of `rows`.
    pub(super) fn serve_postgres(&mut self, rows: u64) -> anyhow::Result<()> {
        let data = self.postgres_folder("postgres")?.join("data");
        let initdb = program("initdb")?.join(" ");
        let options = "-U postgres -A trust -N";
        self.shell(
            Side::Near,
            &format!("{initdb} {options} -D {}", data.display()),
        )?;
        let settings = "fsync = off\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
                        wal_level = replica\nmax_wal_size = 4GB\nautovacuum = off\n";
        let config = data.join("postgresql.conf");
        let text = std::fs::read_to_string(&config)? + settings;
        std::fs::write(&config, text)?;
        self.start_postgres(Side::Near, &data)?;
        self.sql(&format!(
            "create table orders (id bigint primary key, customer int, note text, cents int, \
             changed timestamp);
             insert into orders select n, (n * 7919) % 100003, md5(n::text) || ' ' || \
             md5((n / 3)::text) || ' shipped', (n * 104729) % 1000003, '2026-01-01' from \
             generate_series(1::bigint, {rows}) n; checkpoint"
        ))
    }

    /// A day's work: one row in a hundred changes, half a per cent are new.
    pub(super) fn one_day(&self, rows: u64, day: u32) -> anyhow::Result<()> {
        let (from, new) = (rows + u64::from(day - 1) * rows / 200, rows / 200);
        self.sql(&format!(
            "update orders set cents = cents + 1, changed = '2026-01-01'::timestamp + '{day} \
             day' where (id * 2654435761) % 100 = {day}; insert into orders select n, (n * 7919) \
             % 100003, md5(n::text), n % 1000003, '2026-01-01'::timestamp + '{day} day' from \
             generate_series({from}::bigint + 1, {from} + {new}) n; checkpoint"
        ))
    }

    /// Starts a server with the data directory `data` and waits until it answers.
    pub(super) fn start_postgres(&mut self, side: Side, data: &Path) -> anyhow::Result<()> {
        let words = program("postgres")?;
        let mut server = self.command(side, &words[0]);
        server.args(&words[1..]).arg("-D").arg(data);
        server.args(["-p", &PORT.to_string()]);
        self.serve(server)?;
        self.until(|| self.sql_at(side, "select 1").is_ok())
    }

    /// Has the server at the near side do something.
    pub(super) fn sql(&self, sql: &str) -> anyhow::Result<()> {
        self.sql_at(Side::Near, sql).map(drop)
    }

    /// The answer of one side's server.
    pub(super) fn sql_at(&self, side: Side, sql: &str) -> anyhow::Result<String> {
        let mut psql = self.command(side, "psql");
        psql.args(["-h", "127.0.0.1", "-U", "postgres", "-qAtc", sql, "-p"]);
        succeed(psql.arg(PORT.to_string()))
    }
}

/// The script that seeds `target` from the server that `port` leads to.
pub(super) fn base_backup(port: u16, options: &str, target: &Path) -> anyhow::Result<String> {
    let program = program("pg_basebackup")?.join(" ");
    let target = target.display();
    Ok(format!(
        "{program} -h 127.0.0.1 -p {port} -U postgres -c fast -X fetch {options} -D {target}/data"
    ))
}
