//! The index file against a model: what was written is found, and damage is found out.

use std::path::Path;

use proptest::prelude::*;

use super::{
    ChunkRef, INDEX, IndexReader, IndexWriter, LabelIndex, Visit, label_names, label_values,
    resolve, write_patched,
};
use crate::disk::{Disk, SimulatedDisk, StorageError};
use crate::index::units::UnitWriter;
use crate::model::{Labels, MatchOp, Matcher};

const PATH: &str = "/index";

#[expect(clippy::unnecessary_wraps, reason = "a check may fail")]
fn never() -> Result<(), StorageError> {
    Ok(())
}

fn chunks_of(i: usize, offset: &mut u64) -> Vec<ChunkRef> {
    (0..=i % 3)
        .map(|part| {
            let len = (i % 300) as u32;
            let chunk = ChunkRef {
                offset: *offset,
                len,
                column: ((i * 7 + part) % 50) as u32,
                part: i.is_multiple_of(5).then_some((part as u32 * 3, 3)),
            };
            *offset += u64::from(len);
            chunk
        })
        .collect()
}

/// Writes sorted series and gives their chunks and the file's length.
fn write(disk: &dyn Disk, series: &[Labels]) -> (Vec<Vec<ChunkRef>>, u64) {
    let mut writer = IndexWriter::create(disk, Path::new(PATH)).unwrap();
    let mut offset = 17;
    let mut all = Vec::new();
    for (i, labels) in series.iter().enumerate() {
        let chunks = chunks_of(i, &mut offset);
        writer.add(labels, &chunks).unwrap();
        all.push(chunks);
    }
    (all, writer.finish().unwrap())
}

/// Everything an index says, in a form that compares.
fn read_all(disk: &dyn Disk) -> Result<(Vec<Labels>, Vec<Vec<ChunkRef>>), StorageError> {
    let index = IndexReader::open(disk, Path::new(PATH))?;
    index.verify()?;
    let mut rows = index.rows();
    let mut labels = Vec::new();
    let mut chunks = Vec::new();
    for ordinal in 0..index.series_count() {
        labels.push(rows.labels(ordinal)?);
        chunks.push(rows.chunks(ordinal)?.to_vec());
    }
    Ok((labels, chunks))
}

