//! What stands here under the paths that a peer names: many of them in one question, so that
//! whoever has a tree to compare waits for few round trips.

use super::failure::Failure;
use super::path::SitePath;
use super::read::Snapshot;
use super::store::{Standing, Store, Trailer};

/// Paths in one question: with the longest ones, question and answer stay below the longest message.
pub const PATHS_MAX: usize = 256;

/// Blocks, for as long as reading the files takes where their digests are asked for.
pub(super) fn describe(
    store: &Store,
    paths: &[String],
    digests: bool,
) -> Result<Vec<Result<Standing, Failure>>, Failure> {
    if paths.len() > PATHS_MAX {
        return Err(Failure::protocol("too many paths in one question"));
    }
    let mut look = store.look();
    let mut describe_one = |path: &String| {
        let path: SitePath = path.parse()?;
        match look.at(&path)? {
            Standing::File { meta, .. } if digests => {
                let Trailer { length, digest } = read(store, &path)?;
                let digest = Some(*digest.as_bytes());
                Ok(Standing::File {
                    length,
                    meta,
                    digest,
                })
            }
            standing @ (Standing::File { .. } | Standing::Link { .. }) => Ok(standing),
        }
    };
    Ok(paths.iter().map(&mut describe_one).collect())
}

/// All of a file.
fn read(store: &Store, path: &SitePath) -> Result<Trailer, Failure> {
    let source = store.open_file(path)?;
    let snapshot = Snapshot::of(&source.file).map_err(Failure::io)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&source.file).map_err(Failure::io)?;
    let trailer = Trailer {
        length: hasher.count(),
        digest: hasher.finalize(),
    };
    snapshot.check(&source.file, &trailer)?;
    Ok(trailer)
}
