mod confinement;
mod peers;
mod room;
mod unfinished;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::bulk::path::{PathError, SNAPSHOTS_DIR};

fn config(dir: &Path) -> BulkConfig {
    BulkConfig {
        dir: dir.to_owned(),
        snapshots: None,
        seen: None,
        bytes_max: u64::MAX,
        free_bytes_min: 0,
        shared: Some(true),
        idle_max: Duration::MAX,
    }
}

fn open(dir: &Path, bytes_max: Option<u64>) -> Store {
    let config = BulkConfig {
        bytes_max: bytes_max.unwrap_or(u64::MAX),
        ..config(dir)
    };
    Store::open(&config).unwrap().0
}

/// All of what an earlier push left.
fn kept(store: &Store, new: &NewFile) -> Result<Option<Trailer>, StoreError> {
    let Some(mut kept) = store.open_kept(new)? else {
        return Ok(None);
    };
    loop {
        if let Some(trailer) = kept.read_on()? {
            return Ok(Some(trailer));
        }
    }
}

fn path(text: &str) -> SitePath {
    text.parse().unwrap()
}

fn start(store: &Store, id: u128, target: &str) -> Result<Partial, StoreError> {
    store.create(new_file(id, target, None))
}

fn new_file(id: u128, target: &str, length: Option<u64>) -> NewFile {
    NewFile {
        transfer: TransferId(id),
        target: path(target),
        meta: FileMeta::default(),
        length,
        offset: 0,
        no_replace: false,
    }
}

/// The same of a file whose length and time its peer knows, so that a push of it goes on where it broke off.
fn dated_file(id: u128, target: &str, length: u64) -> NewFile {
    let mtime = Mtime {
        seconds: 1,
        nanos: 2,
    };
    let meta = FileMeta {
        mtime: Some(mtime),
        mode: None,
    };
    NewFile {
        meta,
        ..new_file(id, target, Some(length))
    }
}

fn trailer(bytes: &[u8]) -> Trailer {
    Trailer {
        length: bytes.len() as u64,
        digest: blake3::hash(bytes),
    }
}

fn put(store: &Store, target: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let mut partial = start(store, 1, target)?;
    partial.write(bytes)?;
    partial.commit(&trailer(bytes))
}

#[test]
fn what_stays_is_the_newest_of_each_folder_and_what_is_young() {
    const DAY: u64 = 86_400;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * DAY);
    for folder in ["dumps", "dumps/inner", "other"] {
        for days in 1..=6_u64 {
            let name = format!("{folder}/{days}");
            put(&store, &name, b"rows").unwrap();
            let file = File::open(dir.path().join(&name)).unwrap();
            file.set_modified(now - Duration::from_secs(days * DAY))
                .unwrap();
        }
    }
    std::os::unix::fs::symlink("1", dir.path().join("dumps/link")).unwrap();
    let rule = |pattern: &str, newest, days: Option<u64>| FileRule {
        pattern: pattern.to_owned(),
        newest,
        age: days.map(|days| Duration::from_secs(days * DAY)),
    };
    let left = |folder: &str| {
        let page = store.list(&path(folder), "").unwrap();
        let names = page.entries.into_iter().map(|entry| entry.name);
        names.collect::<Vec<_>>().join(" ")
    };
    let both = [
        rule("dumps/inner/*", None, Some(4)),
        rule("dumps/*", Some(2), Some(1)),
    ];
    assert_eq!(store.retain(&both, now), 6);
    assert_eq!(left("dumps/inner"), "1 2 3 4");
    assert_eq!(left("dumps"), "1 2 inner link");
    assert_eq!(left("other"), "1 2 3 4 5 6");
    // Old as they are, the newest stay.
    let later = now + Duration::from_secs(1000 * DAY);
    assert_eq!(store.retain(&[rule("*", Some(3), Some(4))], later), 4);
    assert_eq!(left("other"), "1 2 3");
    assert_eq!(store.stored().bytes, 8 * 4);
    assert_eq!(store.retain(&both, SystemTime::UNIX_EPOCH), 0);
}

fn leftovers(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir.join(PARTIAL_DIR)).unwrap();
    let is_file = |name: &std::ffi::OsStr| !name.as_encoded_bytes().starts_with(b".");
    names
        .filter(|name| is_file(&name.as_ref().unwrap().file_name()))
        .count()
}

