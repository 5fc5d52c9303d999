//! HTTP for operators: `/metrics`, `/status`, `/digest`, `/livez`, `/readyz`.
//!
//! Read-only and without password, so it belongs on loopback. There a browser is the
//! stranger to think of: a page that resolves its own name to 127.0.0.1 could read
//! everything, so a request must name this host by address or as `localhost`.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, HOST};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::metrics;
use super::status::Status;

/// Knows how the gateway is.
pub trait StatusSource: Send + Sync + 'static {
    /// How it is now. Called once a request, on a thread that may block.
    fn status(&self) -> Status;

    /// What of it hangs, and for how long. Called on a thread of the runtime: it waits for nothing.
    fn hangs(&self) -> Vec<String>;

    /// Digest of its whole grid, in hexadecimal. May take long.
    fn digest(&self) -> String;
}

/// What the pages are made from: nothing, until the gateway has recovered.
#[derive(Clone, Default)]
struct Source {
    gateway: Arc<OnceLock<Arc<dyn StatusSource>>>,
    digesting: Arc<tokio::sync::Mutex<()>>,
}

/// Connections at a time: one more closes the oldest. So connections that say nothing keep nobody from
/// asking whether the gateway is alive.
const CONNECTIONS_MAX: usize = 64;
/// Time for a request's header to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a whole connection: a scraper comes back anyway.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 << 10;

const PATHS: &str = "there are /metrics, /status, /digest, /livez and /readyz\n";

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {address} for HTTP (listen.http): {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Where a gateway says that it has recovered: what the pages show from then on.
#[derive(Clone)]
pub struct Pages(Source);

impl Pages {
    /// Shows how this gateway is. Only the first call counts.
    pub fn show(&self, gateway: Arc<dyn StatusSource>) {
        self.0.gateway.get_or_init(|| gateway);
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// A server that has its port and serves nothing yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    source: Source,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the port.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            source: Source::default(),
        })
    }

    /// What it serves.
    pub fn pages(&self) -> Pages {
        Pages(self.source.clone())
    }

    /// The address with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done. What is being answered then is dropped.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        // Beyond loopback people know the host by names of their own.
        let any_host = !self.address.ip().is_loopback();
        let router = router(self.source, any_host);
        tokio::select! {
            () = accept_all(&self.listener, router) => {}
            () = shutdown => {}
        }
    }
}

async fn accept_all(listener: &TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    // Oldest first.
    let mut serving = VecDeque::<AbortHandle>::with_capacity(CONNECTIONS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                serving.retain(|connection| !connection.is_finished());
                if serving.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = serving.pop_front()
                {
                    oldest.abort();
                }
                serving.push_back(connections.spawn(serve_connection(stream, router.clone())));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must let go of theirs.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended"),
    }
}

fn router(source: Source, any_host: bool) -> Router {
    let router = Router::new()
        .route("/metrics", get(serve_metrics))
        .route("/status", get(serve_status))
        .route("/digest", get(serve_digest))
        .route("/verify/{site}", get(refuse_verify))
        .route("/readyz", get(serve_ready))
        .route("/livez", get(serve_live))
        .fallback(async || (StatusCode::NOT_FOUND, format!("no such page; {PATHS}")))
        .layer(middleware::from_fn(only_reads))
        .with_state(source);
    if any_host {
        router
    } else {
        router.layer(middleware::from_fn(only_for_this_host))
    }
}

async fn only_reads(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(ALLOW, "GET, HEAD")],
        "read-only\n",
    )
        .into_response()
}

async fn only_for_this_host(request: Request, next: Next) -> Response {
    // Without the header it is no browser. A browser sends one: of two, another server on the way may
    // have looked at the other.
    let mut hosts = request.headers().get_all(HOST).iter();
    let known = match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => host.to_str().is_ok_and(names_this_host),
        (Some(_), Some(_)) => false,
    };
    if known {
        return next.run(request).await;
    }
    let text = "ask by IP address or as localhost; see http_allow_remote in strait.toml\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

fn names_this_host(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bracketed.unwrap_or(host).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) | None => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

async fn serve_metrics(State(source): State<Source>) -> Result<Response, Unavailable> {
    let text = metrics::render(source.status().await?).map_err(|_| Unavailable::Stopping)?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn serve_status(State(source): State<Source>) -> Result<Response, Unavailable> {
    json(&source.status().await?)
}

async fn serve_digest(State(source): State<Source>) -> Result<Response, Unavailable> {
    // One at a time: each reads the whole grid.
    let _turn = source.digesting.lock().await;
    let digest = source.ask(|gateway| gateway.digest()).await?;
    Ok((digest + "\n").into_response())
}

/// A page that any site on the Web can make a browser ask for must not act.
async fn refuse_verify() -> Response {
    let text = "a comparison acts, and pages only show: run `strait verify SITE` on this host\n";
    // Nothing is allowed there.
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "")], text).into_response()
}

