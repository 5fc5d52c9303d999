//! What stands here under the paths that a peer names: many of them in one question, so that
//! whoever has a tree to compare waits for few round trips.

use super::failure::Failure;
use super::path::SitePath;
use super::read::Snapshot;
use super::store::{FileMeta, Standing, Store, Trailer};

/// Paths in one question: with the longest ones, question and answer stay below the longest message.
pub const PATHS_MAX: usize = 256;

/// Blocks, for as long as reading the files takes where their digests are asked for.
pub(super) fn describe(
    store: &Store,
    paths: &[String],
    digests: bool,
) -> Result<Vec<Result<Standing, Failure>>, Failure> {
    check_count(paths.len())?;
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

/// Makes folders where they are missing.
pub(super) fn make_folders(
    store: &Store,
    folders: Vec<(String, FileMeta)>,
) -> Result<Vec<Result<(), Failure>>, Failure> {
    check_count(folders.len())?;
    let make = |(path, meta): (String, FileMeta)| Ok(store.make_folder(&path.parse()?, meta)?);
    Ok(folders.into_iter().map(make).collect())
}

/// Mode and time of folders.
pub(super) fn folders(
    store: &Store,
    paths: &[String],
) -> Result<Vec<Result<FileMeta, Failure>>, Failure> {
    check_count(paths.len())?;
    let look = |path: &String| Ok(store.folder_meta(&path.parse()?)?);
    Ok(paths.iter().map(look).collect())
}

fn check_count(paths: usize) -> Result<(), Failure> {
    match paths > PATHS_MAX {
        true => Err(Failure::protocol("too many paths in one question")),
        false => Ok(()),
    }
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
