//! TLS, with redis-cli.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use strait_tests::{Site, eventually};

use super::listen;

/// Certificates and keys that nobody trusts.
fn pem(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("gateway/tests/tls").join(name)
}

/// Gives a site a certificate and its key.
fn install(site: &Site, name: &str) {
    let key = site.data().join("redis.key");
    fs::copy(pem(&format!("{name}.pem")), site.data().join("redis.pem")).unwrap();
    fs::copy(pem(&format!("{name}.key")), &key).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
}

/// A site that listens behind TLS and without.
fn with_tls(client_ca: bool) -> (Site, SocketAddr) {
    let site = Site::new("east");
    let address = strait_ports::free_port();
    listen(&site, &format!("[\"{}\", \"tls:{address}\"]", site.grid));
    let mut section = "\n[grid.tls]\ncert = \"redis.pem\"\nkey = \"redis.key\"\n".to_owned();
    if client_ca {
        section += &format!("client_ca = \"{}\"\n", pem("authority.pem").display());
    }
    site.configure(&section);
    (site, address)
}

/// What `redis-cli --tls ARGS` ends with.
fn cli(address: SocketAddr, args: &[&str]) -> Output {
    Command::new("redis-cli")
        .args(["--tls", "-h", "localhost", "-p"])
        .arg(address.port().to_string())
        .arg("--cacert")
        .arg(pem("authority.pem"))
        .args(args)
        .output()
        .expect("redis-cli is installed (tests/run installs it)")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap().trim_end().to_owned()
}

#[test]
fn redis_cli_comes_in_behind_tls() {
    let (mut site, address) = with_tls(false);
    install(&site, "server");
    site.must(&["check-config"]);
    site.start();
    assert_eq!(said(&cli(address, &["INCRBY", "hits", "41"])), "41");
    assert_eq!(said(&cli(address, &["-3", "INCR", "hits"])), "42");
    let port = cli(address, &["CONFIG", "GET", "tls-port"]);
    assert_eq!(said(&port), format!("tls-port\n{}", address.port()));
    let benchmark = Command::new("redis-benchmark")
        .args(["--tls", "-h", "localhost", "-p"])
        .arg(address.port().to_string())
        .arg("--cacert")
        .arg(pem("authority.pem"))
        .args(["-n", "20000", "-P", "64", "-q", "-t", "incr"])
        .output()
        .expect("redis-benchmark is installed (tests/run installs it)");
    let text = said(&benchmark);
    assert!(
        benchmark.status.success() && text.contains("INCR"),
        "{text}"
    );
    // Without TLS, to the same port: it gets no answer, and a line is logged.
    let plain = Command::new("redis-cli")
        .args(["-p", &address.port().to_string(), "PING"])
        .output()
        .unwrap();
    assert!(!said(&plain).contains("PONG"));
    eventually("the failure is logged and counted", 10, || {
        let logged = site
            .log_text()
            .contains("the TLS handshake of a Redis client failed");
        let status = site.status()?;
        let counted = status["clients"]["failed_handshakes"] == 1;
        (logged && counted).then_some(())
    });
}

#[test]
fn a_client_shows_its_certificate() {
    let (mut site, address) = with_tls(true);
    install(&site, "server");
    site.start();
    assert!(!said(&cli(address, &["PING"])).contains("PONG"));
    let (cert, key) = (pem("client.pem"), pem("client.key"));
    let shown = [
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let pong = cli(address, &[&shown[..], &["PING"]].concat());
    assert_eq!(said(&pong), "PONG");
}

#[test]
fn a_renewed_certificate_is_taken_without_a_restart() {
    let (mut site, address) = with_tls(false);
    install(&site, "server");
    site.start();
    let shown = || {
        let shown = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string()])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl is installed (tests/run installs it)");
        let text = said(&shown);
        let subject = text.lines().find(|line| line.starts_with("subject"));
        subject.expect(&text).to_owned()
    };
    assert!(shown().ends_with("= server"), "{}", shown());
    install(&site, "next-server");
    site.must(&["reload"]);
    assert!(shown().ends_with("= next-server"), "{}", shown());
    // A key that does not belong to the certificate changes nothing.
    fs::copy(pem("client.pem"), site.data().join("redis.pem")).unwrap();
    let reload = site.strait(&["reload"]);
    assert!(
        said(&reload).contains("do not belong together"),
        "{}",
        said(&reload)
    );
    assert!(shown().ends_with("= next-server"), "{}", shown());
}

#[test]
fn files_that_cannot_be_used_are_named_before_the_start() {
    let (site, _) = with_tls(false);
    for command in ["check-config", "run"] {
        let output = site.strait(&[command]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("redis.pem for grid.tls.cert"), "{text}");
    }
    install(&site, "server");
    fs::set_permissions(site.data(), Permissions::from_mode(0o755)).unwrap();
    let key = site.data().join("redis.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let text = said(&site.strait(&["check-config"]));
    assert!(
        text.contains("chmod 640") && text.contains("grid.tls.key"),
        "{text}"
    );
}
