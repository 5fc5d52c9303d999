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
fn leftovers_of_a_crash_are_swept_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path(), None), "kept", b"kept").unwrap();
    std::fs::write(dir.path().join(PARTIAL_DIR).join("left"), "half").unwrap();
    let config = config(dir.path());
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
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (0, 4));
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
    assert_eq!(kept(&store, &new).unwrap(), None);
    partial.write(&bytes[..half]).unwrap();
    drop(partial);
    drop(store);
    let store = open(dir.path(), None);
    assert_eq!(store.stored().bytes, half as u64);
    let touched = FileMeta {
        mtime: Some(Mtime {
            seconds: 1,
            nanos: 3,
        }),
        mode: None,
    };
    assert_eq!(
        kept(
            &store,
            &NewFile {
                meta: touched,
                ..new.clone()
            }
        )
        .unwrap(),
        None
    );
    assert_eq!(kept(&store, &new).unwrap(), Some(trailer(&bytes[..half])));
    let later = NewFile {
        transfer: TransferId(2),
        offset: half as u64 - 3,
        ..new.clone()
    };
    let mut partial = store.create(later.clone()).unwrap();
    while !partial.catch_up().unwrap() {}
    assert!(matches!(store.create(later), Err(StoreError::NothingKept)));
    partial.write(&bytes[half - 3..]).unwrap();
    partial.commit(&trailer(&bytes)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), bytes);
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (0, whole));
    assert_eq!(kept(&store, &new).unwrap(), None);
}

#[test]
fn what_is_kept_makes_room_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let length = RESUMED_BYTES_MIN;
    let store = open(dir.path(), Some(length + 100 + 3 * 4096));
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
    drop(partial);
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (1, length));
    put(&store, "small", &[2; 200]).unwrap();
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (0, 200));
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
fn the_cap_holds_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    // Of unfinished files the folder counts, too, and its mark.
    let cap = 3 * 4096 + 10;
    let store = open(dir.path(), Some(cap));
    put(&store, "a", b"12345678").unwrap();
    let refused = store.create(new_file(2, "b", Some(3)));
    assert!(matches!(
        refused,
        Err(StoreError::CapReached { bytes_max }) if bytes_max == cap
    ));
    assert!(matches!(
        put(&store, "b", b"123"),
        Err(StoreError::CapReached { .. })
    ));
    assert!(!dir.path().join("b").exists());
    assert_eq!(store.stored().bytes, 8);
    // Removed with an ordinary tool: noticed when it matters.
    std::fs::remove_file(dir.path().join("a")).unwrap();
    put(&store, "b", b"123").unwrap();
    assert_eq!(store.stored(), stored(3, 3));
}

fn stored(bytes: u64, entries: u64) -> Stored {
    Stored { bytes, entries }
}

#[test]
fn empty_files_folders_and_links_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Some(11 * 4096));
    put(&store, "a/b/c/empty", b"").unwrap();
    store.link(&path("a/link"), "b", None).unwrap();
    store.link(&path("a/link"), "b/c", None).unwrap();
    store
        .make_folder(&path("d/e"), FileMeta::default())
        .unwrap();
    put(&store, "a/b/c/empty", b"").unwrap();
    // The folder of unfinished files, its mark, a, b, c, empty, link, d, e.
    assert_eq!(store.stored(), stored(0, 9));
    put(&store, "one", b"").unwrap();
    put(&store, "two", b"").unwrap();
    let full = |outcome| matches!(outcome, Err(StoreError::CapReached { .. }));
    assert!(full(put(&store, "three", b"")));
    assert!(full(store.make_folder(&path("f"), FileMeta::default())));
    assert!(full(store.link(&path("other"), "one", None)));
    store.remove(&path("d/e")).unwrap();
    store.remove(&path("a/link")).unwrap();
    assert_eq!(store.stored(), stored(0, 9));
    drop(store);
    let store = open(dir.path(), None);
    assert_eq!(store.stored(), stored(0, 9), "counted anew it is as much");
    assert_eq!(leftovers(dir.path()), 0);
}

#[test]
fn a_directory_above_its_cap_is_served_and_grows_no_more() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path(), None), "old", &[7; 9000]).unwrap();
    let store = open(dir.path(), Some(9000 + 4096));
    assert_eq!(store.open_file(&path("old")).unwrap().length, 9000);
    let refused = put(&store, "new", b"");
    assert!(matches!(refused, Err(StoreError::CapReached { .. })));
    store.remove(&path("old")).unwrap();
    put(&store, "new", b"").unwrap();
}

