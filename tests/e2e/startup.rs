//! What others see of a gateway that is starting: probes, systemd, whoever stops it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use strait_tests::{Site, eventually, get, pair_of_sites, signal};

/// Killed where a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn start(site: &Site, environment: &[(&str, &str)]) -> Self {
        let mut command = site.command(&["run"]);
        command.envs(environment.iter().copied());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn ends_well(&mut self) {
        signal(&self.0, "TERM");
        let status = eventually("it ends", 30, || self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_gateway_that_reads_its_disk_is_alive_and_can_be_stopped() {
    let site = Site::new("east");
    // Reading it never comes to an end.
    let journal = site.data().join("grid/journal-0000000000000001");
    let made = Command::new("mkfifo").arg(journal).status().unwrap();
    assert!(made.success());
    let mut running = Running::start(&site, &[]);
    let alive = eventually("it is alive", 30, || get(site.http, "/livez"));
    assert_eq!(alive.0, 200);
    let (code, reason) = get(site.http, "/readyz").unwrap();
    assert_eq!(code, 503);
    assert!(reason.contains("is starting"), "{reason}");
    // Clients go elsewhere at once.
    assert!(TcpStream::connect(site.grid).is_err());
    let told = site.strait(&["status"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let starting =
        told.contains("the gateway of this data directory") && told.contains("is starting");
    assert!(starting, "{told}");
    running.ends_well();
}

#[test]
fn who_finds_a_port_taken_says_so_before_it_reads_anything() {
    let site = Site::new("east");
    site.pair_with(&Site::new("west"), None);
    let forward = strait_ports::free_port();
    site.configure(&format!(
        "[[forward]]\nlisten = \"{forward}\"\npeer = \"west\"\ntarget = \"127.0.0.1:1\"\n"
    ));
    let ports = [
        (site.grid, "Redis clients"),
        (site.http, "listen.http"),
        (site.link, "cannot listen"),
        (forward, "the forward on"),
    ];
    for (port, name) in ports {
        let _taken = TcpListener::bind(port).unwrap();
        let output = site.strait(&["run"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(name) && told.contains("in use"), "{told}");
        assert!(!told.contains("grid:"), "{told}");
    }
}

#[test]
fn systemd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let told = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let site = Site::new("east");
    let mut running = Running::start(&site, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    assert_eq!(told().trim_end(), "READY=1");
    assert_eq!(get(site.http, "/readyz").unwrap().0, 200);
    running.ends_well();
    assert_eq!(told().trim_end(), "STOPPING=1");
}

/// Whatever mask it is started with.
#[test]
fn what_a_gateway_makes_is_for_its_owner_alone_and_folders_on_the_way_to_files_are_not() {
    let (east, west, _cable) = pair_of_sites();
    let mode = |path: &str| {
        let path = west.data().join(path);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    let journal = std::fs::read_dir(west.data().join("grid")).unwrap();
    for file in journal {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", west.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    let soft = core.split_whitespace().nth(4);
    assert_eq!(soft, Some("0"), "{core}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    east.must(&["push", file.to_str().unwrap(), "west:on/the/way/file"]);
    assert_eq!(mode("bulk/east/on/the/way/file"), 0o640);
    // The tests are started with a common mask.
    let given = mode_given();
    assert_eq!(mode("bulk/east/on/the"), 0o777 & !given);
}

/// The mask of the tests, which the gateways are started with.
fn mode_given() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(mask.unwrap().trim(), 8).unwrap()
}
