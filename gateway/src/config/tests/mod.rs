use super::*;
use crate::forward::{Bypass, FlowClass, Target};
use crate::resp::Durability;

use strait_transport::Transport;

mod fuzz;
mod mistakes;
mod template;

const WEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NORTH: &str = "aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq";

fn check(text: &str) -> Result<Config, ConfigErrors> {
    let own_key = PublicKey::from_bytes([9; 32]);
    parse(Path::new("/data/strait.toml"), text, Some(own_key))
}

#[test]
fn a_name_is_enough_and_everything_can_be_said() {
    assert!(check("site = \"east\"").is_ok());
    let text = format!(
        "site = \"east\"\nlisten = {{ link = \"[::]:1\", grid = \"10.0.0.1:2\", http = \
         \"0.0.0.0:3\", http_allow_remote = true, advertise = [\"e.example:1\", \"[2001:db8::1]:1\"], \
         link_from = [\"192.0.2.0/24\", \"2001:db8::1\"], gso = false }}\n[grid]\nflush_ms = 5\nmemory_bytes_max = \"2GiB\"\nclients_max = 7\nreply_bytes_max = \"2MiB\"\nunread_bytes_max = \"3MiB\"\npassword = \
         \"secret\"\ndurability = \"disk\"\ndurability_of = [[\"order:*\", \"remote\"]]\n[bulk]\ndir = \"/srv/bulk\"\n[compression]\nlevel = 9\n[[peer]]\nsite = \
         \"west\"\nkey = \"{WEST}\"\naddresses = [\"w.example:7440\"]\nrate = \
         \"1Gbit/s\"\ncongestion = \"cubic\"\ntransport = \"tcp\"\nstall_s = 5\nnext_key = \"{NORTH}\"\n"
    );
    let file = "[[file]]\npattern = \"dumps/*\"\nkeep_newest = 2\nkeep_days = 3\n";
    let window = "[[window]]\nfrom = \"22:30\"\nto = \"06:00\"\ndays = [\"fri\"]\nclass = \"bulk\"\nrate = \"closed\"\n";
    let text = text + file + window;
    let forward = "[forwarding]\nallow = [\"db:5432\", \"[fd00::/8]:*\"]\n[[forward]]\nlisten = \
                   \"127.0.0.1:4\"\npeer = \"west\"\ntransparent = true\nclass = \"bulk\"\nbypass = \
                   \"direct\"\npatience_s = 3\nproxy_protocol = true\n";
    let config = check(&(text + forward)).unwrap();
    assert_eq!(config.allow.len(), 2);
    let window = config.windows[0];
    assert_eq!(
        (window.from.as_secs(), window.to.as_secs()),
        (81_000, 21_600)
    );
    assert_eq!(
        (window.class, window.bits_s),
        (strait_transport::Class::Bulk, 0)
    );
    assert_eq!(Weekdays::named(["fri"]), Some(window.days));
    let (file, days) = (&config.files[0], std::time::Duration::from_secs(3 * 86_400));
    assert_eq!((file.newest, file.age), (Some(2), Some(days)));
    let forward = &config.forwards[0];
    assert_eq!(forward.target, Target::Original);
    assert_eq!(
        (forward.class, forward.bypass),
        (FlowClass::Bulk, Bypass::Direct)
    );
    assert!(forward.proxy_protocol && forward.patience.as_secs() == 3);
    assert_eq!(config.listen.http.port(), 3);
    assert_eq!(config.listen.advertise.len(), 2);
    assert_eq!(config.listen.link_from[1].to_string(), "2001:db8::1/128");
    assert!(!config.listen.gso);
    assert_eq!(config.grid.durability.otherwise, Durability::Disk);
    let remote = ("order:*".to_owned(), Durability::Remote);
    assert_eq!(config.grid.durability.patterns, [remote]);
    assert_eq!(config.bulk.dir, Path::new("/srv/bulk"));
    assert_eq!(config.compression, CompressionLevel::Fixed(9));
    assert_eq!(config.peers[0].rate_bits_s, Some(1_000_000_000));
    assert_eq!(config.peers[0].transport, Some(Transport::Tcp));
    assert_eq!(config.peers[0].keys().count(), 2);
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn paths_start_from_the_file() {
    let config = parse(Path::new("strait.toml"), "site = \"east\"", None).unwrap();
    assert_eq!(
        config.bulk.dir,
        std::env::current_dir().unwrap().join("bulk")
    );
    let here = "site = \"east\"\n[bulk]\ndir = \".\"\n";
    assert!(parse(Path::new("strait.toml"), here, None).is_err());
}

#[test]
fn what_cannot_be_read_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("strait.toml");
    let error = load(&path).unwrap_err().to_string();
    assert!(error.starts_with("cannot read "), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("larger"));
}

proptest::proptest! {
    /// No file makes us panic, and whatever loads is shown without a mistake.
    #[test]
    fn any_text_is_read_or_explained(text in "(?s).{0,200}") {
        if let Err(errors) = check(&text) {
            proptest::prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn any_edit_of_a_real_file_is_read_or_explained(at in 0usize..1800, new in "(?s).{0,3}") {
        let mut text = Template::new("east".parse().unwrap()).render();
        let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let end = (at + 1..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(at);
        text.replace_range(at..end, &new);
        if let Err(errors) = check(&text) {
            proptest::prop_assert!(!errors.mistakes().is_empty());
            proptest::prop_assert!(!errors.to_string().is_empty());
        }
    }
}