#[test]
fn a_file_appears_whole_with_its_mode_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    let meta = FileMeta {
        mode: Some(0o4750),
        mtime: Some(Mtime {
            seconds: 1_000_000_000,
            nanos: 5,
        }),
    };
    let mut partial = store
        .create(NewFile {
            meta,
            ..new_file(1, "a/b/c", Some(6))
        })
        .unwrap();
    partial.write(b"abc").unwrap();
    assert!(!dir.path().join("a").exists());
    partial.write(b"def").unwrap();
    partial.commit(&trailer(b"abcdef")).unwrap();
    assert_eq!(std::fs::read(dir.path().join("a/b/c")).unwrap(), b"abcdef");
    assert_eq!(leftovers(dir.path()), 0);
    let source = store.open_file(&path("a/b/c")).unwrap();
    assert_eq!(
        source.meta,
        FileMeta {
            mode: Some(0o750),
            mtime: meta.mtime
        }
    );
    assert_eq!((source.length, store.stored().bytes), (6, 6));
}

#[test]
fn a_lie_about_length_or_digest_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    put(&store, "f", b"old").unwrap();
    let mut partial = start(&store, 2, "f").unwrap();
    partial.write(b"new").unwrap();
    let lie = Trailer {
        length: 4,
        ..trailer(b"new")
    };
    assert!(matches!(
        partial.commit(&lie),
        Err(StoreError::LengthDiffers {
            declared: 4,
            received: 3
        })
    ));
    let mut partial = start(&store, 2, "f").unwrap();
    partial.write(b"new").unwrap();
    assert!(matches!(
        partial.commit(&trailer(b"neW")),
        Err(StoreError::DigestDiffers)
    ));
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"old");
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (0, 3));
}

/// Two that are under way to one name at the same time.
fn two_new(store: &Store, [first, second]: [&[u8]; 2]) -> [Result<(), StoreError>; 2] {
    let begin = |id, bytes| {
        let mut partial = store
            .create(NewFile {
                no_replace: true,
                ..new_file(id, "d/f", None)
            })
            .unwrap();
        partial.write(bytes).unwrap();
        partial
    };
    let (one, two) = (begin(1, first), begin(2, second));
    [one.commit(&trailer(first)), two.commit(&trailer(second))]
}

#[test]
fn of_two_that_replace_nothing_one_gets_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    let [first, second] = two_new(&store, [b"east's", b"west's"]);
    first.unwrap();
    assert!(matches!(second, Err(StoreError::Exists)));
    let there = dir.path().join("d/f");
    assert_eq!(std::fs::read(&there).unwrap(), b"east's");
    // The same bytes again are no other file, a part of them is.
    let [same, part] = two_new(&store, [b"east's", b"east"]);
    same.unwrap();
    assert!(matches!(part, Err(StoreError::Exists)));
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (0, 6));
    for taken in [path("d/f"), path("d")] {
        assert!(store.link_new(&taken, "f", None).is_err());
    }
    store.link_new(&path("d/l"), "f", None).unwrap();
    store.link_new(&path("d/l"), "f", None).unwrap();
    let other = store.link_new(&path("d/l"), "g", None);
    assert!(matches!(other, Err(StoreError::Exists)));
    assert_eq!(
        std::fs::read_link(dir.path().join("d/l")).unwrap(),
        Path::new("f")
    );
    // A link in the place of a file is another file, wherever it leads.
    std::fs::rename(&there, dir.path().join("d/g")).unwrap();
    std::os::unix::fs::symlink("g", &there).unwrap();
    assert!(
        two_new(&store, [b"east's", b"east's"])
            .iter()
            .all(Result::is_err)
    );
    assert_eq!(leftovers(dir.path()), 0);
}

#[test]
fn where_a_rename_cannot_spare_a_second_name_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    let root = store.shared.tree.root();
    let unready = dir.path().join(PARTIAL_DIR).join("unready");
    std::fs::write(&unready, "new").unwrap();
    std::fs::write(dir.path().join("taken"), "old").unwrap();
    let taken = store.shared.add_name("unready", root, "taken");
    assert!(matches!(taken, Err(StoreError::Exists)));
    store.shared.add_name("unready", root, "free").unwrap();
    assert!(!unready.exists());
    // As a crash between the two steps leaves it, long enough that a push could go on with it.
    let kept = unready.with_file_name("key-transfer");
    std::fs::hard_link(dir.path().join("free"), &kept).unwrap();
    let free = File::options().write(true).open(dir.path().join("free"));
    free.unwrap().set_len(RESUMED_BYTES_MIN).unwrap();
    drop(store);
    let store = open(dir.path(), None);
    assert!(!kept.exists());
    assert_eq!(store.stored().bytes, RESUMED_BYTES_MIN + 3);
}

