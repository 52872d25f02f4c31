//! Chunks that depend on others: histograms, counters that go in step.

use super::*;

/// Bucket bounds, as exporters write them.
const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

fn noise(i: u64) -> u64 {
    let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

/// Buckets and count of as many histograms as `hosts`, the name of whose label is `host`.
pub(super) fn histograms(hosts: u64, host: &str, rows: u64) -> Model {
    let mut model = Model::new();
    for number in 0..hosts {
        let instance = format!("h{number}");
        let mut counts = [number * 1000; 12];
        let mut columns: Vec<Vec<(i64, u64)>> = vec![Vec::new(); 13];
        for row in 0..rows {
            let t = NOW + row as i64 * 15_000 + number as i64;
            for i in 0..noise(row * 31 + number) % 50 {
                let fits = noise(row * 1009 + i * 7 + number) % 12;
                counts[fits as usize..].iter_mut().for_each(|count| *count += 1);
            }
            let values = counts.iter().chain(&counts[11..]);
            for (column, count) in columns.iter_mut().zip(values) {
                column.push((t, (*count as f64).to_bits()));
            }
        }
        for (i, column) in columns.into_iter().enumerate() {
            let name = if i == 12 { "latency_count" } else { "latency_bucket" };
            let le = BOUNDS.get(i).copied().unwrap_or_default();
            let pairs = [("__name__", name), ("le", le), (host, instance.as_str())];
            model.insert(Labels::from_pairs(pairs), column);
        }
    }
    model
}

fn chunk_bytes(disk: &SimulatedDisk, model: &Model, coder: Coder) -> u64 {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = write_under(&shared, model, 6 * HOUR, coder).unwrap();
    assert_eq!(read_all(disk, &dir).unwrap(), *model);
    let block = Arc::new(Block::open(disk, &dir).unwrap());
    // Series by series from a fresh selection, and parts of them: nothing is known beforehand.
    let mut part = TimeRange { min_ms: NOW + HOUR, max_ms: NOW + HOUR + 600_000 };
    for (labels, samples) in model {
        let matchers: Vec<Matcher> =
            labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let selection = block.select(&matchers, part, &none).unwrap();
        let one: Model = [(labels.clone(), samples.clone())].into();
        assert_eq!(read(&selection, part).unwrap(), within(&one, part));
        part.min_ms += 1_000;
    }
    block.chunk_bytes()
}

#[test]
fn histograms_get_small_and_come_back() {
    for host in ["instance", "pod"] {
        let model = histograms(9, host, 1440);
        let [fast, dense] = [Coder::Fast, Coder::Dense]
            .map(|coder| chunk_bytes(&SimulatedDisk::new(1), &model, coder));
        let samples = 9 * 13 * 1440;
        assert!(dense * 3 < fast * 2, "{dense} of {fast} bytes for {samples} samples");
    }
}

#[test]
fn damage_to_a_sibling_is_told_of_what_depends_on_it_and_of_nothing_else() {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let model = histograms(4, "instance", 1440);
    let dir = write(&shared, &model, 6 * HOUR).unwrap();
    let path = dir.join("chunks");
    let intact = disk.file_bytes(&path).unwrap();
    for unit in 0..(intact.len() / 4200) {
        let mut bytes = intact.clone();
        bytes[unit * 4096 + 7] ^= 1;
        disk.set_file_bytes(&path, bytes).unwrap();
        let block = Arc::new(Block::open(&disk, &dir).unwrap());
        let selection = block.select(&[], TimeRange::ALL, &none).unwrap();
        let mut lost = 0;
        for (i, samples) in model.values().enumerate() {
            let mut out = Samples::default();
            let mut damage = Vec::new();
            selection.read(i, TimeRange::ALL, &mut out, &mut |e| damage.push(e)).unwrap();
            let begin = unit as u64 * 4096;
            for error in &damage {
                let StorageError::Corrupt { offset, .. } = error else { panic!("{error}") };
                assert!((begin..begin + 4096).contains(offset), "{error}");
            }
            let found = pairs(&out);
            assert!(found.len() < samples.len() || damage.is_empty());
            assert!(found.iter().all(|sample| samples.contains(sample)));
            assert!(!damage.is_empty() || found == *samples);
            lost += usize::from(!damage.is_empty());
        }
        assert!((1..model.len()).contains(&lost), "{lost} lost with unit {unit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any bits among buckets and counters that go in step.
    #[test]
    fn any_value_among_siblings_comes_back(
        strays in proptest::collection::vec(
            (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<u64>()),
            0..40),
        rows in 1_u64..200,
        stale: bool,
    ) {
        let mut model = histograms(3, "pod", rows);
        let labels: Vec<Labels> = model.keys().cloned().collect();
        for (series, row, bits) in strays {
            let samples = model.get_mut(&labels[series.index(labels.len())]).unwrap();
            let at = row.index(samples.len());
            samples[at].1 = bits;
        }
        if stale {
            for samples in model.values_mut() {
                samples.last_mut().unwrap().1 = crate::model::STALE_NAN_BITS;
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let dir = write(&disk, &model, 2 * HOUR).unwrap();
        prop_assert_eq!(read_all(&*disk, &dir).unwrap(), model);
    }
}
