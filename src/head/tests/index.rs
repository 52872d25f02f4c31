//! The live index from outside: matchers against every series, and while series come.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::index::{Visit, label_names, label_values, resolve};
use crate::model::{MatchOp, Matcher};

const COUNT: u32 = 6000;

#[expect(clippy::unnecessary_wraps, reason = "a check may fail")]
fn never() -> Result<(), StorageError> {
    Ok(())
}

fn many(i: u32) -> Labels {
    let pod = i / 5;
    let mut pairs = vec![
        ("__name__", format!("metric_{}", i % 5)),
        ("job", ["web", "api", "batch"][pod as usize % 3].to_owned()),
        ("pod", format!("{}-{pod:05}", ["web", "api", "batch"][pod as usize % 3])),
        ("uid", format!("{:08x}", pod.wrapping_mul(0x9e37_79b9))),
    ];
    if i.is_multiple_of(7) {
        pairs.push(("zone", format!("z{}", i % 3)));
    }
    Labels::from_pairs(pairs)
}

fn matcher_sets() -> Vec<Vec<Matcher>> {
    let matcher = |name: &str, op: &str, value: &str| {
        let op = match op {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            _ => MatchOp::NotRegex,
        };
        Matcher::new(name, op, value).unwrap()
    };
    let sets: [&[(&str, &str, &str)]; 14] = [
        &[("pod", "=", "api-00001")],
        &[("__name__", "=", "metric_2"), ("pod", "=~", "(web|api)-0.*7")],
        &[("pod", "=~", "web-000.*")],
        &[("pod", "=~", ".*99")],
        &[("uid", "=~", "[0-3].*")],
        &[("zone", "=~", ".+"), ("job", "!=", "web")],
        &[("zone", "=", ""), ("uid", "!~", "[^0].*")],
        &[("zone", "=~", "z1|"), ("__name__", "=~", "metric_[12]")],
        &[("zone", "!~", "z1|"), ("__name__", "!=", "")],
        &[("zone", "!~", ".+"), ("pod", "=~", "batch-0000.*")],
        &[("pod", "=", "web-00000"), ("uid", "=~", ".*0.*"), ("uid", "!~", "1.*")],
        &[("pod", "!~", "web.*"), ("nothing", "=~", ".*")],
        &[("nothing", "=~", ".+")],
        &[("uid", "!=", "00000000"), ("job", "=~", "api|none")],
    ];
    sets.iter()
        .map(|set| set.iter().map(|&(name, op, value)| matcher(name, op, value)).collect())
        .collect()
}

fn check(head: &Head, all: &[Labels]) {
    for matchers in matcher_sets() {
        let hits = all.iter().filter(|labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
        });
        let hits: Vec<&Labels> = hits.collect();
        let found = resolve(&head.index(), &matchers, &never).unwrap();
        let mut found: Vec<Labels> =
            found.iter().map(|id| head.labels(super::super::SeriesId(id)).unwrap()).collect();
        let mut expected: Vec<Labels> = hits.iter().map(|&labels| labels.clone()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len(), "{matchers:?}");
        assert!(found == expected, "{matchers:?}");
        let pairs = || hits.iter().flat_map(|labels| labels.iter());
        let mut names: Vec<&str> = pairs().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(label_names(&head.index(), &matchers, &never).unwrap(), names, "{matchers:?}");
        for label in ["pod", "zone", "job"] {
            let of_label = pairs().filter(|(name, _)| *name == label);
            let mut values: Vec<&str> = of_label.map(|(_, value)| value).collect();
            values.sort_unstable();
            values.dedup();
            assert_eq!(
                label_values(&head.index(), label, &matchers, &never).unwrap(),
                values,
                "{matchers:?}"
            );
        }
    }
}

#[test]
fn matchers_find_what_a_look_at_every_series_finds() {
    let head = Bench::new(1).open();
    let all: Vec<Labels> = (0..COUNT).map(many).collect();
    for (i, labels) in all.iter().enumerate() {
        head.series(labels);
        if i == 900 || i == 4000 {
            check(&head, &all[..=i]);
        }
    }
    check(&head, &all);
    let mut visited = Vec::new();
    head.index().visit_values("pod", "", &mut |value| {
        visited.push(value.to_owned());
        // One pod of each job.
        Visit::Past(3)
    });
    let mut begins: Vec<&str> = visited.iter().map(|value| &value[..3]).collect();
    begins.sort_unstable();
    begins.dedup();
    assert_eq!(begins, ["api", "bat", "web"]);
    assert!(visited.len() < 300, "{} values", visited.len());
}

#[test]
fn the_heaviest_labels_are_counted() {
    let head = Bench::new(1).open();
    for i in 0..COUNT {
        head.series(&many(i));
    }
    let top = head.top_labels(2);
    assert_eq!(top.names, 5);
    assert_eq!(top.pairs, 5 + 3 + 1200 + 1200 + 3);
    let list = |list: &[(String, u64)]| -> Vec<String> {
        list.iter().map(|(text, count)| format!("{text}:{count}")).collect()
    };
    assert_eq!(list(&top.series_by_metric), ["metric_0:1200", "metric_1:1200"]);
    assert_eq!(list(&top.values_by_name), ["pod:1200", "uid:1200"]);
    assert_eq!(list(&top.series_by_pair), ["job=api:2000", "job=batch:2000"]);
    assert_eq!(top.bytes_by_name[0], ("pod".to_owned(), 2000 * (9 + 9 + 11)));
    assert_eq!(head.index().pairs_len() as u64, top.pairs);
}

#[test]
fn what_is_there_is_found_while_series_come() {
    let head = Bench::new(1).open();
    let all: Vec<Labels> = (0..2000).map(many).collect();
    for labels in &all {
        head.series(labels);
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 2000..COUNT {
                head.series(&many(i));
            }
            is_done.store(true, Ordering::Release);
        });
        let matchers = [Matcher::new("pod", MatchOp::Regex, ".*-0.*[13579]").unwrap()];
        let there = |labels: &&Labels| matchers[0].matches(labels.get("pod").unwrap());
        let expected: Vec<&Labels> = all.iter().filter(there).collect();
        loop {
            let last = is_done.load(Ordering::Acquire);
            let found = resolve(&head.index(), &matchers, &never).unwrap();
            for labels in &expected {
                let id = head.find(labels).unwrap().id.0;
                assert!(found.contains(id), "{labels}");
            }
            let values = label_values(&head.index(), "pod", &[], &never).unwrap();
            assert!(values.len() >= 400 && values.windows(2).all(|pair| pair[0] < pair[1]));
            if last {
                break;
            }
        }
    });
}
