//! Whatever names a peer makes up, they lead to nothing outside of `bulk.dir`.

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
