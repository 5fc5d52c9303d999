//! What whoever runs the gateway asks of it: who is connected, what was slow, what stands still.

use super::*;

/// Sends a command and reads its reply, one bulk string.
async fn text(client: &mut Raw, sent: &str) -> String {
    let head = client.line(sent).await;
    let mut text = vec![0; head[1..].trim().parse::<usize>().unwrap() + 2];
    client.0.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn clients_are_listed_and_cut_off() {
    let site = Site::start(None).await;
    let (mut admin, mut one, mut two) = (
        site.client().await,
        site.client().await,
        site.client().await,
    );
    let id = one.line("CLIENT ID\r\n").await;
    let id = id[1..].trim();
    two.expect("CLIENT SETNAME two\r\nGET a\r\n", "+OK\r\n$-1\r\n")
        .await;
    let listed = text(&mut admin, &format!("CLIENT LIST ID {id}\r\n")).await;
    assert!(
        listed.starts_with(&format!("id={id} ")) && listed.contains(" cmd=client "),
        "{listed}"
    );
    let all = text(&mut admin, "CLIENT LIST\r\n").await;
    let second = all
        .lines()
        .find(|line| line.contains(" name=two "))
        .unwrap();
    assert!(
        second.contains(" cmd=get ") && second.contains(" idle=0 "),
        "{second}"
    );
    assert_eq!(all.matches("id=").count(), 3, "{all}");

    admin
        .expect(&format!("CLIENT KILL ID {id}\r\n"), ":1\r\n")
        .await;
    assert!(one.closed().await);
    let address = two.0.local_addr().unwrap();
    admin
        .expect(&format!("CLIENT KILL {address}\r\n"), "+OK\r\n")
        .await;
    assert!(two.closed().await);
    let mut three = site.client().await;
    three.expect("PING\r\n", "+PONG\r\n").await;
    admin.expect("CLIENT KILL TYPE normal\r\n", ":1\r\n").await;
    assert!(three.closed().await);
    // Who asks for it goes last, with an answer.
    admin
        .expect("CLIENT KILL TYPE normal SKIPME no\r\n", ":1\r\n")
        .await;
    assert!(admin.closed().await);
    site.stop().await;
}

#[tokio::test]
async fn a_pause_holds_up_writes_or_all_that_is_about_data() {
    let site = Site::start(None).await;
    let (mut admin, mut writer) = (site.client().await, site.client().await);
    admin
        .expect("SET a 1\r\nCLIENT PAUSE 100000 WRITE\r\n", "+OK\r\n+OK\r\n")
        .await;
    writer
        .expect(
            "GET a\r\nMULTI\r\nGET a\r\nEXEC\r\n",
            "$1\r\n1\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n",
        )
        .await;
    let writes = "INCR a\r\nGET a\r\nMULTI\r\nINCR a\r\nEXEC\r\n";
    writer.0.write_all(writes.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), writer.0.read_u8()).await;
    assert!(early.is_err(), "answered during the pause");
    admin
        .expect("GET a\r\nCLIENT UNPAUSE\r\n", "$1\r\n1\r\n+OK\r\n")
        .await;
    writer
        .expect("", ":2\r\n$1\r\n2\r\n+OK\r\n+QUEUED\r\n*1\r\n:3\r\n")
        .await;

    admin
        .expect(
            "CLIENT PAUSE 100000\r\nPING\r\nCLIENT GETNAME\r\n",
            "+OK\r\n+PONG\r\n$-1\r\n",
        )
        .await;
    writer.0.write_all(b"GET a\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), writer.0.read_u8()).await;
    assert!(early.is_err(), "answered during the pause");
    // A shorter one instead, that ends by itself.
    admin.expect("CLIENT PAUSE 200\r\n", "+OK\r\n").await;
    writer.expect("", "$1\r\n3\r\n").await;
    site.stop().await;
}

#[tokio::test]
async fn slow_commands_are_noted() {
    let site = Site::start(None).await;
    let mut client = site.client().await;
    client
        .expect("CLIENT SETNAME me\r\nSLOWLOG LEN\r\n", "+OK\r\n:0\r\n")
        .await;
    client
        .expect("CONFIG SET slowlog-log-slower-than 0\r\n", "+OK\r\n")
        .await;
    client
        .expect(
            "INCR a\r\nMULTI\r\nGET a\r\nEXEC\r\n",
            ":1\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n",
        )
        .await;
    client
        .expect("CONFIG SET slowlog-log-slower-than -1\r\n", "+OK\r\n")
        .await;
    // The first CONFIG SET ended after it had changed the threshold, the second too. What is
    // carried out in a transaction is noted, EXEC itself not.
    client.expect("SLOWLOG LEN\r\n", ":4\r\n").await;
    let address = client.0.local_addr().unwrap().to_string();
    let head = "*1\r\n*6\r\n:3\r\n:";
    client.expect("SLOWLOG GET 1\r\n", head).await;
    client.line("").await;
    client.line("").await;
    let who = format!(
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n${}\r\n{address}\r\n$2\r\nme\r\n",
        address.len()
    );
    client.expect("", &who).await;
    client
        .expect("SLOWLOG RESET\r\nSLOWLOG GET\r\n", "+OK\r\n*0\r\n")
        .await;
    site.stop().await;
}

#[tokio::test]
async fn memory_of_keys_is_told() {
    let site = Site::start(None).await;
    let mut client = site.client().await;
    let fields: String = (0..100).map(|n| format!(" field{n} 1")).collect();
    client
        .expect(&format!("HSET h{fields}\r\nINCR a\r\n"), ":100\r\n:1\r\n")
        .await;
    client.expect("XADD l 1-1 f v\r\n", "$3\r\n1-1\r\n").await;
    let mut usage = Vec::new();
    for key in ["a", "h", "h SAMPLES 0", "l"] {
        let bytes = client.line(&format!("MEMORY USAGE {key}\r\n")).await;
        usage.push(bytes[1..].trim().parse::<u64>().unwrap());
    }
    assert!(
        usage[0] >= 48 && usage[1] > 100 * 48 && usage[2] > 100 * 48,
        "{usage:?}"
    );
    assert!(usage[3] > usage[0], "{usage:?}");
    site.stop().await;
}

#[tokio::test]
async fn what_is_left_out_is_told_why() {
    let site = Site::start(None).await;
    let mut client = site.client().await;
    for (sent, reply) in [
        (
            "XDEL l 1-1",
            "-ERR unknown command 'XDEL': logs only grow at their end: XTRIM takes away what is old",
        ),
        (
            "incrbyfloat a 1.5",
            "-ERR unknown command 'incrbyfloat': counters are whole numbers, as sums of fractions depend on their order",
        ),
        (
            "SET a x",
            "-ERR value is not an integer or out of range: strait holds counters and logs, no texts",
        ),
        (
            "CONFIG SET maxmemory 1",
            "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - set 'grid.memory_bytes_max' in strait.toml",
        ),
        (
            "OBJECT HELP",
            "*11\r\n+OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        ),
    ] {
        client
            .expect(&format!("{sent}\r\n"), &format!("{reply}\r\n"))
            .await;
        client = site.client().await;
    }
    site.stop().await;
}
