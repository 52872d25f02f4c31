//! Buffers that scrapes take turns with, so that an idle target holds none.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers kept while nobody uses them.
const KEPT_MAX: usize = 16;

/// A larger buffer is given back to the allocator.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// A pool of byte buffers; clones are handles to the same pool.
#[derive(Debug, Clone, Default)]
pub struct BufferPool(Arc<Mutex<Vec<Vec<u8>>>>);

impl BufferPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer; it returns to the pool when dropped.
    pub fn take(&self) -> Buffer {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Buffer { bytes: kept.pop().unwrap_or_default(), pool: self.clone() }
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: BufferPool,
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
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
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
}