async fn serve_live(State(source): State<Source>) -> Response {
    let hangs = source
        .gateway()
        .map_or_else(|_| Vec::new(), |gateway| gateway.hangs());
    if hangs.is_empty() {
        return "alive\n".into_response();
    }
    let text = format!("not alive: {}\n", hangs.join("; "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn serve_ready(State(source): State<Source>) -> Result<Response, Unavailable> {
    let reasons = source.status().await?.not_ready;
    if reasons.is_empty() {
        return Ok("ready\n".into_response());
    }
    let text = format!("not ready: {}\n", reasons.join("; "));
    Ok((StatusCode::SERVICE_UNAVAILABLE, text).into_response())
}

fn json(value: &impl serde::Serialize) -> Result<Response, Unavailable> {
    let text = serde_json::to_string(value).map_err(|_| Unavailable::Stopping)?;
    Ok(([(CONTENT_TYPE, "application/json")], text + "\n").into_response())
}

/// Why there is nothing to show.
#[derive(Clone, Copy)]
enum Unavailable {
    Starting,
    Stopping,
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        let text = match self {
            Self::Starting => "not ready: the gateway is starting: it reads its data directory\n",
            Self::Stopping => "not ready: the gateway is going down\n",
        };
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

impl Source {
    fn gateway(&self) -> Result<Arc<dyn StatusSource>, Unavailable> {
        self.gateway.get().cloned().ok_or(Unavailable::Starting)
    }

    async fn status(&self) -> Result<Status, Unavailable> {
        self.ask(|gateway| gateway.status()).await
    }

    /// The state is gathered under locks: not on a thread that moves packets.
    async fn ask<T: Send + 'static>(
        &self,
        question: fn(&dyn StatusSource) -> T,
    ) -> Result<T, Unavailable> {
        let gateway = self.gateway()?;
        tokio::task::spawn_blocking(move || question(&*gateway))
            .await
            .map_err(|_| Unavailable::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::sample;
    use super::*;

    async fn start(status: Status) -> SocketAddr {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        server.pages().show(Arc::new(sample::Still(status)));
        let address = server.local_addr();
        tokio::spawn(server.serve(std::future::pending()));
        address
    }

    async fn send(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        // Whoever sends too much may be hung up on.
        if stream.write_all(request.as_bytes()).await.is_ok() {
            drop(stream.read_to_end(&mut answer).await);
        }
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        send(
            address,
            &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
        )
        .await
    }

    #[tokio::test]
    async fn each_page_answers_and_others_do_not() {
        let address = start(sample::status()).await;
        for (path, code, part) in [
            ("/livez", "200", "alive"),
            ("/readyz", "200", "ready"),
            ("/metrics", "200", "# EOF"),
            ("/digest", "200", "00ff\n"),
            ("/status", "200", "\"site\":\"east\""),
            ("/", "404", "/metrics"),
            ("/verify/west", "405", "strait verify SITE"),
            ("/status/../etc/passwd", "404", "no such page"),
        ] {
            let answer = get(address, path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.0 {code} ")),
                "{path}: {answer}"
            );
            assert!(answer.contains(part), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_gateway_that_reads_its_disk_is_alive_and_not_ready() {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (address, pages) = (server.local_addr(), server.pages());
        tokio::spawn(server.serve(std::future::pending()));
        assert!(get(address, "/livez").await.contains("alive"));
        for path in ["/readyz", "/status", "/metrics", "/digest"] {
            let answer = get(address, path).await;
            assert!(answer.starts_with("HTTP/1.0 503 "), "{path}: {answer}");
            assert!(answer.contains("is starting"), "{path}: {answer}");
        }
        pages.show(Arc::new(sample::Still(sample::status())));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.0 200 "));
    }

    struct Hanging;

    impl StatusSource for Hanging {
        fn status(&self) -> Status {
            sample::status()
        }

        fn hangs(&self) -> Vec<String> {
            vec!["the thread that flushes the grid has not come round for 61 s".to_owned()]
        }

        fn digest(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn what_hangs_is_named_and_the_gateway_is_not_alive() {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        server.pages().show(Arc::new(Hanging));
        let address = server.local_addr();
        tokio::spawn(server.serve(std::future::pending()));
        let answer = get(address, "/livez").await;
        assert!(answer.starts_with("HTTP/1.0 503 "), "{answer}");
        assert!(answer.contains("thread that flushes"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_missing_for_readiness_is_said() {
        let mut status = sample::status();
        status.not_ready = vec!["the grid is being recovered".to_owned()];
        let answer = get(start(status).await, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.0 503 "), "{answer}");
        assert!(answer.contains("the grid is being recovered"), "{answer}");
    }

    #[tokio::test]
    async fn strangers_names_writes_and_garbage_are_refused() {
        let address = start(sample::status()).await;
        let rebound = "GET /status HTTP/1.0\r\nHost: evil.example:7441\r\n\r\n";
        let answer = send(address, rebound).await;
        assert!(answer.starts_with("HTTP/1.0 421 "), "{answer}");
        let post = "POST /status HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        let answer = send(address, post).await;
        assert!(answer.starts_with("HTTP/1.0 405 "), "{answer}");
        let answer = send(address, "\u{1}\u{2} garbage\r\n\r\n").await;
        assert!(answer.is_empty() || answer.contains(" 400 "), "{answer}");
        let long = format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(HEADER_BYTES_MAX));
        let answer = send(address, &long).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        assert!(get(address, "/livez").await.contains("alive"));
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_nobody_out() {
        let address = start(sample::status()).await;
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let asked = timeout(Duration::from_secs(5), get(address, "/livez")).await;
        assert!(asked.is_ok_and(|answer| answer.contains("alive")));
    }

    #[tokio::test]
    async fn two_hosts_are_one_too_many() {
        let address = start(sample::status()).await;
        let hosts = "Host: localhost\r\nHost: evil.example\r\n";
        let answer = send(address, &format!("GET /status HTTP/1.0\r\n{hosts}\r\n")).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }

    #[test]
    fn hosts() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7441",
            "[::1]:7441",
            "[::1]",
            "LocalHost:1",
        ] {
            assert!(names_this_host(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:80",
            "",
            "127.0.0.1.evil:1",
        ] {
            assert!(!names_this_host(host), "{host}");
        }
    }
}