#[test]
fn what_replaced_a_file_is_not_removed_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    put(&store, "f", b"old").unwrap();
    let listed = store.list(&SitePath::root(), "").unwrap().entries[0].mtime;
    let newer = File::options().append(true).open(dir.path().join("f"));
    let now = SystemTime::now() + Duration::from_secs(5);
    newer.unwrap().set_modified(now).unwrap();
    let unwanted = |stat: &Stat| Mtime::of(stat) == listed;
    assert!(!store.remove_if(&path("f"), unwanted).unwrap());
    assert!(dir.path().join("f").exists());
}

#[test]
fn folders_have_mode_and_time_and_stay_usable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    let meta = FileMeta {
        mode: Some(0o7050),
        mtime: Some(Mtime {
            seconds: 1_000_000_000,
            nanos: 5,
        }),
    };
    for _ in 0..2 {
        store.make_folder(&path("a/empty"), meta).unwrap();
        let made = store.folder_meta(&path("a/empty")).unwrap();
        assert_eq!((made.mode, made.mtime), (Some(0o3750), meta.mtime));
    }
    // Where nothing is known, what is there stays as it is.
    let unknown = FileMeta::default();
    store.make_folder(&path("a/empty"), unknown).unwrap();
    let kept = store.folder_meta(&path("a/empty")).unwrap();
    assert_eq!((kept.mode, kept.mtime), (Some(0o3750), meta.mtime));
    put(&store, "f", b"x").unwrap();
    let file = store.make_folder(&path("f"), meta);
    assert!(matches!(file, Err(StoreError::NotAFolder)));
    assert!(store.make_folder(&SitePath::root(), meta).is_err());
    assert!(store.make_folder(&path(SNAPSHOTS_DIR), meta).is_err());
}

#[test]
fn two_gateways_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), None);
    let config = config(dir.path());
    assert!(matches!(
        Store::open(&config),
        Err(StoreOpenError::InUse(_))
    ));
}

#[test]
fn a_directory_that_was_there_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = BulkConfig {
        seen: Some(dir.path().join("bulk.seen")),
        ..config(&dir.path().join("disk"))
    };
    let file = config.dir.join("f");
    put(&Store::open(&config).unwrap().0, "f", b"there").unwrap();
    put(&Store::open(&config).unwrap().0, "f", b"there").unwrap();
    // Its disk is not mounted.
    let away = dir.path().join("away");
    std::fs::rename(&config.dir, &away).unwrap();
    for empty in [false, true] {
        if empty {
            std::fs::create_dir(&config.dir).unwrap();
        }
        let missing = Store::open(&config).unwrap_err();
        assert!(matches!(missing, StoreOpenError::Missing { .. }));
        assert!(missing.to_string().contains("bulk.seen"), "{missing}");
    }
    assert_eq!(std::fs::read_dir(&config.dir).unwrap().count(), 0);
    // Mounted again, or meant to begin anew, or somewhere else.
    std::fs::remove_dir(&config.dir).unwrap();
    std::fs::rename(&away, &config.dir).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"there");
    drop(Store::open(&config).unwrap());
    std::fs::rename(&config.dir, &away).unwrap();
    std::fs::remove_file(config.seen.as_ref().unwrap()).unwrap();
    drop(Store::open(&config).unwrap());
    let elsewhere = BulkConfig {
        dir: dir.path().join("other"),
        ..config
    };
    drop(Store::open(&elsewhere).unwrap());
}

