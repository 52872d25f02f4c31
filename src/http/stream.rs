//! Answers that are printed on a blocking thread and sent as they grow, or printed whole where
//! they are asked for.
//!
//! A small answer becomes one response with its length. A large one goes through a short channel
//! to the socket, so that the memory of a response is bounded by the channel and a slow client
//! holds up only its own thread. A client that goes away cancels the work.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use hyper::body::Frame;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::reply::{self, ApiError, ErrorKind};
use crate::select::{Cancellation, Charge, SelectError, Stopped};

/// Bytes collected before a piece is sent.
const PIECE_BYTES: usize = 64 << 10;
/// Room for a piece and what is printed before it is looked at.
const PIECE_CAPACITY: usize = PIECE_BYTES + (PIECE_BYTES >> 1);
/// Pieces under way to the socket at a time.
const PIECES_MAX: usize = 4;
/// How long a client may read nothing before it counts as gone.
const STALL_MAX: Duration = Duration::from_mins(5);
/// Answers below this are not worth compressing.
const GZIP_BYTES_MIN: usize = 1024;
/// Results of queries of at most so many bytes are printed whole.
pub(super) const RESULT_BYTES_MAX: usize = 1 << 20;
/// Lists likewise. To know how long one is takes most of the work, which a longer one costs twice.
pub(super) const LIST_BYTES_MAX: usize = 4 << 20;

/// Cancels when it is dropped: the future of a request goes when its client does.
pub(super) struct CancelOnDrop(pub(super) Arc<Cancellation>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What the blocking thread hands back first.
enum Start {
    Whole(Vec<u8>),
    Pieces(mpsc::Receiver<Bytes>),
    Failed(ApiError),
}

/// Where an answer is printed to.
pub(super) struct Sink {
    buffer: Vec<u8>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    wants_gzip: bool,
    start: Option<oneshot::Sender<(Start, bool)>>,
    pieces: Option<mpsc::Sender<Bytes>>,
    cancellation: Arc<Cancellation>,
    /// Where it has to be printed whole.
    whole: Option<Whole>,
}

/// What holds for an answer that is printed whole.
struct Whole {
    bytes_max: usize,
    is_too_long: bool,
    /// What it takes.
    charge: Charge,
}

impl Sink {
    fn new(wants_gzip: bool, cancellation: &Arc<Cancellation>) -> Self {
        Self {
            buffer: Vec::new(),
            gzip: None,
            wants_gzip,
            start: None,
            pieces: None,
            cancellation: Arc::clone(cancellation),
            whole: None,
        }
    }

    /// The buffer to print into; call [`Sink::flush_if_full`] every few kilobytes.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends what has been printed once it is enough for a piece.
    pub(super) fn flush_if_full(&mut self) -> Result<(), ApiError> {
        if self.buffer.len() < PIECE_BYTES {
            return Ok(());
        }
        // Its time was that of the evaluation; the client may take as long as it likes to read.
        if self.cancellation.is_canceled() {
            return Err(Stopped::Canceled.into());
        }
        if let Some(whole) = &mut self.whole {
            whole.is_too_long = self.buffer.len() > whole.bytes_max;
            if whole.is_too_long {
                return Err(Stopped::Canceled.into());
            }
            let bytes = self.buffer.capacity() as u64;
            return whole.charge.set(bytes).map_err(|error| SelectError::from(error).into());
        }
        self.begin_pieces();
        self.send_piece()
    }

    fn begin_pieces(&mut self) {
        let Some(start) = self.start.take() else { return };
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        self.pieces = Some(sender);
        if self.wants_gzip {
            self.gzip = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        }
        // A client that is gone shows when the first piece is sent.
        let _ = start.send((Start::Pieces(receiver), self.wants_gzip));
    }

    fn send_piece(&mut self) -> Result<(), ApiError> {
        let piece = match &mut self.gzip {
            None => std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_CAPACITY)),
            Some(gzip) => {
                compress(gzip, &self.buffer)?;
                self.buffer.clear();
                std::mem::take(gzip.get_mut())
            }
        };
        self.send(piece)
    }

    fn send(&mut self, piece: Vec<u8>) -> Result<(), ApiError> {
        if piece.is_empty() {
            return Ok(());
        }
        let gone = || ApiError::new(ErrorKind::Canceled, "client is gone");
        let pieces = self.pieces.as_ref().ok_or_else(gone)?;
        let sending = pieces.send_timeout(piece.into(), STALL_MAX);
        Handle::current().block_on(sending).map_err(|_| gone())
    }

    fn finish(mut self) -> Result<(), ApiError> {
        let Some(start) = self.start.take() else {
            self.send_piece()?;
            if let Some(gzip) = self.gzip.take() {
                let rest = gzip.finish().map_err(|e| internal(&e))?;
                self.send(rest)?;
            }
            return Ok(());
        };
        let zipped = self.wants_gzip && self.buffer.len() >= GZIP_BYTES_MIN;
        let whole = if zipped { zip(&self.buffer)? } else { self.buffer };
        let _ = start.send((Start::Whole(whole), zipped));
        Ok(())
    }
}

