use std::path::Path;
use std::time::Duration;

use super::*;
use crate::bulk::path::SNAPSHOTS_DIR;

fn open(dir: &Path, bytes_max: Option<u64>) -> Store {
    let config = BulkConfig {
        dir: dir.to_owned(),
        snapshots: None,
        bytes_max,
    };
    Store::open(&config).unwrap().0
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
    assert_eq!(store.bytes(), 8 * 4);
    assert_eq!(store.retain(&both, SystemTime::UNIX_EPOCH), 0);
}

fn leftovers(dir: &Path) -> usize {
    std::fs::read_dir(dir.join(PARTIAL_DIR)).unwrap().count()
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
    assert_eq!((source.length, store.bytes()), (6, 6));
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
    assert_eq!((leftovers(dir.path()), store.bytes()), (0, 3));
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
    assert_eq!((leftovers(dir.path()), store.bytes()), (0, 6));
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
    assert_eq!(store.bytes(), RESUMED_BYTES_MIN + 3);
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
        mode: Some(0o4050),
        mtime: Some(Mtime {
            seconds: 1_000_000_000,
            nanos: 5,
        }),
    };
    for _ in 0..2 {
        store.make_folder(&path("a/empty"), meta).unwrap();
        let made = store.folder_meta(&path("a/empty")).unwrap();
        assert_eq!((made.mode, made.mtime), (Some(0o750), meta.mtime));
    }
    // Where nothing is known, what is there stays as it is.
    let unknown = FileMeta::default();
    store.make_folder(&path("a/empty"), unknown).unwrap();
    let kept = store.folder_meta(&path("a/empty")).unwrap();
    assert_eq!((kept.mode, kept.mtime), (Some(0o750), meta.mtime));
    put(&store, "f", b"x").unwrap();
    let file = store.make_folder(&path("f"), meta);
    assert!(matches!(file, Err(StoreError::NotAFolder)));
    assert!(store.make_folder(&SitePath::root(), meta).is_err());
    assert!(store.make_folder(&path(SNAPSHOTS_DIR), meta).is_err());
}

#[test]
fn leftovers_of_a_crash_are_swept_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path(), None), "kept", b"kept").unwrap();
    std::fs::write(dir.path().join(PARTIAL_DIR).join("left"), "half").unwrap();
    let config = BulkConfig {
        dir: dir.path().to_owned(),
        snapshots: None,
        bytes_max: None,
    };
    let (store, recovery) = Store::open(&config).unwrap();
    assert_eq!(
        recovery,
        Recovery {
            kept: 0,
            removed: 1,
            bytes_freed: 4
        }
    );
    assert!(recovery.to_string().contains("1 removed (4 bytes)"));
    assert_eq!((leftovers(dir.path()), store.bytes()), (0, 4));
}

#[test]
fn a_push_goes_on_where_it_broke_off_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![9; RESUMED_BYTES_MIN as usize + 10];
    let (half, whole) = (bytes.len() - 5, bytes.len() as u64);
    let meta = FileMeta {
        mtime: Some(Mtime {
            seconds: 1,
            nanos: 2,
        }),
        mode: None,
    };
    let new = NewFile {
        meta,
        ..new_file(1, "f", Some(whole))
    };
    let store = open(dir.path(), None);
    let mut partial = store.create(new.clone()).unwrap();
    assert_eq!(store.kept(&new).unwrap(), None);
    partial.write(&bytes[..half]).unwrap();
    partial.keep();
    drop(store);
    let store = open(dir.path(), None);
    assert_eq!(store.bytes(), half as u64);
    let touched = FileMeta {
        mtime: Some(Mtime {
            seconds: 1,
            nanos: 3,
        }),
        mode: None,
    };
    assert_eq!(
        store
            .kept(&NewFile {
                meta: touched,
                ..new.clone()
            })
            .unwrap(),
        None
    );
    assert_eq!(store.kept(&new).unwrap(), Some(trailer(&bytes[..half])));
    let later = NewFile {
        transfer: TransferId(2),
        offset: half as u64 - 3,
        ..new.clone()
    };
    let mut partial = store.create(later.clone()).unwrap();
    assert!(matches!(store.create(later), Err(StoreError::NothingKept)));
    partial.write(&bytes[half - 3..]).unwrap();
    partial.commit(&trailer(&bytes)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), bytes);
    assert_eq!((leftovers(dir.path()), store.bytes()), (0, whole));
    assert_eq!(store.kept(&new).unwrap(), None);
}