/// `setfacl -m u:nobody:rw`, without it: the attribute as the kernel takes it.
fn give_acl(file: &Path) -> bool {
    let entries: [(u16, u16, u32); 5] = [
        (1, 6, u32::MAX),
        (2, 6, 65534),
        (4, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(file, "system.posix_acl_access", &acl, flags).is_ok()
}

#[test]
fn the_group_may_no_more_where_a_file_arrives_than_its_acl_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    put(&store, "f", b"x").unwrap();
    let file = dir.path().join("f");
    if !give_acl(&file) {
        println!("skipped: this file system has no ACLs");
        return;
    }
    let metadata = std::fs::metadata(&file).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660, "the mask");
    let Standing::File { meta, .. } = store.look().at(&path("f")).unwrap() else {
        panic!()
    };
    let seen = [
        store.open_file(&path("f")).unwrap().meta,
        meta,
        FileMeta::of(&metadata, &file),
        FileMeta::of_opened(&metadata, File::open(&file).unwrap()),
    ];
    for meta in seen {
        assert_eq!(meta.mode, Some(0o640));
    }
}

#[test]
fn targets_that_cannot_be_are_refused_before_the_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    put(&store, "folder/file", b"x").unwrap();
    assert!(matches!(
        start(&store, 2, "folder"),
        Err(StoreError::IsFolder)
    ));
    assert!(matches!(
        start(&store, 2, "folder/file/x"),
        Err(StoreError::NotAFolder)
    ));
    assert!(matches!(
        start(&store, 2, ""),
        Err(StoreError::Path(PathError::NoFileName))
    ));
    let huge = store.create(new_file(2, "huge", Some(u64::MAX)));
    assert!(matches!(huge, Err(StoreError::DiskFull { .. })));
}

#[test]
fn snapshots_are_read_under_a_name_that_nothing_is_written_under() {
    let (dir, snapshots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = BulkConfig {
        snapshots: Some(snapshots.path().join("made later")),
        ..config(dir.path())
    };
    let (store, _) = Store::open(&config).unwrap();
    let folder: SitePath = SNAPSHOTS_DIR.parse().unwrap();
    let file = folder.join("1.snapshot").unwrap();
    assert!(matches!(store.list(&folder, ""), Err(StoreError::NotFound)));
    std::fs::create_dir(snapshots.path().join("made later")).unwrap();
    std::fs::write(snapshots.path().join("made later/1.snapshot"), "one").unwrap();
    let page = store.list(&folder, "").unwrap();
    assert_eq!(page.entries[0].name, "1.snapshot");
    assert_eq!(store.open_file(&file).unwrap().length, 3);
    let refused = |outcome| matches!(outcome, Err(StoreError::Path(PathError::Snapshots)));
    for path in [&folder, &file] {
        assert!(refused(store.remove(path)));
        assert!(refused(store.link(path, "x", None)));
        assert!(refused(put(&store, path.as_str(), b"x")));
    }
    let outside = folder.join("..");
    assert!(outside.is_err());
}

#[test]
fn listings_come_in_pages_and_hide_what_is_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    put(&store, "d/x", b"x").unwrap();
    for number in 0..PAGE_ENTRIES_MAX + 5 {
        std::fs::write(dir.path().join(format!("f{number:05}")), "1").unwrap();
    }
    std::fs::write(dir.path().join("line\nbreak"), "").unwrap();
    let first = store.list(&SitePath::root(), "").unwrap();
    assert_eq!(
        (first.entries.len(), first.more, first.unspeakable),
        (PAGE_ENTRIES_MAX, true, 1)
    );
    assert_eq!(first.entries[0].kind, EntryKind::Folder);
    let last = &first.entries[PAGE_ENTRIES_MAX - 1].name;
    let second = store.list(&SitePath::root(), last).unwrap();
    assert_eq!((second.entries.len(), second.more), (6, false));
    let one = store.list(&path("d/x"), "").unwrap();
    assert_eq!(
        (one.entries[0].name.as_str(), one.entries[0].length),
        ("x", 1)
    );
    assert!(matches!(
        store.list(&path("nothing"), ""),
        Err(StoreError::NotFound)
    ));
}

#[test]
fn removing_takes_files_and_links_and_gives_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None);
    put(&store, "d/x", b"xyz").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    store.remove(&path("link")).unwrap();
    assert!(outside.path().exists());
    assert!(matches!(
        store.remove(&path("d")),
        Err(StoreError::IsFolder)
    ));
    store.remove(&path("d/x")).unwrap();
    assert!(matches!(
        store.remove(&path("d/x")),
        Err(StoreError::NotFound)
    ));
    assert_eq!(store.stored().bytes, 0);
}
