//! Places for connections, and who gives theirs up when all are taken.
//!
//! A connection has a place while it is open. One that comes when all are taken is accepted all the
//! same, among a few that wait: health checks are answered without a place, any other request waits
//! for one. Meanwhile the connection that has done nothing for longest gives up its own: first of
//! all one without a request, or whose request does not arrive. A request that the server works on
//! is never cut for another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::telemetry::{Counter, Registry};

/// Connections that wait for a place.
const WAITING_MAX: usize = 64;
/// A connection without a request is left alone this long after its last one.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// A request may take this long to arrive while others wait for its place.
const ARRIVAL_MIN: Duration = Duration::from_secs(5);
/// How long a request waits for a place.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it is looked again who could give a place up.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All connections of the server.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    places_max: usize,
    began: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Seat>>>,
    counts: ListenerCounts,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    all: Arc<Connections>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    /// Milliseconds since the start at which its last request began or ended.
    touched_ms: AtomicU64,
    requests: AtomicUsize,
    /// Of these, those whose body has not arrived whole.
    arriving: AtomicUsize,
    leave: Notify,
    is_leaving: std::sync::atomic::AtomicBool,
}

/// Connections that came and went.
#[derive(Debug, Default)]
pub(super) struct ListenerCounts {
    accepted: Counter,
    closed: Counter,
}

impl ListenerCounts {
    /// COMPAT: names, and one name for all listeners.
    pub(super) fn new(registry: &Registry) -> Self {
        let counter =
            |name, help| registry.counter_vec(name, help, &["listener_name"]).with(&["http"]);
        Self {
            accepted: counter(
                "net_conntrack_listener_conn_accepted_total",
                "Connections that were accepted.",
            ),
            closed: counter(
                "net_conntrack_listener_conn_closed_total",
                "Connections that were accepted and have ended.",
            ),
        }
    }
}

