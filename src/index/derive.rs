//! Finds which labels follow from which.
//!
//! In practice a pod's name gives its uid, its node and its namespace, and an instance gives its
//! job. Storing such a table once per value instead of a rank per series makes label rows a few
//! bytes. A pair of names is tried until one series contradicts it, which nearly all do early.

use super::shapes::determination_order;
use super::writer::Rows;

/// Names with the most values are tried as determining ones, this many.
const CANDIDATES: usize = 12;
/// Tables kept for one determined name.
const PER_NAME_MAX: usize = 3;

/// A derivation that holds for every series.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) width: u8,
    /// One entry of `width` bytes for each value of `from`; 0 where no series has both labels.
    pub(super) table: Vec<u8>,
}

/// A pair of names under trial.
#[derive(Debug, Clone, Default)]
struct Trial {
    is_refuted: bool,
    /// Series that have both labels.
    uses: u64,
    /// Rank plus one for each value of the determining name; 0: not seen.
    ranks: Vec<u32>,
}

/// The derivations worth their table, best first. `counts` has the number of values of each name.
pub(super) fn find_derivations(rows: &Rows, counts: &[u32]) -> Vec<Found> {
    let mut names: Vec<u32> = (0..counts.len() as u32).collect();
    names.sort_by_key(|&name| determination_order(name, counts));
    let candidates = &names[..names.len().min(CANDIDATES)];
    let mut trials = vec![Trial::default(); candidates.len() * counts.len()];
    // For each shape the positions of determining and determined name, and the trial.
    let plans: Vec<Vec<(usize, usize, usize)>> =
        rows.shapes.iter().map(|shape| plan(shape, candidates, counts)).collect();
    for (shape, values) in rows.iter() {
        for &(from, to, trial) in &plans[shape as usize] {
            let trial = &mut trials[trial];
            if trial.is_refuted {
                continue;
            }
            if trial.ranks.is_empty() {
                let name = rows.shapes[shape as usize][from];
                trial.ranks = vec![0; counts[name as usize] as usize];
            }
            trial.uses += 1;
            let entry = &mut trial.ranks[values[from] as usize];
            let rank = values[to] + 1;
            if *entry == 0 {
                *entry = rank;
            } else if *entry != rank {
                *trial = Trial { is_refuted: true, ..Trial::default() };
            }
        }
    }
    choose(trials, candidates, counts)
}

fn plan(shape: &[u32], candidates: &[u32], counts: &[u32]) -> Vec<(usize, usize, usize)> {
    let mut plan = Vec::new();
    for (number, &candidate) in candidates.iter().enumerate() {
        let Ok(from) = shape.binary_search(&candidate) else { continue };
        for (to, &name) in shape.iter().enumerate() {
            let is_below =
                determination_order(candidate, counts) < determination_order(name, counts);
            if is_below && counts[name as usize] > 1 {
                plan.push((from, to, number * counts.len() + name as usize));
            }
        }
    }
    plan
}

fn choose(trials: Vec<Trial>, candidates: &[u32], counts: &[u32]) -> Vec<Found> {
    let width_of =
        |name: u32| (32 - (counts[name as usize] - 1).leading_zeros()).div_ceil(8).max(1);
    let mut worth: Vec<(u64, u32, u32, Trial)> = trials
        .into_iter()
        .enumerate()
        .filter(|(_, trial)| !trial.is_refuted && trial.uses > 0)
        .map(|(i, trial)| {
            (trial.uses, candidates[i / counts.len()], (i % counts.len()) as u32, trial)
        })
        // A stored rank takes about as many bytes as an entry of the table.
        .filter(|(uses, from, _, _)| *uses > 2 * u64::from(counts[*from as usize]))
        .collect();
    worth.sort_by_key(|(uses, from, to, _)| (std::cmp::Reverse(*uses), *from, *to));
    let mut kept = vec![0; counts.len()];
    worth.retain(|(_, _, to, _)| {
        kept[*to as usize] += 1;
        kept[*to as usize] <= PER_NAME_MAX
    });
    let mut found = Vec::new();
    for (_, from, to, trial) in worth {
        let width = width_of(to) as usize;
        let entries = trial.ranks.iter().map(|rank| rank.saturating_sub(1).to_le_bytes());
        let table = entries.flat_map(|entry| entry.into_iter().take(width)).collect();
        found.push(Found { from, to, width: width as u8, table });
    }
    found
}
