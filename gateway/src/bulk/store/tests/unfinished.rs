//! Pushes that broke off: what is kept of them, and for how long.

use super::*;

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
    let new = dated_file(1, "f", whole);
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
    let mut partial = store.create(dated_file(1, "f", length)).unwrap();
    partial.write(&vec![1; length as usize]).unwrap();
    drop(partial);
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (1, length));
    put(&store, "small", &[2; 200]).unwrap();
    assert_eq!((leftovers(dir.path()), store.stored().bytes), (0, 200));
}