impl Connections {
    pub(super) fn new(places_max: usize, counts: ListenerCounts) -> Arc<Self> {
        Arc::new(Self {
            counts,
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            began: Instant::now(),
            next: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Returns when another connection may be accepted.
    pub(super) async fn room(&self) {
        loop {
            if self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
                < self.places_max + WAITING_MAX
            {
                return;
            }
            self.ask_to_leave(false);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A connection has been accepted.
    pub(super) fn enter(self: &Arc<Self>) -> Arc<Seat> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            self.ask_to_leave(true);
        }
        let seat = Arc::new(Seat {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            all: Arc::clone(self),
            place: Mutex::new(place),
            touched_ms: AtomicU64::new(self.now_ms()),
            requests: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            leave: Notify::new(),
            is_leaving: false.into(),
        });
        self.counts.accepted.inc();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(seat.id, Arc::clone(&seat));
        seat
    }

    /// Asks the one that has done nothing for longest to leave: of those with a place, or of those
    /// without, which may have come just now.
    fn ask_to_leave(&self, with_place: bool) {
        let now_ms = self.now_ms();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.values().filter(|seat| {
            let idle_ms = now_ms.saturating_sub(seat.touched_ms.load(Ordering::Relaxed));
            let least = match seat.state() {
                State::Working => return false,
                _ if !with_place => Duration::ZERO,
                State::Idle => IDLE_MIN,
                State::Arriving => ARRIVAL_MIN,
            };
            seat.has_place() == with_place
                && !seat.is_leaving.load(Ordering::Relaxed)
                && u128::from(idle_ms) >= least.as_millis()
        });
        if let Some(seat) = idle.min_by_key(|seat| seat.touched_ms.load(Ordering::Relaxed)) {
            seat.is_leaving.store(true, Ordering::Relaxed);
            seat.leave.notify_one();
        }
    }

    /// Returns when all places are free again, that is when all connections have ended.
    pub(super) async fn all_ended(&self) {
        let _ = self.places.acquire_many(self.places_max as u32).await;
    }
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no request.
    Idle,
    /// All its requests have yet to arrive whole.
    Arriving,
    /// A request is worked on, or its answer is sent.
    Working,
}

impl Seat {
    fn state(&self) -> State {
        let requests = self.requests.load(Ordering::Acquire);
        match self.arriving.load(Ordering::Acquire) {
            _ if requests == 0 => State::Idle,
            arriving if arriving >= requests => State::Arriving,
            _ => State::Working,
        }
    }

    fn has_place(&self) -> bool {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn touch(&self) {
        self.touched_ms.store(self.all.now_ms(), Ordering::Relaxed);
    }

    /// Returns when the connection is to end for the sake of another.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Whether the server works for it.
    pub(super) fn is_working(&self) -> bool {
        self.state() == State::Working
    }

    /// How long there has been no request; `None` while there is one.
    pub(super) fn idle(&self) -> Option<Duration> {
        let since_ms = self.all.now_ms().saturating_sub(self.touched_ms.load(Ordering::Relaxed));
        (self.state() == State::Idle).then(|| Duration::from_millis(since_ms))
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.touch();
        Underway(Arc::clone(self))
    }

    /// Waits for a place if the connection has none. `false`: there is none to be had.
    pub(super) async fn take_place(&self) -> bool {
        if self.has_place() {
            return true;
        }
        let deadline = Instant::now() + WAIT_MAX;
        let waited = Arc::clone(&self.all.places).acquire_owned();
        tokio::pin!(waited);
        loop {
            tokio::select! {
                biased;
                place = &mut waited => {
                    let mut own = self.place.lock().unwrap_or_else(PoisonError::into_inner);
                    *own = place.ok();
                    return own.is_some();
                }
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.all.ask_to_leave(true);
        }
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.remove(&self.id).is_some() {
            self.all.counts.closed.inc();
        }
        drop(open);
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A request under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Underway(Arc<Seat>);

impl Underway {
    /// The request's body has yet to arrive.
    pub(super) fn arrives(&self) -> Arriving {
        self.0.arriving.fetch_add(1, Ordering::AcqRel);
        Arriving(Arc::clone(&self.0))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.touch();
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body that arrives; has arrived, or is wanted no more, when dropped.
#[derive(Debug)]
pub(super) struct Arriving(Arc<Seat>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(seat: &Seat, by: Duration) {
        // The clock of the connections starts in the past.
        let then = seat.all.now_ms().saturating_sub(by.as_millis() as u64);
        seat.touched_ms.store(then, Ordering::Relaxed);
    }

    fn connections(places: usize) -> Arc<Connections> {
        let mut all = Connections::new(places, ListenerCounts::default());
        Arc::get_mut(&mut all).unwrap().began =
            Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
        all
    }

    #[tokio::test]
    async fn the_idlest_gives_its_place_to_a_request_that_waits() {
        let all = connections(3);
        let (idle, arriving, working) = (all.enter(), all.enter(), all.enter());
        let request = arriving.begin();
        let _body = request.arrives();
        let _work = working.begin();
        for seat in [&idle, &arriving, &working] {
            age(seat, Duration::from_secs(30));
        }
        age(&idle, Duration::from_secs(31));
        let late = all.enter();
        assert!(!late.has_place());
        idle.asked_to_leave().await;
        idle.end();
        assert!(late.take_place().await && late.has_place());
        let later = all.enter();
        arriving.asked_to_leave().await;
        arriving.end();
        assert!(later.take_place().await);
        let last = all.enter();
        assert!(tokio::time::timeout(Duration::from_millis(300), last.take_place()).await.is_err());
        assert!(working.is_working() && !working.is_leaving.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn who_came_just_now_is_left_alone_and_those_that_wait_are_bounded() {
        let all = connections(1);
        let first = all.enter();
        let second = all.enter();
        assert!(!first.is_leaving.load(Ordering::Relaxed));
        age(&second, Duration::from_secs(2));
        let more: Vec<_> = (1..WAITING_MAX).map(|_| all.enter()).collect();
        let end = Arc::clone(&second);
        tokio::spawn(async move {
            end.asked_to_leave().await;
            end.end();
        });
        all.room().await;
        assert!(!second.has_place() && more.iter().all(|seat| !seat.has_place()));
        first.end();
        tokio::time::timeout(Duration::from_secs(5), all.all_ended()).await.unwrap();
    }
}
