//! Series that come late, end early or stay away for a while share the times of their group.

use super::*;

/// A scrape target's series, whose times stray, some of them there in part only.
fn target(number: i64, model: &mut Model) -> u64 {
    let times: Vec<i64> = (0..480)
        .map(|i| NOW - NOW % (2 * HOUR) + 2 * HOUR + number * 137 + i * 15_000 + i * i * 7919 % 40)
        .collect();
    let parts = [0..480, 200..480, 0..300, 100..101, 50..400];
    for (series, part) in parts.iter().enumerate() {
        let labels = Labels::from_pairs([
            ("__name__", format!("m{series}")),
            ("instance", format!("i{number:02}")),
        ]);
        let samples = times[part.clone()].iter().map(|t| (*t, 0)).collect();
        model.insert(labels, samples);
    }
    let away = times[..480].iter().enumerate();
    let away = away.filter(|(i, _)| !(100..160).contains(i) && !(301..303).contains(i));
    let labels = Labels::from_pairs([("__name__", "m9"), ("instance", &format!("i{number:02}"))]);
    model.insert(labels, away.map(|(_, t)| (*t, 0)).collect());
    480
}

#[test]
fn parts_of_a_groups_times_take_a_few_bytes() {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut model = Model::new();
    let rows: u64 = (0..20).map(|number| target(number, &mut model)).sum();
    let dir = write(&shared, &model, 2 * HOUR).unwrap();
    assert_eq!(read_all(&disk, &dir).unwrap(), model);
    let bytes = disk.file_bytes(&dir.join("columns")).unwrap().len() as u64;
    // One stored whole, five as parts of it, per target.
    assert!(bytes < rows + 20 * 5 * 30 + 100, "{bytes} bytes for {rows} rows and 100 parts");
    // Damage to a column is damage to those that are parts of it, and to no other target's.
    let path = dir.join("columns");
    let mut damaged = disk.file_bytes(&path).unwrap();
    damaged[100] ^= 1;
    disk.set_file_bytes(&path, damaged).unwrap();
    let block = Arc::new(Block::open(&disk, &dir).unwrap());
    let selection = block.select(&[], TimeRange::ALL, &none).unwrap();
    let mut lost = 0;
    for (i, samples) in model.values().enumerate() {
        let (mut out, mut is_damaged) = (Samples::default(), false);
        selection.read(i, TimeRange::ALL, &mut out, &mut |_| is_damaged = true).unwrap();
        assert!(is_damaged || pairs(&out) == *samples);
        lost += usize::from(is_damaged);
    }
    assert!((6..model.len() - 6).contains(&lost), "{lost} of {} lost", model.len());
}

#[test]
fn slow_series_get_longer_chunks() {
    let mut model = Model::new();
    let begin = NOW - NOW % (162 * HOUR) + 162 * HOUR;
    for (name, step) in [("fast", 15_000), ("slow", 60_000), ("slowest", 3_600_000)] {
        let times = (0..54 * HOUR / step).map(|i| (begin + i * step, i as u64));
        model.insert(Labels::from_pairs([("__name__", name)]), times.collect());
    }
    for (coder, chunks) in [(Coder::Fast, 27), (Coder::Dense, 9 + 3 + 1)] {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let dir = write_under(&disk, &model, 6 * HOUR, coder).unwrap();
        assert_eq!(read_all(&*disk, &dir).unwrap(), model);
        assert_eq!(Block::open(&*disk, &dir).unwrap().meta().chunks, chunks);
    }
}
