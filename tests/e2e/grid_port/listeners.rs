//! Several listeners, and unix sockets.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use redis::Commands;
use strait_tests::{Site, eventually};

use super::listen;

fn over_unix(site: &Site) -> redis::Connection {
    let url = format!("redis+unix://{}", site.data().join("redis.sock").display());
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

#[test]
fn clients_come_in_at_every_listener() {
    let mut site = Site::new("east");
    let other = strait_ports::free_port();
    let first = site.grid;
    listen(
        &site,
        &format!("[\"{first}\", \"unix:redis.sock\", \"{other}\"]\nunix_mode = \"0660\""),
    );
    site.change_config("\nunix_mode = \"0770\"", "");
    site.start();
    let () = site.redis().incr("n", 1).unwrap();
    let () = over_unix(&site).incr("n", 10).unwrap();
    let url = format!("redis://{other}/");
    let mut second = redis::Client::open(url).unwrap().get_connection().unwrap();
    let n: i64 = second.incr("n", 100).unwrap();
    assert_eq!(n, 111);
    let path = site.data().join("redis.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let line: String = redis::cmd("CLIENT")
        .arg("INFO")
        .query(&mut over_unix(&site))
        .unwrap();
    let places = format!("addr={0}:0 laddr={0}:0", path.display());
    assert!(line.contains(&places), "{line}");
    let status = site.status().unwrap();
    let shown = format!("{first}, unix:{}, {other}", path.display());
    assert_eq!(status["gateway"]["grid_address"], shown, "{status}");
    // What a killed gateway leaves is made anew.
    site.kill();
    assert!(path.exists());
    site.start();
    let n: i64 = over_unix(&site).get("n").unwrap_or_default();
    assert!(n >= 0);
    assert!(site.stop().status.success());
    assert!(!path.exists(), "a gateway that stops takes its socket away");
}

#[test]
fn a_socket_that_lives_is_not_stolen() {
    let site = Site::new("east");
    let path = site.data().join("redis.sock");
    listen(&site, "\"unix:redis.sock\"");
    let _other = UnixListener::bind(&path).unwrap();
    let output = site.strait(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let named = format!("cannot listen for Redis clients on unix:{}", path.display());
    assert!(said.contains(&named) && said.contains("in use"), "{said}");
    assert!(UnixStream::connect(&path).is_ok());
}

/// No port of TCP, and a password that commands do not know.
#[test]
fn own_commands_need_neither_port_nor_password() {
    let mut site = Site::new("east");
    listen(&site, "\"unix:redis.sock\"");
    let password = "\n[grid]\npassword = { env = \"GRID_PASSWORD\" }\n";
    site.change_config("\n[grid]\n", password);
    site.set_environment("GRID_PASSWORD", "secret");
    site.start();
    assert!(TcpStream::connect(site.grid).is_err());
    let mut client = over_unix(&site);
    let refused: redis::RedisResult<i64> = client.incr("visits", 7);
    assert!(refused.is_err(), "without a password");
    let () = redis::cmd("AUTH").arg("secret").query(&mut client).unwrap();
    let () = client.incr("visits", 7).unwrap();
    site.stop();
    std::fs::remove_dir_all(site.data().join("snapshots")).unwrap();
    site.start();
    eventually("a snapshot has the counter", 20, || {
        let listed = String::from_utf8(site.must(&["snapshots"]).stdout).unwrap();
        listed.contains(" 1 counters").then_some(())
    });
    site.must(&["replay", "--at", "2100-01-01T00:00:00Z", "--yes"]);
}
