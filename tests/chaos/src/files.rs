//! Files pushed from site to site meanwhile: one whose push exited with 0 is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::client::Stage;
use crate::history::Pushed;

/// The longest file.
const BYTES_MAX: usize = 300_000;
/// How long one push may take.
const LOOKS_MAX: u32 = 600;

/// A site, as `strait push` needs it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
}

/// Pushes files between `links` until the round is over.
pub(crate) fn push_on(
    stage: &Stage,
    places: &[Place],
    links: &[(usize, usize)],
    folder: &Path,
    mut random: StdRng,
) -> Vec<Pushed> {
    let mut pushed = Vec::new();
    for n in 0_u32.. {
        sleep(Duration::from_millis(random.random_range(50..400)));
        if !stage.goes_on() {
            break;
        }
        let (mut from, mut to) = links[random.random_range(0..links.len())];
        if random.random_bool(0.5) {
            (from, to) = (to, from);
        }
        let mut bytes = vec![0; random.random_range(0..BYTES_MAX)];
        // Half of it like every other file, half of it like none.
        let half = bytes.len() / 2;
        random.fill(&mut bytes[half..]);
        let name = format!("chaos/{n}");
        // A directory that is lost right after the push ended must not look older than it.
        let at = stage.now();
        if push(stage, &places[from], &places[to], folder, &name, &bytes) {
            pushed.push(Pushed {
                from,
                to,
                name,
                bytes,
                at,
            });
        }
    }
    pushed
}

/// Whether `strait push` exited with 0.
fn push(stage: &Stage, from: &Place, to: &Place, folder: &Path, name: &str, bytes: &[u8]) -> bool {
    let file = folder.join("pushed");
    std::fs::write(&file, bytes).expect("a file to push");
    let mut command = Command::new(strait_tests::binary());
    command.arg("--data").arg(&from.data);
    command.args(["push", "--quiet", "--wait", "2"]).arg(file);
    command.arg(format!("{}:{name}", to.name));
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = quiet.spawn().expect("the strait binary starts");
    for _ in 0..LOOKS_MAX {
        if let Some(status) = process.try_wait().expect("its status can be read") {
            return status.success();
        }
        if !stage.goes_on() {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    // Only a process that ended meanwhile is not there to be killed.
    drop(process.kill());
    drop(process.wait());
    false
}
