//! Listeners and connections.
//!
//! An own accept loop rather than a framework's: connections are capped and give way to one
//! another, handshakes, heads, bodies and answers have deadlines, TLS follows its files, and a stop
//! lets requests under way finish for a moment before it cuts them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::{Connections, ListenerCounts, Seat};
use super::front::Front;
use super::guard::Guard;
use super::lanes::{Lanes, OwnThread, StreamExecutor};
use super::router::router;
use super::service::Service;
use super::stalling::Stalling;

/// How long requests under way may go on after a stop was asked for.
const GRACE: Duration = Duration::from_millis(500);
/// How long queries may go on; they end with an error then, which their clients still get.
const WORK_GRACE: Duration = Duration::from_millis(200);
/// How long connections may take after that.
const END_GRACE: Duration = Duration::from_millis(300);
/// How long a connection may take to end for the sake of another.
const LEAVE_GRACE: Duration = Duration::from_millis(100);
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
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

/// Serves until `stop` turns true, then ends connections and returns. `guard` keeps the door where
/// there is a web configuration file.
pub async fn serve(
    listeners: Vec<TcpListener>,
    service: Arc<Service>,
    guard: Option<Arc<Guard>>,
    stop: watch::Receiver<bool>,
) {
    let connections = Connections::new(
        service.settings.connections_max,
        ListenerCounts::new(service.control.counts().registry()),
    );
    let lanes = Arc::new(Lanes::default());
    let mut loops = Vec::new();
    for listener in listeners {
        let door = Door {
            router: router(Arc::clone(&service)),
            guard: guard.clone(),
            connections: Arc::clone(&connections),
            lanes: Arc::clone(&lanes),
            streams: StreamExecutor::current(),
            read_timeout: service.settings.read_timeout,
            connections_max: service.settings.connections_max,
        };
        loops.push(tokio::spawn(accept_loop(listener, door, stop.clone())));
    }
    for accept in loops {
        let _ = accept.await;
    }
    if tokio::time::timeout(WORK_GRACE, connections.all_ended()).await.is_err() {
        service.cancel_all();
        let _ = tokio::time::timeout(END_GRACE, connections.all_ended()).await;
    }
}

/// What all connections of a listener share.
#[derive(Clone)]
struct Door {
    router: axum::Router,
    guard: Option<Arc<Guard>>,
    connections: Arc<Connections>,
    lanes: Arc<Lanes>,
    streams: StreamExecutor,
    read_timeout: Duration,
    connections_max: usize,
}

async fn accept_loop(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = async {
                door.connections.room().await;
                listener.accept().await
            } => accepted,
            _ = stop.wait_for(|&stop| stop) => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: wait until some are free.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let seat = door.connections.enter();
        let _ = stream.set_nodelay(true);
        // Ends its stay even if the work on it panics.
        let stay = Stay(Arc::clone(&seat));
        let loaded = door.guard.as_ref().map(|guard| guard.current());
        let arrival = Arrival {
            tls: loaded.and_then(|loaded| loaded.tls.clone()),
            peer,
            door: door.clone(),
            seat,
            stop: stop.clone(),
        };
        // What is sent through TLS does not show on the socket that its client is gone.
        let lane = if arrival.tls.is_none() { door.lanes.free() } else { None };
        let Some(lane) = lane else {
            tokio::spawn(async move {
                let _stay = stay;
                arrival.serve(stream, None).await;
            });
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        lane.serve(async move {
            let _stay = stay;
            let own_thread = OwnThread::of(&stream).ok();
            if let Ok(stream) = TcpStream::from_std(stream) {
                arrival.serve(stream, own_thread).await;
            }
        });
    }
}

/// A connection's stay; ends when dropped.
struct Stay(Arc<Seat>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a connection is served with.
struct Arrival {
    tls: Option<Arc<ServerConfig>>,
    peer: SocketAddr,
    door: Door,
    seat: Arc<Seat>,
    stop: watch::Receiver<bool>,
}

impl Arrival {
    async fn serve(self, stream: TcpStream, own_thread: Option<OwnThread>) {
        let Self { tls, peer, door, seat, mut stop } = self;
        let front = Front {
            router: door.router,
            guard: door.guard,
            seat: Arc::clone(&seat),
            peer,
            read_timeout: door.read_timeout,
            connections_max: door.connections_max,
            own_thread,
        };
        let streams = door.streams;
        let Some(tls) = tls else {
            let (stream, protocol) = (Stalling::new(stream), (streams, false));
            return talk(stream, front, protocol, &mut stop).await;
        };
        let handshake = shake_hands(stream, tls);
        let deadline = HANDSHAKE_MAX.min(door.read_timeout);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(deadline, handshake) => shaken,
            () = seat.asked_to_leave() => return,
            _ = stop.wait_for(|&stop| stop) => return,
        };
        // A client that breaks off, or is refused, is no event.
        let Ok(Some(stream)) = shaken else { return };
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        talk(stream, front, (streams, speaks_http2), &mut stop).await;
    }
}

async fn shake_hands(stream: TcpStream, tls: Arc<ServerConfig>) -> Option<TlsStream<Stalling>> {
    let mut first = [0; 4];
    // COMPAT: who speaks plain text to a port that wants TLS is told so.
    if stream.peek(&mut first).await.is_ok_and(|read| read > 0) && first[0].is_ascii_uppercase() {
        let mut stream = Stalling::new(stream);
        let answer = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS \
                       server.\n";
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        return None;
    }
    TlsAcceptor::from(tls).accept(Stalling::new(stream)).await.ok()
}

/// Answers the requests of a connection until it ends.
async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    front: Front,
    (streams, speaks_http2): (StreamExecutor, bool),
    stop: &mut watch::Receiver<bool>,
) {
    let (seat, read_timeout) = (Arc::clone(&front.seat), front.read_timeout);
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_buf_size(HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_BYTES_MAX as u32);
    if speaks_http2 {
        builder = builder.http2_only();
    }
    let served = builder.serve_connection(TokioIo::new(stream), front);
    tokio::pin!(served);
    // A client that breaks off is no event.
    let grace = loop {
        tokio::select! {
            _ = served.as_mut() => return,
            _ = stop.wait_for(|&stop| stop) => break GRACE,
            () = seat.asked_to_leave() => {
                // A request may have come just now.
                break if seat.is_working() { Duration::MAX } else { LEAVE_GRACE };
            }
            () = tokio::time::sleep(read_timeout) => {
                if seat.idle().is_some_and(|idle| idle >= read_timeout) {
                    break LEAVE_GRACE;
                }
            }
        }
    };
    served.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(grace, served).await;
}