fn zip(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    compress(&mut gzip, bytes)?;
    gzip.finish().map_err(|e| internal(&e))
}

fn compress(gzip: &mut GzEncoder<Vec<u8>>, bytes: &[u8]) -> Result<(), ApiError> {
    gzip.write_all(bytes).map_err(|e| internal(&e))
}

fn internal(error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorKind::Internal, error.to_string())
}

/// Runs `work` on a blocking thread and answers with what it prints. An error after the first
/// piece cuts the connection, as the status is gone by then.
pub(super) async fn answer(
    content_type: &'static str,
    accept_gzip: bool,
    cancellation: Cancellation,
    work: impl FnOnce(&mut Sink, &Cancellation) -> Result<(), ApiError> + Send + 'static,
) -> Response {
    answer_with(content_type, accept_gzip, cancellation, reply::error, work).await
}

/// The same, where an error is told by `refuse`.
pub(super) async fn answer_with(
    content_type: &'static str,
    accept_gzip: bool,
    cancellation: Cancellation,
    refuse: fn(&ApiError) -> Response,
    work: impl FnOnce(&mut Sink, &Cancellation) -> Result<(), ApiError> + Send + 'static,
) -> Response {
    let cancellation = Arc::new(cancellation);
    let guard = CancelOnDrop(Arc::clone(&cancellation));
    let (start, started) = oneshot::channel();
    let mut sink = Sink { start: Some(start), ..Sink::new(accept_gzip, &cancellation) };
    let worker = tokio::task::spawn_blocking(move || match work(&mut sink, &cancellation) {
        Ok(()) => {
            let _ = sink.finish();
        }
        Err(error) => {
            if let Some(start) = sink.start.take() {
                let _ = start.send((Start::Failed(error), false));
            }
        }
    });
    let Ok((start, zipped)) = started.await else {
        // The worker ended without a word: it panicked, and that is our fault.
        let _ = worker.await;
        let error = ApiError::new(ErrorKind::Internal, "the request failed inside the server");
        return refuse(&error);
    };
    let response = match start {
        Start::Failed(error) => return refuse(&error),
        Start::Whole(bytes) => reply::bytes(200, content_type, bytes),
        Start::Pieces(pieces) => {
            reply::bytes(200, content_type, Body::new(PieceBody { pieces, _guard: guard }))
        }
    };
    with_coding(response, zipped)
}

/// Runs `work` here and answers with what it prints. `None`: that is more than `bytes_max`.
pub(super) fn answer_here(
    content_type: &'static str,
    accept_gzip: bool,
    bytes_max: usize,
    cancellation: Cancellation,
    work: impl FnOnce(&mut Sink, &Cancellation) -> Result<(), ApiError>,
) -> Option<Response> {
    let cancellation = Arc::new(cancellation);
    let whole = Whole { bytes_max, is_too_long: false, charge: cancellation.charge() };
    let mut sink = Sink { whole: Some(whole), ..Sink::new(accept_gzip, &cancellation) };
    let worked = guarded(|| {
        work(&mut sink, &cancellation)?;
        let zipped = accept_gzip && sink.buffer.len() >= GZIP_BYTES_MIN;
        let bytes = std::mem::take(&mut sink.buffer);
        Ok((if zipped { zip(&bytes)? } else { bytes }, zipped))
    });
    if sink.whole.as_ref().is_some_and(|whole| whole.is_too_long) {
        return None;
    }
    Some(match worked {
        Ok((bytes, zipped)) => with_coding(reply::bytes(200, content_type, bytes), zipped),
        Err(error) => reply::error(&error),
    })
}

/// Does `work`; a panic is our fault and ends the request alone.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|_| {
        Err(ApiError::new(ErrorKind::Internal, "the request failed inside the server"))
    })
}

fn with_coding(mut response: Response, zipped: bool) -> Response {
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if zipped {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A response body fed by the channel; dropping it cancels the work.
struct PieceBody {
    pieces: mpsc::Receiver<Bytes>,
    _guard: CancelOnDrop,
}

impl hyper::body::Body for PieceBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