#[test]
fn what_is_kept_makes_room_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let length = RESUMED_BYTES_MIN;
    let store = open(dir.path(), Some(length + 100));
    let meta = FileMeta {
        mtime: Some(Mtime {
            seconds: 1,
            nanos: 2,
        }),
        mode: None,
    };
    let mut partial = store
        .create(NewFile {
            meta,
            ..new_file(1, "f", Some(length))
        })
        .unwrap();
    partial.write(&vec![1; length as usize]).unwrap();
    partial.keep();
    assert_eq!((leftovers(dir.path()), store.bytes()), (1, length));
    put(&store, "small", &[2; 200]).unwrap();
    assert_eq!((leftovers(dir.path()), store.bytes()), (0, 200));
}

#[test]
fn two_gateways_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), None);
    let config = BulkConfig {
        dir: dir.path().to_owned(),
        snapshots: None,
        bytes_max: None,
    };
    assert!(matches!(
        Store::open(&config),
        Err(StoreOpenError::InUse(_))
    ));
}

#[test]
fn the_cap_holds_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Some(10));
    put(&store, "a", b"12345678").unwrap();
    let refused = store.create(new_file(2, "b", Some(3)));
    assert!(matches!(
        refused,
        Err(StoreError::CapReached { bytes_max: 10 })
    ));
    assert!(matches!(
        put(&store, "b", b"123"),
        Err(StoreError::CapReached { .. })
    ));
    assert!(!dir.path().join("b").exists());
    assert_eq!(store.bytes(), 8);
    // Removed with an ordinary tool: noticed when it matters.
    std::fs::remove_file(dir.path().join("a")).unwrap();
    put(&store, "b", b"123").unwrap();
    assert_eq!(store.bytes(), 3);
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
fn a_full_disk_is_a_clear_error_and_the_store_goes_on() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        return;
    };
    let store = open(disk.path(), None);
    let mut partial = start(&store, 1, "big").unwrap();
    let error = (0..32)
        .find_map(|_| partial.write(&[7; 1 << 16]).err())
        .unwrap();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    drop(partial);
    assert!(!disk.path().join("big").exists());
    assert_eq!((leftovers(disk.path()), store.bytes()), (0, 0));
    put(&store, "small", b"fits").unwrap();
}

/// A tmpfs of a few bytes; needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                println!(
                    "skipped: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                println!("skipped: no mount command: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let umount = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
        assert!(umount.is_ok_and(|status| status.success()));
    }
}

#[test]
fn snapshots_are_read_under_a_name_that_nothing_is_written_under() {
    let (dir, snapshots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = BulkConfig {
        dir: dir.path().to_owned(),
        snapshots: Some(snapshots.path().join("made later")),
        bytes_max: None,
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
    assert_eq!(store.bytes(), 0);
}

mod confinement {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn names() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("..".to_owned()),
            Just(".".to_owned()),
            Just("out".to_owned()),
            Just("up".to_owned()),
            Just("".to_owned()),
            "[a-c]{1,2}",
        ];
        proptest::collection::vec(name, 0..5).prop_map(|names| names.join("/"))
    }

    proptest! {
        /// `out` links to a folder outside, `up` to `..`: no path writes or reads there.
        #[test]
        fn nothing_outside_is_touched(paths in proptest::collection::vec(names(), 1..8)) {
            let base = tempfile::tempdir().unwrap();
            let (inside, outside) = (base.path().join("in"), base.path().join("outside"));
            std::fs::create_dir_all(&inside).unwrap();
            std::fs::create_dir_all(&outside).unwrap();
            std::fs::write(outside.join("a"), "secret").unwrap();
            symlink(&outside, inside.join("out")).unwrap();
            symlink("..", inside.join("up")).unwrap();
            let store = open(&inside, None);
            for text in paths {
                let Ok(path) = text.parse::<SitePath>() else { continue };
                if let Ok(source) = store.open_file(&path) {
                    prop_assert_eq!(io::read_to_string(source.file).unwrap(), "mine");
                }
                // Either outcome is fine, so long as it happens inside.
                put(&store, &text, b"mine").ok();
            }
            prop_assert_eq!(std::fs::read_to_string(outside.join("a")).unwrap(), "secret");
            prop_assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
            prop_assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 2);
        }
    }
}
