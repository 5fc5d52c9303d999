//! What others put on the wire for a new version when the other end holds the old one. A tool that
//! is not installed gives no figure.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

const TOOLS: [&str; 4] = ["zstd", "rsync", "restic", "borg"];

fn installed(tool: &str) -> bool {
    let version = if tool == "restic" {
        "version"
    } else {
        "--version"
    };
    let status = Command::new(tool)
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The tools that are not there.
pub(super) fn absent() -> Vec<&'static str> {
    TOOLS.into_iter().filter(|tool| !installed(tool)).collect()
}

fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `zstd -3` of a file alone.
pub(super) fn zstd(file: &Path, work: &Path) -> anyhow::Result<Option<u64>> {
    if !installed("zstd") {
        return Ok(None);
    }
    let out = work.join("out.zst");
    succeed(
        Command::new("zstd")
            .args(["-3", "-q", "-f"])
            .arg(file)
            .arg("-o")
            .arg(&out),
    )?;
    size_and_remove(&out).map(Some)
}

/// `zstd -3 --patch-from=OLD --long=30`.
pub(super) fn zstd_patch_from(old: &Path, new: &Path, work: &Path) -> anyhow::Result<Option<u64>> {
    if !installed("zstd") {
        return Ok(None);
    }
    let out = work.join("patch.zst");
    let from = format!("--patch-from={}", old.display());
    let mut zstd = Command::new("zstd");
    succeed(
        zstd.args(["-3", "-q", "-f", "--long=30", &from])
            .arg(new)
            .arg("-o")
            .arg(&out),
    )?;
    size_and_remove(&out).map(Some)
}

fn size_and_remove(path: &Path) -> anyhow::Result<u64> {
    let bytes = fs::metadata(path)?.len();
    fs::remove_file(path)?;
    Ok(bytes)
}

/// What `rsync -z` says it sent and received.
pub(super) fn rsync(old: &Path, new: &Path, work: &Path) -> anyhow::Result<Option<u64>> {
    if !installed("rsync") {
        return Ok(None);
    }
    let copy = work.join("rsync-copy");
    fs::copy(old, &copy)?;
    let mut rsync = Command::new("rsync");
    rsync
        .args(["-z", "--no-whole-file", "--ignore-times", "--stats"])
        .arg(new)
        .arg(&copy);
    let stats = succeed(&mut rsync)?;
    fs::remove_file(&copy)?;
    let number = |label: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(label))?;
        line.replace(',', "").trim().parse::<u64>().ok()
    };
    let sent = number("Total bytes sent:").context("rsync's statistics")?;
    let received = number("Total bytes received:").context("rsync's statistics")?;
    Ok(Some(sent + received))
}

/// How much a restic repository grows by the new version.
pub(super) fn restic(old: &Path, new: &Path, work: &Path) -> anyhow::Result<Option<u64>> {
    if !installed("restic") {
        return Ok(None);
    }
    let repository = work.join("restic");
    let run = |arguments: &[&str]| {
        let mut restic = Command::new("restic");
        restic
            .env("RESTIC_PASSWORD", "bench")
            .arg("-q")
            .arg("-r")
            .arg(&repository);
        succeed(restic.args(arguments))
    };
    run(&["init"])?;
    run(&["backup", &old.to_string_lossy()])?;
    let before = tree_bytes(&repository)?;
    run(&["backup", &new.to_string_lossy()])?;
    let grown = tree_bytes(&repository)? - before;
    fs::remove_dir_all(&repository)?;
    Ok(Some(grown))
}

/// How much a borg repository grows by the new version, at zstd level 3.
pub(super) fn borg(old: &Path, new: &Path, work: &Path) -> anyhow::Result<Option<u64>> {
    if !installed("borg") {
        return Ok(None);
    }
    let repository = work.join("borg");
    let run = |arguments: &[&str]| {
        let mut borg = Command::new("borg");
        borg.env("BORG_BASE_DIR", work.join("borg-base"));
        borg.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        succeed(borg.args(arguments))
    };
    let place = repository.to_string_lossy();
    run(&["init", "-e", "none", &place])?;
    let create = |name: &str, file: &Path| {
        run(&[
            "create",
            "-C",
            "zstd,3",
            &format!("{place}::{name}"),
            &file.to_string_lossy(),
        ])
    };
    create("old", old)?;
    let before = tree_bytes(&repository)?;
    create("new", new)?;
    let grown = tree_bytes(&repository)? - before;
    fs::remove_dir_all(&repository)?;
    fs::remove_dir_all(work.join("borg-base"))?;
    Ok(Some(grown))
}

fn tree_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            tree_bytes(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
