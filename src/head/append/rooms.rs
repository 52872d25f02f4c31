//! Memory that commits use one after another, so that the allocator is not asked for some hundred
//! KiB and given them back at each scrape.

use std::sync::{Mutex, PoisonError};

use super::Sample;
use super::commit::Item;

/// Vectors of one kind that nobody uses at the moment.
const KEPT_MAX: usize = 8;

/// A larger vector is given back to the allocator; elements.
const ROOM_MAX: usize = 16 << 10;

/// What a head keeps for its commits.
#[derive(Debug, Default)]
pub(in crate::head) struct Rooms {
    pub(super) samples: Room<Sample>,
    pub(super) items: Room<Item>,
    pub(super) slots: Room<u32>,
}

/// Vectors that are used again.
#[derive(Debug)]
pub(super) struct Room<T>(Mutex<Vec<Vec<T>>>);

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Room<T> {
    /// An empty vector.
    pub(super) fn take(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes a vector back.
    pub(super) fn keep(&self, mut room: Vec<T>) {
        if room.capacity() == 0 || room.capacity() > ROOM_MAX {
            return;
        }
        room.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_come_back_empty_and_huge_ones_do_not() {
        let room = Room::default();
        room.keep(vec![1_u8; 100]);
        let taken = room.take();
        assert!(taken.is_empty() && taken.capacity() >= 100);
        assert_eq!(room.take().capacity(), 0);
        room.keep(Vec::with_capacity(ROOM_MAX + 1));
        assert_eq!(room.take().capacity(), 0);
    }
}
