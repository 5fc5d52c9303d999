//! The password in a file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use strait_tests::{Site, eventually};

use super::{OK, Raw};

fn with_password_in(file: &Path) -> Site {
    let site = Site::new("east");
    let password = format!("\n[grid]\npassword = {{ file = \"{}\" }}\n", file.display());
    site.change_config("\n[grid]\n", &password);
    site
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_password_comes_from_a_file_and_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    write(&file, "first\n", 0o600);
    let mut site = with_password_in(&file);
    site.start();
    let mut client = Raw::connect(&site);
    assert!(client.ask("PING").starts_with("-NOAUTH"));
    assert!(client.ask("AUTH second").starts_with("-WRONGPASS"));
    assert_eq!(client.ask("AUTH first"), OK);
    write(&file, "second\n", 0o600);
    site.must(&["reload"]);
    assert_eq!(client.ask("PING"), "+PONG", "who is in stays");
    let mut other = Raw::connect(&site);
    assert!(other.ask("AUTH first").starts_with("-WRONGPASS"));
    assert_eq!(other.ask("AUTH second"), OK);
    // A reload that cannot read it changes nothing.
    fs::remove_file(&file).unwrap();
    let reload = site.strait(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(
        !reload.status.success() && said.contains("grid.password"),
        "{said}"
    );
    assert_eq!(Raw::connect(&site).ask("AUTH second"), OK);
    eventually("it is logged", 10, || {
        let log = site.log_text();
        log.contains("nothing was changed: cannot read")
            .then_some(())
    });
}

#[test]
fn a_password_that_everybody_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let file = dir.path().join("password");
    write(&file, "secret", 0o644);
    let mut site = with_password_in(&file);
    let output = site.strait(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("chmod 640") && said.contains("grid.password"),
        "{said}"
    );
    write(&file, "secret", 0o640);
    site.start();
    assert_eq!(Raw::connect(&site).ask("AUTH secret"), OK);
}
