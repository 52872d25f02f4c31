//! Buffers that requests take turns with, so that an idle target holds none, and that have a
//! budget in common, so that many large answers at a time cannot fill the memory.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Decompress;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Buffers kept while nobody uses them.
const KEPT_MAX: usize = 32;

/// A larger buffer is given back to the allocator.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// The unit in which the budget is given out. The first one of a buffer is free, so that small
/// answers never wait for large ones.
const UNIT_BYTES: usize = 64 << 10;

/// Bytes that all buffers of a pool may hold beyond their first unit.
const BUDGET_BYTES: usize = 256 << 20;

/// A pool of byte buffers; clones are handles to the same pool.
#[derive(Debug, Clone)]
pub struct BufferPool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Vec<Vec<u8>>>,
    /// What inflating needs beside the buffers; about 40 KiB each.
    inflaters: Mutex<Vec<Decompress>>,
    budget: Arc<Semaphore>,
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

impl BufferPool {
    /// An empty pool with a budget of 256 MiB.
    pub fn new() -> Self {
        Self::with_budget(BUDGET_BYTES)
    }

    /// An empty pool with a budget of `bytes`.
    pub fn with_budget(bytes: usize) -> Self {
        Self(Arc::new(Inner {
            kept: Mutex::default(),
            inflaters: Mutex::default(),
            budget: Arc::new(Semaphore::new(bytes / UNIT_BYTES)),
        }))
    }

    /// An empty buffer; it returns to the pool when dropped.
    pub fn take(&self) -> Buffer {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = kept.pop().unwrap_or_default();
        drop(kept);
        Buffer { bytes, pool: self.clone(), permit: None }
    }

    /// What inflates; who has it resets it.
    pub(super) fn inflater(&self) -> Decompress {
        let mut inflaters = self.0.inflaters.lock().unwrap_or_else(PoisonError::into_inner);
        inflaters.pop().unwrap_or_else(|| Decompress::new(false))
    }

    /// Takes back what was got from [`BufferPool::inflater`].
    pub(super) fn keep_inflater(&self, inflater: Decompress) {
        let mut inflaters = self.0.inflaters.lock().unwrap_or_else(PoisonError::into_inner);
        if inflaters.len() < KEPT_MAX {
            inflaters.push(inflater);
        }
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: BufferPool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Buffer {
    pub(super) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Waits until the budget has room for `len` bytes in this buffer. Who waits holds what it
    /// has: the wait ends, if not before, with the time limits of the requests.
    pub async fn allow(&mut self, len: usize) {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = (len / UNIT_BYTES).saturating_sub(held);
        let Some(wanted) = u32::try_from(wanted).ok().filter(|&wanted| wanted > 0) else { return };
        let budget = Arc::clone(&self.pool.0.budget);
        let Ok(more) = budget.acquire_many_owned(wanted).await else { return };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() == 0 || self.bytes.capacity() > KEPT_BYTES_MAX {
            return;
        }
        let mut kept = self.pool.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            self.bytes.clear();
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_with_its_memory() {
        let pool = BufferPool::new();
        let mut buffer = pool.take();
        buffer.extend_from_slice(&[1; 100]);
        drop(buffer);
        let buffer = pool.take();
        assert!(buffer.is_empty() && buffer.capacity() >= 100);
        assert_eq!(pool.take().capacity(), 0);
    }

    #[test]
    fn huge_buffers_are_not_kept() {
        let pool = BufferPool::new();
        pool.take().reserve(KEPT_BYTES_MAX + 1);
        assert_eq!(pool.take().capacity(), 0);
    }

    #[tokio::test]
    async fn large_buffers_wait_for_one_another_and_small_ones_do_not() {
        let pool = BufferPool::with_budget(4 * UNIT_BYTES);
        let mut large = pool.take();
        large.allow(3 * UNIT_BYTES).await;
        large.allow(UNIT_BYTES).await;
        large.allow(4 * UNIT_BYTES).await;
        let mut small = pool.take();
        small.allow(UNIT_BYTES - 1).await;
        let mut other = pool.take();
        let waiting = other.allow(2 * UNIT_BYTES);
        tokio::pin!(waiting);
        let brief = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, &mut waiting).await.is_err());
        drop(large);
        waiting.await;
    }
}