fn arbitrary_series() -> impl Strategy<Value = Vec<Labels>> {
    let labels = proptest::collection::vec(("[a-e]|__name__|Zone", "[xyzé]{0,3}"), 0..6);
    proptest::collection::btree_set(labels.prop_map(Labels::from_pairs), 0..200)
        .prop_map(|set| set.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_found(series in arbitrary_series()) {
        let disk = SimulatedDisk::new(1);
        let (chunks, _) = write(&disk, &series);
        let (labels_read, chunks_read) = read_all(&disk).unwrap();
        prop_assert_eq!(&labels_read, &series);
        prop_assert_eq!(chunks_read, chunks);
        let index = IndexReader::open(&disk, Path::new(PATH)).unwrap();
        let mut rows = index.rows();
        for ordinal in (0..series.len()).rev().step_by(7) {
            prop_assert_eq!(&rows.labels(ordinal as u32).unwrap(), &series[ordinal]);
        }
        for (name, value) in series.iter().flatten().chain([("a", "nope"), ("nope", "x")]) {
            let view = index.view();
            let holders = (0..).zip(&series).filter(|(_, l)| l.get(name) == Some(value));
            let hits: Vec<u32> = holders.map(|(ordinal, _)| ordinal).collect();
            prop_assert_eq!(view.postings(name, value).iter().collect::<Vec<_>>(), hits.clone());
            prop_assert_eq!(view.postings_len(name, value), hits.len() as u64);
            prop_assert!(view.finish().is_ok());
        }
        for prefix in ["", "x", "xy", "z", "é", "w"] {
            let view = index.view();
            let mut values = Vec::new();
            view.visit_values("a", prefix, &mut |value| {
                values.push(value.to_owned());
                Visit::Next
            });
            let all = series.iter().filter_map(|l| l.get("a"));
            let mut expected: Vec<&str> = all.filter(|v| v.starts_with(prefix)).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(values, expected);
            prop_assert!(view.finish().is_ok());
        }
    }

    #[test]
    fn patched_files_end_in_an_answer(patches in proptest::collection::vec(any::<u8>(), 0..30)) {
        let disk = SimulatedDisk::new(1);
        write_patched(&disk, Path::new(PATH), &patches).unwrap();
        prop_assert!(read_all(&disk).is_ok() || patches.len() >= 3);
    }

    /// Sections whose checksums fit but whose bytes are anything.
    #[test]
    fn hostile_bytes_end_in_an_answer(
        series in arbitrary_series(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let disk = SimulatedDisk::new(1);
        write(&disk, &series);
        let mut data = disk.file_bytes(Path::new(PATH)).unwrap();
        let footer = data.len() - 24;
        let data_len = u64::from_le_bytes(data[footer..footer + 8].try_into().unwrap());
        data.truncate(data_len as usize);
        for (at, byte) in changes {
            *at.get_mut(&mut data) = byte;
        }
        let disk = SimulatedDisk::new(1);
        let mut writer = UnitWriter::create(&disk, Path::new(PATH), INDEX).unwrap();
        writer.write(&data).unwrap();
        writer.finish().unwrap();
        let _ = read_all(&disk);
    }
}

#[test]
fn no_flipped_bit_goes_unseen() {
    let disk = SimulatedDisk::new(1);
    let series: Vec<Labels> = (0..40)
        .map(|i| Labels::from_pairs([("__name__", "up".to_owned()), ("i", format!("{i:03}"))]))
        .collect();
    write(&disk, &series);
    let whole = read_all(&disk).unwrap();
    let bytes = disk.file_bytes(Path::new(PATH)).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        disk.set_file_bytes(Path::new(PATH), damaged).unwrap();
        let error = read_all(&disk).expect_err("BUG: a flipped bit goes unseen");
        assert!(matches!(error, StorageError::Corrupt { .. } | StorageError::TooNew { .. }));
        disk.set_file_bytes(Path::new(PATH), bytes[..at].to_vec()).unwrap();
        assert!(matches!(read_all(&disk), Err(StorageError::Corrupt { .. })));
    }
    disk.set_file_bytes(Path::new(PATH), bytes).unwrap();
    assert_eq!(read_all(&disk).unwrap(), whole);
}

/// Series as a Kubernetes cluster has them: pods with uid, node, address and containers, whose
/// metrics are scraped from the pod itself and from the node.
fn cluster(pods: usize) -> Vec<Labels> {
    let mut series = Vec::new();
    let mut seed = 7_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for pod in 0..pods {
        let app = pod / 5;
        let namespace = format!("team-{}", app % 20);
        let node = format!("ip-10-0-{}-{}.internal", pod % 7, random() % 8);
        let name = format!("app-{app}-{:010x}-{:05x}", random() >> 24, random() >> 44);
        let address = format!("10.1.{}.{}", pod / 250, pod % 250);
        let uid = format!("{:016x}{:016x}", random(), random());
        let id = format!("/kubepods/burstable/pod{uid}/{:016x}{:016x}", random(), random());
        let shared = [
            ("cluster", "production-1"),
            ("namespace", namespace.as_str()),
            ("pod", name.as_str()),
            ("node", node.as_str()),
            ("container", "server"),
            ("prometheus", "monitoring/k8s"),
        ];
        let instance = format!("{address}:8080");
        for metric in 0..60 {
            let metric_name = format!("http_server_metric_{metric}_total");
            for le in 0..=metric % 3 {
                let le = format!("0.{le}");
                let service = format!("app-{app}");
                let own = [
                    ("__name__", metric_name.as_str()),
                    ("instance", instance.as_str()),
                    ("job", service.as_str()),
                    ("service", service.as_str()),
                    ("endpoint", "http"),
                    ("le", le.as_str()),
                ];
                series.push(Labels::from_pairs(shared.into_iter().chain(own)));
            }
        }
        for metric in 0..40 {
            let metric_name = format!("container_metric_{metric}");
            let own = [
                ("__name__", metric_name.as_str()),
                ("id", id.as_str()),
                ("uid", uid.as_str()),
                ("image", "registry.example/app@sha256:0123456789abcdef"),
                ("job", "kubelet"),
                ("instance", node.as_str()),
            ];
            series.push(Labels::from_pairs(shared.into_iter().chain(own)));
        }
    }
    series.sort_unstable();
    series
}

/// One chunk each, a column for each pod: a two-hour block. The design allows 30 bytes a series.
#[test]
fn index_of_a_cluster_is_small() {
    let series = cluster(150);
    let disk = SimulatedDisk::new(1);
    let mut writer = IndexWriter::create(&disk, Path::new(PATH)).unwrap();
    let mut offset = 0;
    let mut columns = hashbrown::HashMap::new();
    for (i, labels) in series.iter().enumerate() {
        let next = columns.len() as u32;
        let source = (labels.get("instance"), labels.get("job"));
        let column = *columns.entry(source).or_insert(next);
        let len = if i % 2 == 0 { 4 } else { 120 + (i % 77) as u32 };
        writer.add(labels, &[ChunkRef { offset, len, column, part: None }]).unwrap();
        offset += u64::from(len);
    }
    let len = writer.finish().unwrap();
    let per_series = len as f64 / series.len() as f64;
    let labels = series.iter().map(Labels::len).sum::<usize>() / series.len();
    println!("{} series of {labels} labels: {per_series:.1} B of index each", series.len());
    assert!(per_series < 30.0);
    let index = IndexReader::open(&disk, Path::new(PATH)).unwrap();
    index.verify().unwrap();
    let view = index.view();
    let hits = resolve(&view, &[Matcher::equal("__name__", "container_metric_7")], &never).unwrap();
    view.finish().unwrap();
    assert_eq!(hits.len(), 150);
    let mut rows = index.rows();
    for ordinal in hits {
        assert_eq!(rows.labels(ordinal).unwrap(), series[ordinal as usize]);
    }
}

/// Many values, few shapes: whatever way is taken to an answer, it is the same, and again from the
/// cache.
#[test]
fn matchers_find_what_a_look_at_every_series_finds() {
    let job = |pod: u32| ["web", "api", "batch"][pod as usize % 3];
    let mut series: Vec<Labels> = (0..4000)
        .map(|i: u32| {
            let pod = i / 5;
            let mut pairs = vec![
                ("__name__", format!("metric_{}", i % 5)),
                ("job", job(pod).to_owned()),
                ("pod", format!("{}-{pod:05}", job(pod))),
                ("uid", format!("{:08x}", pod.wrapping_mul(0x9e37_79b9))),
            ];
            if i.is_multiple_of(7) {
                pairs.push(("zone", format!("z{}", i % 3)));
            }
            Labels::from_pairs(pairs)
        })
        .collect();
    series.sort();
    let disk = SimulatedDisk::new(1);
    write(&disk, &series);
    let index = IndexReader::open(&disk, Path::new(PATH)).unwrap();
    let sets: [&[(&str, MatchOp, &str)]; 10] = [
        &[("__name__", MatchOp::Equal, "metric_2"), ("pod", MatchOp::Regex, "(web|api)-0.*7")],
        &[("pod", MatchOp::Regex, "web-000.*")],
        &[("pod", MatchOp::Regex, ".*99")],
        &[("uid", MatchOp::Regex, "[0-3].*"), ("uid", MatchOp::NotRegex, "1.*")],
        &[("zone", MatchOp::Regex, ".+"), ("job", MatchOp::NotEqual, "web")],
        &[("zone", MatchOp::Equal, ""), ("uid", MatchOp::NotRegex, "[^0].*")],
        &[("zone", MatchOp::Regex, "z1|"), ("__name__", MatchOp::Regex, "metric_[12]")],
        &[("pod", MatchOp::Equal, "web-00000"), ("uid", MatchOp::Regex, ".*0.*")],
        &[("zone", MatchOp::NotRegex, ".+"), ("job", MatchOp::Regex, "a.i")],
        &[("uid", MatchOp::Regex, "(9e|3c).*"), ("nothing", MatchOp::NotEqual, "x")],
    ];
    for set in sets.iter().chain(&sets) {
        let matchers: Vec<Matcher> =
            set.iter().map(|&(name, op, value)| Matcher::new(name, op, value).unwrap()).collect();
        let is_hit =
            |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
        let hits: Vec<u32> =
            (0..).zip(&series).filter(|(_, labels)| is_hit(labels)).map(|hit| hit.0).collect();
        assert!(!hits.is_empty(), "{set:?} finds something");
        let view = index.view();
        let found = resolve(&view, &matchers, &never).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), hits, "{set:?}");
        let pairs = || hits.iter().flat_map(|&hit| series[hit as usize].iter());
        let sorted = |mut texts: Vec<&str>| {
            texts.sort_unstable();
            texts.dedup();
            texts.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let names = sorted(pairs().map(|pair| pair.0).collect());
        assert_eq!(label_names(&view, &matchers, &never).unwrap(), names, "{set:?}");
        for label in ["pod", "zone", "nothing"] {
            let values = pairs().filter(|pair| pair.0 == label).map(|pair| pair.1).collect();
            let found = label_values(&view, label, &matchers, &never).unwrap();
            assert_eq!(found, sorted(values), "{set:?}");
        }
        view.finish().unwrap();
    }
    let view = index.view();
    let mut visited = Vec::new();
    view.visit_values("pod", "", &mut |value| {
        visited.push(value.to_owned());
        Visit::Past(1)
    });
    assert_eq!(visited, ["api-00001", "batch-00002", "web-00000"]);
}
