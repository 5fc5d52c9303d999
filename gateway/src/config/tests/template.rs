//! The file that `strait init` writes, and the handbook.

use super::super::*;
use super::{WEST, check};

#[test]
fn the_template_says_nothing_but_the_defaults() {
    let template = Template::new("east".parse().unwrap());
    let config = check(&template.render()).unwrap();
    let default = Config::new("east".parse().unwrap(), "/data/bulk".into());
    assert_eq!(format!("{config:?}"), format!("{default:?}"));
}

/// Every commented-out key is real: without its `#` the file still loads.
#[test]
fn the_template_names_every_key() {
    let template = Template::new("east".parse().unwrap()).render();
    let text = template.replace("\n# password", "\npassword");
    let text = text.replace("\n# [grid.tls]\n# cert", "\n[grid.tls]\ncert");
    let text = text.replace("\n# key = \"redis", "\nkey = \"redis");
    let text = text.replace("\n# client_ca", "\nclient_ca");
    let text = text.replace("\n# [[grid.user]]\n# name", "\n[[grid.user]]\nname");
    let text = text.replace(
        "sha256 = \"...\"",
        &format!("sha256 = \"{}\"", "0".repeat(64)),
    );
    let text = text.replace("\n# rules", "\nrules");
    let text = text.replace("\n# shared", "\nshared");
    let text = text.replace("\n# group = \"postgres\"", "\ngroup = \"root\"");
    let (head, peer) = text.split_once("# [[peer]]").unwrap();
    let (head, forward) = head.split_once("# [[forward]]").unwrap();
    let forward = forward.replace("\n# Peers", "\n").replace("\n# ", "\n");
    let forward = forward.split(". `strait").next().unwrap();
    let peer = peer
        .replace("\n# ", "\n")
        .replace("key = \"...\"", &format!("key = \"{WEST}\""));
    let text = format!("{head}[[forward]]{forward}\n[[peer]]{peer}");
    let config = check(&text).unwrap();
    assert_eq!(config.forwards[0].patience.as_secs(), 15);
    assert_eq!(
        config.grid.password,
        Some(Secret::Text(Password::new("...")))
    );
    assert_eq!(config.grid.users[0].user.name(), "reports");
    let tls = config.grid.tls.unwrap();
    assert_eq!(tls.client_ca.unwrap(), Path::new("/data/clients.pem"));
    assert_eq!(config.bulk.bytes_max, 1 << 40);
    assert_eq!(config.bulk.shared, Some(true));
    assert_eq!(config.bulk.group, Some(0));
    assert_eq!(config.peers[0].rate_bits_s, Some(100_000_000));
}

#[test]
fn the_handbook_explains_every_key() {
    let handbook = include_str!("../../../../docs/OPERATING.md");
    let mut section = String::new();
    let template = Template::new("east".parse().unwrap()).render();
    for line in template.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned() + ".";
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            assert!(
                handbook.contains(&format!("| `{section}{key}` |")),
                "{section}{key}"
            );
        }
    }
    assert_eq!(section, "peer.");
}
