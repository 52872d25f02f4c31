//! Sorting that can be broken off: a million label sets take longer than a client that has gone
//! away should cost.

use std::cmp::Ordering;

/// Items sorted, or merged, between two checks.
const RUN: usize = 8192;

/// Sorts `items`, equal ones in the order they had. `check` is called every few thousand items;
/// its error ends the work and leaves them as they were.
pub fn sort_by<T, E>(
    items: &mut Vec<T>,
    check: &dyn Fn() -> Result<(), E>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<(), E> {
    check()?;
    if items.len() <= RUN {
        items.sort_by(compare);
        return Ok(());
    }
    let mut order: Vec<u32> = (0..items.len() as u32).collect();
    let by_item = |a: &u32, b: &u32| compare(&items[*a as usize], &items[*b as usize]);
    for run in order.chunks_mut(RUN) {
        check()?;
        run.sort_by(by_item);
    }
    let mut merged = Vec::with_capacity(order.len());
    let mut width = RUN;
    while width < order.len() {
        merged.clear();
        for pair in order.chunks(2 * width) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            merge(left, right, &mut merged, check, by_item)?;
        }
        std::mem::swap(&mut order, &mut merged);
        width *= 2;
    }
    if order.is_sorted() {
        return Ok(());
    }
    let mut slots: Vec<Option<T>> = items.drain(..).map(Some).collect();
    let item = |at: u32| slots[at as usize].take().expect("BUG: each place occurs once");
    items.extend(order.into_iter().map(item));
    Ok(())
}

fn merge<E>(
    mut left: &[u32],
    mut right: &[u32],
    out: &mut Vec<u32>,
    check: &dyn Fn() -> Result<(), E>,
    compare: impl Fn(&u32, &u32) -> Ordering,
) -> Result<(), E> {
    while let (Some(last), Some(first)) = (left.last(), right.first()) {
        check()?;
        if compare(last, first).is_le() {
            break;
        }
        for _ in 0..RUN {
            let (Some(a), Some(b)) = (left.first(), right.first()) else { break };
            if compare(a, b).is_le() {
                out.push(*a);
                left = &left[1..];
            } else {
                out.push(*b);
                right = &right[1..];
            }
        }
    }
    out.extend_from_slice(left);
    out.extend_from_slice(right);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn long_lists_are_sorted_as_short_ones_are() {
        let ok = || Ok::<(), ()>(());
        for len in [0_u64, 1, 5, RUN as u64 + 1, 3 * RUN as u64 + 7, 20 * RUN as u64] {
            for keys in [7, 1000, u64::MAX] {
                let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
                let mut items: Vec<_> = (0..len).map(|i| (key(i), i)).collect();
                let mut expected = items.clone();
                expected.sort_unstable();
                sort_by(&mut items, &ok, |a, b| a.0.cmp(&b.0)).unwrap();
                assert!(items == expected, "{len} items of {keys} keys");
            }
        }
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let calls = Cell::new(0);
        let tenth = || {
            calls.set(calls.get() + 1);
            if calls.get() < 10 { Ok(()) } else { Err(()) }
        };
        let items: Vec<usize> = (0..100 * RUN).rev().collect();
        let mut sorted = items.clone();
        assert_eq!(sort_by(&mut sorted, &tenth, usize::cmp), Err(()));
        assert!(calls.get() == 10 && sorted == items);
    }
}
