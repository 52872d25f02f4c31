//! Lanes: threads that serve one connection each and compute its answers themselves.
//!
//! To hand a request to a blocking thread and its answer back costs more than most answers do. A
//! thread with a single connection on it keeps nobody else waiting, so its requests are computed
//! where they are read ([`OwnThread`]). There are only so many lanes; the connections beyond them
//! share the runtime, and hand their work on. So do the streams of HTTP/2, of which a connection
//! has many at a time.
//!
//! While a request is computed nobody polls its connection. Whether the client is still there is
//! asked by the work itself, through its [`Cancellation`].

use std::fmt;
use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::select::Cancellation;

/// Lanes at a time.
const LANES_MAX: usize = 64;
/// How long a lane waits for its next connection.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The work of a connection, until it ends.
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All lanes of a listener.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Lanes that wait, the one that waits longest first.
    idle: Vec<Lane>,
    /// Lanes, idle or not.
    count: usize,
    /// Lanes so far.
    begun: u64,
}

/// A lane that waits for a connection.
pub(super) struct Lane {
    number: u64,
    connections: Sender<Connection>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Lane {
    /// Serves the connection, of which nothing is heard any more.
    pub(super) fn serve(self, connection: impl Future<Output = ()> + Send + 'static) {
        // Where there was no thread to be had the connection ends, as it does where there is no
        // descriptor.
        let _ = self.connections.send(Box::pin(connection));
    }
}

impl Lanes {
    /// A lane, if there is one left.
    pub(super) fn free(self: &Arc<Self>) -> Option<Lane> {
        let mut state = self.lock();
        if let Some(lane) = state.idle.pop() {
            return Some(lane);
        }
        if state.count >= LANES_MAX {
            return None;
        }
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        state.count += 1;
        state.begun += 1;
        let number = state.begun;
        drop(state);
        let counted = Counted(Arc::downgrade(self));
        let (connections, receiver) = channel();
        let begun = std::thread::Builder::new()
            .name("lane".to_owned())
            .spawn(move || run(&counted, number, &runtime, &receiver));
        begun.ok().map(|_| Lane { number, connections })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a lane for as long as its thread lives.
struct Counted(Weak<Lanes>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(lanes) = self.0.upgrade() {
            lanes.lock().count -= 1;
        }
    }
}

/// A lane: connection after connection, until none comes for a while.
fn run(counted: &Counted, number: u64, runtime: &Runtime, first: &Receiver<Connection>) {
    let mut next = first.recv().ok();
    while let Some(connection) = next {
        runtime.block_on(connection);
        let (connections, receiver) = channel();
        let Some(lanes) = counted.0.upgrade() else { return };
        lanes.lock().idle.push(Lane { number, connections });
        drop(lanes);
        next = receiver.recv_timeout(IDLE_MAX).ok().or_else(|| {
            let lanes = counted.0.upgrade()?;
            // Whoever has taken it off the list before is about to send.
            lanes.lock().idle.retain(|lane| lane.number != number);
            receiver.recv().ok()
        });
    }
}

/// Runs what HTTP/2 has for each stream on the shared runtime: a lane polls its connection only.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor(Handle);

impl StreamExecutor {
    /// Of the runtime that this is called in.
    pub(super) fn current() -> Self {
        Self(Handle::current())
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Comes with the requests of a connection that has a thread to itself.
#[derive(Clone)]
pub(super) struct OwnThread {
    is_gone: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl OwnThread {
    /// Of this connection; it asks the same socket whether the client is still there.
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        let socket = stream.try_clone()?;
        let is_gone = move || match socket.peek(&mut [0]) {
            Ok(bytes) => bytes == 0,
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
        };
        Ok(Self { is_gone: Arc::new(is_gone) })
    }

    /// The same work, which ends when the client goes.
    pub(super) fn watched(&self, cancellation: Cancellation) -> Cancellation {
        cancellation.asking(Arc::clone(&self.is_gone))
    }
}

#[cfg(test)]
mod tests;
