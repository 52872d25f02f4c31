//! Whose turn it is: queries wait for one of `query.max-concurrency` places.
//!
//! Where all places are taken by long queries, a short one should not have to wait for them. So a
//! query that finds no place is tried for a moment beside them; one that needs longer is put back
//! into the queue, where it has kept its place, and begins anew when its turn has come. What was
//! tried in vain costs that moment, and holds nothing afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::api::query::{Evaluated, Job};
use super::reply::{ApiError, CONCURRENCY, ErrorKind};
use super::service::Service;
use super::stream::CancelOnDrop;

/// How long a query is tried while all places are taken.
const ATTEMPT: Duration = Duration::from_millis(100);

/// How a query's waiting ended.
pub(super) enum Turn {
    /// It may run.
    Place(OwnedSemaphorePermit),
    /// It was short, and has run.
    Done(Box<Result<Evaluated, ApiError>>),
}

/// Waits for a query's turn.
pub(super) async fn wait(
    service: &Arc<Service>,
    job: &Arc<Job>,
    deadline: Instant,
) -> Result<Turn, ApiError> {
    let waited = tokio::time::timeout_at(deadline.into(), turn(service, job, deadline)).await;
    waited.unwrap_or_else(|_| {
        let error = ApiError::new(ErrorKind::Timeout, "query timed out in query queue");
        Err(error.at_limit(CONCURRENCY))
    })
}

async fn turn(service: &Arc<Service>, job: &Arc<Job>, deadline: Instant) -> Result<Turn, ApiError> {
    let place = service.query_places().acquire_owned();
    tokio::pin!(place);
    let attempt = tokio::select! {
        biased;
        place = &mut place => return placed(place),
        attempt = service.attempt_places().acquire_owned() => placed(attempt)?,
    };
    let Turn::Place(attempt) = attempt else { unreachable!("BUG: a place was asked for") };
    let cancellation = Arc::new(service.cancellation(deadline));
    let _guard = CancelOnDrop(Arc::clone(&cancellation));
    let (job, service) = (Arc::clone(job), Arc::clone(service));
    let tried = tokio::task::spawn_blocking(move || {
        let _held = attempt;
        let briefly = cancellation.until(Some(Instant::now() + ATTEMPT));
        job.evaluate(&service, &briefly, true)
    });
    match tried.await {
        Ok(Err(error)) if error.kind == ErrorKind::Timeout && Instant::now() < deadline => {
            placed(place.await)
        }
        Ok(evaluated) => Ok(Turn::Done(Box::new(evaluated))),
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "the request failed inside the server")),
    }
}

fn placed(
    place: Result<OwnedSemaphorePermit, tokio::sync::AcquireError>,
) -> Result<Turn, ApiError> {
    let closed = |_| ApiError::new(ErrorKind::Unavailable, "the server stops");
    place.map(Turn::Place).map_err(closed)
}
