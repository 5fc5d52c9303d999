//! A source tree that the far side keeps: shipped whole, then the next release.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::stage::{Stage, strait, to_far};
use super::{App, Arguments, line};
use crate::lab::Side;

const DAEMON: u16 = 8730;
const HERE: u16 = 8731;

/// Who ships `tree/`, and how.
const CONTENDERS: [(&str, &str); 4] = [
    (
        "rsync",
        "rsync -a -e 'ssh -F ssh.conf' tree/ far:$PWD/there/",
    ),
    (
        "rsync -z",
        "rsync -az -e 'ssh -F ssh.conf' tree/ far:$PWD/there/",
    ),
    (
        "rsync through a strait forward",
        "rsync -a --port=$HERE tree/ 127.0.0.1::there/",
    ),
    (
        "strait push",
        "$STRAIT --data east push --quiet tree/ west:there",
    ),
];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for (name, script) in CONTENDERS
        .into_iter()
        .filter(|c| arguments.is_asked_for(c.0))
    {
        let mut stage = Stage::new(&arguments.link)?;
        fs::create_dir(stage.path("there"))?;
        match name.contains("strait") {
            true => {
                serve_rsync(&mut stage)?;
                stage.serve_strait(&[to_far(HERE, DAEMON)])?;
                stage.wait_for_port(Side::Near, HERE)?;
            }
            false => stage.serve_ssh()?,
        }
        let dir = stage.path("").display().to_string();
        let script = script
            .replace("$PWD/", &dir)
            .replace("$HERE", &HERE.to_string());
        let script = script.replace("$STRAIT", &strait()?.display().to_string());
        let files = sources(&stage.path("tree"))?;
        for round in ["first", "next release", "nothing changed"] {
            if round == "next release" {
                next_release(&files)?;
            }
            let cost = stage.measure(|| stage.shell(Side::Near, &script).map(drop))?;
            line(App::Tree, name, round.to_owned(), length(&files), &cost)?;
        }
    }
    Ok(())
}

fn serve_rsync(stage: &mut Stage) -> anyhow::Result<()> {
    let config = format!(
        "use chroot = no\npid file = {0}rsyncd.pid\n[there]\npath = {0}there\nread only = no\n\
         uid = root\ngid = root\n",
        stage.path("").display()
    );
    fs::write(stage.path("rsyncd.conf"), config)?;
    let mut daemon = stage.command(Side::Far, "rsync");
    daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    daemon.args([&format!("--port={DAEMON}"), "--config=rsyncd.conf"]);
    stage.serve(daemon)?;
    stage.wait_for_port(Side::Far, DAEMON)
}

/// Python's library as it is installed here: some thousand files of source.
pub(super) fn sources(into: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![
        PathBuf::from("/usr/lib/python3"),
        PathBuf::from("/usr/lib/python3.11"),
    ];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|ext| ext == "py") {
                let to = into.join(path.strip_prefix("/usr/lib")?);
                fs::create_dir_all(to.parent().context("no folder")?)?;
                fs::copy(&path, &to)?;
                files.push(to);
            }
        }
    }
    files.sort();
    anyhow::ensure!(files.len() > 100, "no Python library under /usr/lib");
    Ok(files)
}

/// Bytes of all files together.
pub(super) fn length(files: &[PathBuf]) -> u64 {
    let metas = files.iter().flat_map(fs::metadata);
    metas.map(|meta| meta.len()).sum()
}

/// One file in twenty has a line more in its middle.
pub(super) fn next_release(files: &[PathBuf]) -> anyhow::Result<()> {
    for (n, file) in files.iter().enumerate().filter(|(n, _)| n % 20 == 7) {
        let text = fs::read(file)?;
        let middle = text.len() / 2;
        let change = format!("\n# changed in this release: {n}\n");
        fs::write(
            file,
            [&text[..middle], change.as_bytes(), &text[middle..]].concat(),
        )?;
    }
    Ok(())
}
