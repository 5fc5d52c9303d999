//! What stands here under the paths that a peer names: many of them in one question, so that
//! whoever has a tree to compare waits for few round trips.

use super::disk::Steps;
use super::failure::Failure;
use super::path::SitePath;
use super::read::Snapshot;
use super::store::{FileMeta, Source, Standing, Store, Trailer, read_on};

/// Paths in one question: with the longest ones, question and answer stay below the longest message.
pub const PATHS_MAX: usize = 256;

/// Length and digest of a file, or why there is none.
pub(super) type Digested = Result<Trailer, Failure>;

/// Reads the files under these paths, step by step.
pub(super) async fn digests(
    steps: &Steps,
    store: &Store,
    paths: &[String],
) -> Result<Vec<Digested>, Failure> {
    let mut digests = Vec::with_capacity(paths.len());
    for path in paths {
        digests.push(match path.parse() {
            Ok(path) => digest(steps, store, path).await?,
            Err(error) => Err(Failure::Path(error)),
        });
    }
    Ok(digests)
}

/// The outer failure is that of a thread.
async fn digest(steps: &Steps, store: &Store, path: SitePath) -> Result<Digested, Failure> {
    let store = store.clone();
    let opened = steps.run(move || {
        let source = store.open_file(&path)?;
        let snapshot = Snapshot::of(&source.file).map_err(Failure::io)?;
        Ok((source, snapshot))
    });
    let (mut source, snapshot): (Source, _) = match opened.await? {
        Ok(opened) => opened,
        Err(failure) => return Ok(Err(failure)),
    };
    // One that grows while it is read does not go on for ever.
    let length_max = snapshot.length().saturating_add(1);
    let mut hasher = blake3::Hasher::new();
    loop {
        let step = move || {
            (
                read_on(&source.file, &mut hasher, length_max),
                hasher,
                source,
            )
        };
        let read;
        (read, hasher, source) = steps.run(step).await?;
        match read {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => return Ok(Err(Failure::io(error))),
        }
    }
    let trailer = Trailer {
        length: hasher.count(),
        digest: hasher.finalize(),
    };
    steps
        .run(move || snapshot.check(&source.file, &trailer).map(|()| trailer))
        .await
}

/// What stands under each path; a file's digest is that of `digests`, if they were read. Blocks.
pub(super) fn describe(
    store: &Store,
    paths: &[String],
    digests: Option<Vec<Digested>>,
) -> Vec<Result<Standing, Failure>> {
    let mut look = store.look();
    let mut stands = |path: &String| Ok(look.at(&path.parse()?)?);
    let Some(digests) = digests else {
        return paths.iter().map(stands).collect();
    };
    let digested = |(path, digest)| with_digest(stands(path)?, digest);
    paths.iter().zip(digests).map(digested).collect()
}

fn with_digest(standing: Standing, digest: Digested) -> Result<Standing, Failure> {
    match standing {
        Standing::File { meta, .. } => {
            let Trailer { length, digest } = digest?;
            let digest = Some(*digest.as_bytes());
            Ok(Standing::File {
                length,
                meta,
                digest,
            })
        }
        link @ Standing::Link { .. } => Ok(link),
    }
}

/// Makes folders where they are missing. Blocks.
pub(super) fn make_folders(
    store: &Store,
    folders: Vec<(String, FileMeta)>,
) -> Vec<Result<(), Failure>> {
    let make = |(path, meta): (String, FileMeta)| Ok(store.make_folder(&path.parse()?, meta)?);
    folders.into_iter().map(make).collect()
}

/// Mode and time of folders. Blocks.
pub(super) fn folders(store: &Store, paths: &[String]) -> Vec<Result<FileMeta, Failure>> {
    let look = |path: &String| Ok(store.folder_meta(&path.parse()?)?);
    paths.iter().map(look).collect()
}
