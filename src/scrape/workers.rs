//! The threads that scrape.
//!
//! Each has a runtime of its own and runs the loops of its share of the targets: it waits for
//! their timers and sockets, and inflates, parses and stores their pages where it stands. To hand
//! a page of usual size to another thread costs more than to store it, so only what may take long
//! goes elsewhere (`storing.rs`). The server's other work is on other threads: the disk may hold
//! up scrapes, which need it, and nothing else.
//!
//! A thread gets some dozens of loops before the next one gets its first: the more of them share a
//! thread, the less often it is woken for one alone, and with everything forgotten by then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Loops that a thread is given one after the other: little enough work for one, even each second.
const LOOPS_AT_A_TIME: usize = 64;

/// The threads; they end when this is dropped and what they do at the moment is done.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<Thread>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Dropping it ends the thread.
    _lives: oneshot::Sender<()>,
}

impl Workers {
    /// Starts `number` threads, or as many of them as the system lets us.
    pub(super) fn new(number: usize) -> Self {
        let mut threads = Vec::with_capacity(number);
        for _ in 0..number {
            match Thread::start() {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::warn!(%error, "A thread for scraping cannot be started"),
            }
        }
        Self { threads, next: AtomicUsize::new(0) }
    }

    /// Runs a loop on one of the threads; where there is none, on the caller's runtime.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if self.threads.is_empty() {
            tokio::spawn(work);
            return;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) / LOOPS_AT_A_TIME;
        self.threads[turn % self.threads.len()].runtime.spawn(work);
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let runtime =
            Builder::new_current_thread().enable_all().thread_name("narthex-pages").build()?;
        let handle = runtime.handle().clone();
        let (lives, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("narthex-scrape".to_owned()).spawn(move || {
            // Nothing is ever sent: the answer is that the sender is gone.
            let _ = runtime.block_on(ended);
            // A page that is being stored is stored by then: loops end before the workers do.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _lives: lives })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn loops_are_spread_over_the_threads() {
        let workers = Workers::new(2);
        let (sender, names) = mpsc::channel();
        let loops = 4 * LOOPS_AT_A_TIME;
        for _ in 0..loops {
            let sender = sender.clone();
            workers.spawn(async move {
                tokio::task::yield_now().await;
                let _ = sender.send(thread::current().id());
            });
        }
        drop(sender);
        let ran: Vec<_> = names.iter().collect();
        assert_eq!(ran.len(), loops);
        let first = ran.iter().filter(|id| **id == ran[0]).count();
        assert_eq!(first, loops / 2);
    }

    #[tokio::test]
    async fn without_threads_the_caller_runs_them() {
        let workers = Workers::new(0);
        let (sender, here) = oneshot::channel();
        workers.spawn(async move {
            let _ = sender.send(thread::current().id());
        });
        assert_eq!(here.await, Ok(thread::current().id()));
    }
}
