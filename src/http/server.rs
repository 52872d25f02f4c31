//! Listeners and connections.
//!
//! An own accept loop rather than a framework's: connections are capped, headers have a deadline,
//! and a stop lets requests under way finish for a moment before it cuts them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::router::router;
use super::service::Service;

/// How long requests under way may go on after a stop was asked for.
const GRACE: Duration = Duration::from_millis(500);
/// How long queries may go on; they end with an error then, which their clients still get.
const WORK_GRACE: Duration = Duration::from_millis(200);
/// How long connections may take after that.
const END_GRACE: Duration = Duration::from_millis(300);
/// Greatest size of a request's head.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ServeError {
    address: String,
    source: io::Error,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {}: {}", self.address, self.source)
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Opens the listeners; `host:port`, the host may be empty for all interfaces.
pub async fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, ServeError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let full = match address.strip_prefix(':') {
            Some(port) => format!("[::]:{port}"),
            None => address.clone(),
        };
        let listener = match TcpListener::bind(&full).await {
            // A host without IPv6 listens on IPv4 only.
            Err(_) if full.starts_with("[::]") => {
                TcpListener::bind(full.replacen("[::]", "0.0.0.0", 1)).await
            }
            bound => bound,
        };
        listeners.push(listener.map_err(|source| ServeError { address: address.clone(), source })?);
    }
    Ok(listeners)
}

/// Serves until `stop` turns true, then ends connections and returns.
pub async fn serve(
    listeners: Vec<TcpListener>,
    service: Arc<Service>,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(service.settings.connections_max));
    let mut loops = Vec::new();
    for listener in listeners {
        let accept = accept_loop(listener, Arc::clone(&service), Arc::clone(&places), stop.clone());
        loops.push(tokio::spawn(accept));
    }
    for accept in loops {
        let _ = accept.await;
    }
    // All places free means that all connections have ended.
    let all = service.settings.connections_max as u32;
    if tokio::time::timeout(WORK_GRACE, places.acquire_many(all)).await.is_err() {
        service.cancel_all();
        let _ = tokio::time::timeout(END_GRACE, places.acquire_many(all)).await;
    }
}

async fn accept_loop(
    listener: TcpListener,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let router = router(Arc::clone(&service));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|&stop| stop) => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: wait until some are free.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection =
            connection(stream, peer, router.clone(), service.settings.read_timeout, stop.clone());
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: axum::Router,
    read_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_buf_size(HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_BYTES_MAX as u32);
    // Who asks is written to the log of queries.
    let service = TowerToHyperService::new(router.layer(axum::Extension(peer)));
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    // A client that breaks off is no event.
    tokio::select! {
        _ = served.as_mut() => return,
        _ = stop.wait_for(|&stop| stop) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, served).await;
}
