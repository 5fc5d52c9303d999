//! Files of several peers in one `bulk.dir`.

use super::*;

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
    let new = dated_file(1, "long", RESUMED_BYTES_MIN);
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
