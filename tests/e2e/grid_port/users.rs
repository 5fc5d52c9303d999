//! Users with rights of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use strait_tests::{Site, eventually};

use super::{OK, Raw};

/// What `echo -n reporting | sha256sum` prints.
const REPORTING: &str = "637d7becb9983937d58f53af972dc87373f3b7a2010cfb6805880f1463fcef8d";
const NO_KEY: &str =
    "NOPERM this user has no permissions to access one of the keys used as arguments";

fn user(name: &str, password: &str, rules: &str) -> String {
    format!("\n[[grid.user]]\nname = \"{name}\"\n{password}\nrules = \"{rules}\"\n")
}

fn reader() -> String {
    let password = format!("password_sha256 = \"{REPORTING}\"");
    user("reader", &password, "on ~stats:* +@read")
}

/// A site with two users beside the default one.
fn with_users() -> Site {
    let site = Site::new("east");
    let file = site.data().join("writer");
    fs::write(&file, "writing\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    site.change_config("\n[grid]\n", "\n[grid]\npassword = \"all\"\n");
    let password = "password = { file = \"writer\" }";
    site.configure(&user("writer", password, "on ~stats:* +@write"));
    site.configure(&reader());
    fs::set_permissions(site.config(), Permissions::from_mode(0o600)).unwrap();
    site
}

/// What redis-cli prints as that user.
fn cli(site: &Site, [user, password]: [&str; 2], command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &site.grid.port().to_string(), "--no-auth-warning"])
        .args(["--user", user, "--pass", password])
        .args(command)
        .output()
        .expect("redis-cli is installed (tests/run installs it)");
    let said = String::from_utf8(output.stdout).unwrap();
    said.trim_end().to_owned()
}

#[test]
fn users_have_rights_of_their_own() {
    let mut site = with_users();
    site.must(&["check-config"]);
    site.start();
    let (writer, reader, default) = (
        ["writer", "writing"],
        ["reader", "reporting"],
        ["default", "all"],
    );
    assert_eq!(cli(&site, writer, &["INCRBY", "stats:n", "7"]), "7");
    assert_eq!(cli(&site, writer, &["INCRBY", "other", "7"]), NO_KEY);
    assert_eq!(cli(&site, reader, &["GET", "stats:n"]), "7");
    assert_eq!(cli(&site, reader, &["GET", "other"]), NO_KEY);
    let denied = cli(&site, reader, &["INCR", "stats:n"]);
    assert_eq!(
        denied,
        "NOPERM this user has no permissions to run the 'incr' command"
    );
    assert_eq!(cli(&site, default, &["INCR", "other"]), "1");
    assert_eq!(
        cli(&site, default, &["ACL", "USERS"]),
        "default\nreader\nwriter"
    );
    eventually("it is counted and logged", 10, || {
        let counted = site.status()?["clients"]["denied"] == 3;
        let logged = site.log_text().contains("has no right to a command");
        (counted && logged).then_some(())
    });
}

#[test]
fn a_reload_changes_rights_and_cuts_off_who_is_gone() {
    let mut site = with_users();
    site.start();
    let (mut writer, mut reader) = (Raw::connect(&site), Raw::connect(&site));
    assert_eq!(writer.ask("AUTH writer writing"), OK);
    assert_eq!(reader.ask("AUTH reader reporting"), OK);
    assert_eq!(reader.ask("GET stats:n"), "$-1");
    site.change_config("on ~stats:* +@write", "on ~other:* +@write");
    site.change_config(&self::reader(), "");
    site.must(&["reload"]);
    assert_eq!(writer.ask("INCR stats:n"), format!("-{NO_KEY}"));
    assert_eq!(writer.ask("INCR other:n"), ":1");
    assert_eq!(reader.ask("GET stats:n"), "", "it is cut off");
    // A reload with a mistake in it changes nothing.
    site.change_config("on ~other:* +@write", "on ~other:* +@nosuch");
    let reload = site.strait(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(said.contains("`+@nosuch` names no command"), "{said}");
    assert_eq!(writer.ask("INCR other:n"), ":2");
}