#[test]
fn a_reserve_of_the_disk_stays_free() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        return;
    };
    let reserve = |free_bytes_min| BulkConfig {
        free_bytes_min,
        ..config(disk.path())
    };
    let free = || {
        let disk = rustix::fs::statvfs(disk.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    // No more than a tenth of it, however much is asked for.
    for (asked, least) in [(64 << 10, 64 << 10), (1 << 40, (1 << 20) / 10)] {
        let (store, _) = Store::open(&reserve(asked)).unwrap();
        let mut partial = start(&store, 1, "big").unwrap();
        let error = (0..256).find_map(|_| partial.write(&[7; 8 << 10]).err());
        let error = error.unwrap();
        let named =
            matches!(error, StoreError::ReserveReached { bytes_min, .. } if bytes_min == least);
        assert!(named, "{error}");
        assert!((least..least + (32 << 10)).contains(&free()), "{}", free());
        let declared = store.create(new_file(2, "long", Some(900 << 10)));
        assert!(declared.is_err());
        drop(partial);
        put(&store, "small", b"fits").unwrap();
    }
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

#[test]
fn peers_that_do_not_share_see_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let apart = BulkConfig {
        shared: None,
        ..config(dir.path())
    };
    let all = Store::open(&apart).unwrap().0;
    put(&all, "of all", b"old").unwrap();
    let of = |peer: &str| all.of_peer(&peer.parse().unwrap());
    let (east, north) = (of("east"), of("north"));
    put(&east, "d/f", b"east's").unwrap();
    put(&north, "d/f", b"north's").unwrap();
    east.link(&path("l"), "d/f", None).unwrap();
    assert!(east.link(&path("l"), "../north/d/f", None).is_err());
    assert_eq!(
        std::fs::read(dir.path().join("east/d/f")).unwrap(),
        b"east's"
    );
    assert_eq!(
        std::fs::read(dir.path().join("north/d/f")).unwrap(),
        b"north's"
    );
    for absent in ["of all", "north/d/f", "east/d/f"] {
        assert!(matches!(
            east.open_file(&path(absent)),
            Err(StoreError::NotFound)
        ));
    }
    let names: Vec<_> = east.list(&SitePath::root(), "").unwrap().entries;
    assert_eq!(
        names.iter().map(|entry| &*entry.name).collect::<Vec<_>>(),
        ["d", "l"]
    );
    north.remove(&path("d/f")).unwrap();
    assert_eq!(east.open_file(&path("d/f")).unwrap().length, 6);
    // A push that broke off is its peer's alone.
    let meta = FileMeta {
        mtime: Some(Mtime {
            seconds: 1,
            nanos: 2,
        }),
        mode: None,
    };
    let new = NewFile {
        meta,
        ..new_file(1, "long", Some(RESUMED_BYTES_MIN))
    };
    let mut partial = east.create(new.clone()).unwrap();
    partial.write(&vec![1; RESUMED_BYTES_MIN as usize]).unwrap();
    drop(partial);
    assert_eq!(kept(&north, &new).unwrap(), None);
    assert!(kept(&east, &new).unwrap().is_some());
    // A link in the place of a peer's folder leads nowhere.
    std::os::unix::fs::symlink("east", dir.path().join("south")).unwrap();
    let south = of("south");
    assert!(matches!(
        south.open_file(&path("d/f")),
        Err(StoreError::NotAFolder)
    ));
    assert!(put(&south, "d/g", b"south's").is_err());
}

#[test]
fn the_deepest_path_of_a_peer_is_one_of_bulk_dir() {
    let dir = tempfile::tempdir().unwrap();
    let apart = BulkConfig {
        shared: Some(false),
        ..config(dir.path())
    };
    let all = Store::open(&apart).unwrap().0;
    let east = all.of_peer(&"east".parse().unwrap());
    let deepest = vec!["d"; 32].join("/");
    put(&all, &deepest, b"fits").unwrap();
    let refused = put(&east, &deepest, b"too deep");
    assert!(matches!(refused, Err(StoreError::Path(PathError::TooDeep))));
    put(&east, &vec!["d"; 31].join("/"), b"fits").unwrap();
}

#[test]
fn peers_share_a_directory_of_the_release_before_unless_they_are_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(PARTIAL_DIR)).unwrap();
    std::fs::write(dir.path().join("old"), b"old").unwrap();
    let opened = |shared| {
        let config = BulkConfig {
            shared,
            ..config(dir.path())
        };
        Store::open(&config).unwrap().0
    };
    let east = |store: Store| store.of_peer(&"east".parse().unwrap());
    assert!(east(opened(None)).open_file(&path("old")).is_ok());
    assert!(east(opened(Some(false))).open_file(&path("old")).is_err());
    assert!(east(opened(None)).open_file(&path("old")).is_ok());
    // A crash in the middle of the first start is no such release.
    let new = tempfile::tempdir().unwrap();
    std::fs::create_dir(new.path().join(".strait-partial.new")).unwrap();
    let unsaid = BulkConfig {
        shared: None,
        ..config(new.path())
    };
    for _ in 0..2 {
        assert!(!Store::open(&unsaid).unwrap().0.peers_share());
    }
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
    assert_eq!((leftovers(disk.path()), store.stored().bytes), (0, 0));
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
