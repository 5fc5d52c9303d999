//! Quotas, and a disk that is full.

use super::*;

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
