//! Repositories of restic and borg at the far side, over SSH straight and through a forward.

use super::stage::{SSH_PORT, SSH_THROUGH, Stage, to_far};
use super::{App, Arguments, line, tree};
use crate::lab::Side;

/// How a tool makes its repository at `$HOST` and backs `tree/` up to it.
struct Tool {
    app: App,
    init: &'static str,
    backup: &'static str,
}

const RESTIC: Tool = Tool {
    app: App::Restic,
    init: "$RESTIC init",
    backup: "$RESTIC backup tree",
};
const BORG: Tool = Tool {
    app: App::Borg,
    init: "$BORG borg init -e repokey $HOST:$DIR/repository",
    backup: "$BORG borg create -C zstd $HOST:$DIR/repository::$ROUND tree",
};

pub(super) fn restic(arguments: &Arguments) -> anyhow::Result<()> {
    run(&RESTIC, arguments)
}

pub(super) fn borg(arguments: &Arguments) -> anyhow::Result<()> {
    run(&BORG, arguments)
}

fn run(tool: &Tool, arguments: &Arguments) -> anyhow::Result<()> {
    let contenders = [("ssh", "far"), ("ssh through a strait forward", "through")];
    for (name, host) in contenders
        .into_iter()
        .filter(|c| arguments.is_asked_for(c.0))
    {
        let mut stage = Stage::new(&arguments.link)?;
        stage.serve_ssh()?;
        if host == "through" {
            stage.serve_strait(&[to_far(SSH_THROUGH, SSH_PORT)])?;
        }
        let files = tree::sources(&stage.path("tree"))?;
        let script = |text: &str, round: &str| {
            text.replace(
                "$RESTIC",
                "RESTIC_PASSWORD=x restic -q --cache-dir cache -r sftp:$HOST:$DIR/repository -o \
                 sftp.command='ssh -F ssh.conf $HOST -s sftp'",
            )
            .replace(
                "$BORG",
                "BORG_PASSPHRASE=x BORG_BASE_DIR=$DIR BORG_RSH='ssh -F ssh.conf'",
            )
            .replace("$HOST", host)
            .replace("$ROUND", round)
            .replace("$DIR", &stage.path("").display().to_string())
        };
        stage.shell(Side::Near, &script(tool.init, ""))?;
        for round in ["first", "next release"] {
            if round == "next release" {
                tree::next_release(&files)?;
            }
            let backup = script(tool.backup, &round.replace(' ', "-"));
            let cost = stage.measure(|| stage.shell(Side::Near, &backup).map(drop))?;
            line(
                tool.app,
                name,
                round.to_owned(),
                tree::length(&files),
                &cost,
            )?;
        }
    }
    Ok(())
}
