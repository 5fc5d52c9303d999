//! What a process does so that nothing of it is left open to others on its machine: it makes files for its
//! owner alone, and leaves no core dump, which would hold keys and customers' data.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};

/// The mask that the process was started with.
static GIVEN: OnceLock<Mode> = OnceLock::new();

/// Called before the process makes a file.
pub fn begin() {
    let given = umask(Mode::RWXG.union(Mode::RWXO));
    GIVEN.get_or_init(|| given);
    let mut core = getrlimit(Resource::Core);
    core.current = Some(0);
    // Lowering it needs no right; without it the process goes on as it would have.
    if let Err(error) = setrlimit(Resource::Core, core) {
        tracing::debug!(%error, "core dumps stay as they are");
    }
}

/// Mode of a folder that others may use, as the mask that the process was started with leaves it. None
/// where that mask is still in force.
pub fn shared_folder_mode() -> Option<Mode> {
    let all = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);
    GIVEN.get().map(|given| all.difference(*given))
}
