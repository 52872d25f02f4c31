//! Files that are good, bad, late and gone.

use super::*;
use std::sync::Mutex;

fn groups(name: &str, text: &str) -> Result<Vec<TargetGroup>, String> {
    parse_groups(Path::new(name), text).map_err(|error| error.to_string())
}

#[test]
fn json_and_yaml_say_the_same() {
    let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"x": "1"}}, {"targets": []}]"#;
    let yaml = "- targets: [\"a:1\", b:2]\n  labels: {x: 1}\n- targets: []\n";
    let expected = [
        TargetGroup::of_addresses(
            "F:0",
            ["a:1", "b:2"],
            Labels::from_pairs([("x", "1"), ("__meta_filepath", "F")]),
        ),
        TargetGroup::of_addresses(
            "F:1",
            Vec::<String>::new(),
            Labels::from_pairs([("__meta_filepath", "F")]),
        ),
    ];
    for (name, text) in [("t.json", json), ("t.JSON", json), ("t.yml", yaml), ("t.yaml", yaml)] {
        let got = groups(name, text).unwrap();
        let expected = expected.clone().map(|group| TargetGroup {
            source: group.source.replace('F', name),
            targets: group.targets,
            labels: Labels::from_pairs(
                group.labels.iter().map(|(n, v)| (n, if v == "F" { name } else { v })),
            ),
        });
        assert_eq!(got, expected, "{name}");
    }
    for (name, text) in [("t.json", "null"), ("t.json", "[]"), ("t.yml", ""), ("t.yml", "[]")] {
        assert_eq!(groups(name, text).unwrap(), [], "{name} {text}");
    }
}

#[test]
fn what_is_no_list_of_groups_is_refused() {
    for (name, text) in [
        ("t.json", ""),
        ("t.json", "{}"),
        ("t.json", r#"[{"targets": ["a"], "label": {}}]"#),
        ("t.json", r#"[{"targets": "a"}]"#),
        ("t.json", r#"[{"targets": ["a"], "labels": {"x": 1}}]"#),
        ("t.yml", "targets: [a]"),
        ("t.yml", "- targets: [a]\n  lables: {}"),
    ] {
        assert!(groups(name, text).is_err(), "{name} {text}");
    }
    let error = groups("t.json", "[null]").unwrap_err();
    assert_eq!(error, "nil target group item found");
    let error = groups("t.json", r#"[{"labels": {"": "x"}}]"#).unwrap_err();
    assert_eq!(error, "\"\" is not a valid label name");
}

#[test]
fn patterns_name_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.json", "b.json", "b.yml", "ab"] {
        std::fs::write(dir.path().join(name), "[]").unwrap();
    }
    let names = |pattern: &str| {
        let pattern = dir.path().join(pattern);
        let files = matching_files(&pattern.to_string_lossy());
        files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let none: Vec<String> = Vec::new();
    let all: Vec<String> = names("*.json");
    assert_eq!(all, ["a.json", "b.json"]);
    let one: Vec<String> = names("b*.yml");
    assert_eq!(one, ["b.yml"]);
    assert_eq!(names("a.json"), vec!["a.json".to_owned()]);
    assert_eq!(names("c.json"), none);
    assert_eq!(names("no/*.json"), none);
}

#[tokio::test]
async fn changes_are_noticed_and_a_bad_file_keeps_the_last_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.json");
    std::fs::write(&path, r#"[{"targets": ["a:1"]}]"#).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let config = FileDiscovery {
        files: vec![dir.path().join("*.json").to_string_lossy().into_owned()],
        refresh_interval_ms: 50,
    };
    let task = tokio::spawn(run(config, Metrics::new(), move |groups| {
        let addresses = groups.iter().flat_map(|group| &group.targets);
        let addresses = addresses.map(|t| t.get("__address__").unwrap().to_owned());
        sink.lock().unwrap().push(addresses.collect::<Vec<_>>().join(" "));
    }));
    let wait_for = |count: usize| {
        let seen = Arc::clone(&seen);
        async move {
            for _ in 0..1000 {
                if seen.lock().unwrap().len() >= count {
                    return seen.lock().unwrap()[count - 1].clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("no update {count}: {:?}", seen.lock().unwrap());
        }
    };
    assert_eq!(wait_for(1).await, "a:1");
    std::fs::write(&path, "[{").unwrap();
    std::fs::write(dir.path().join("u.json"), r#"[{"targets": ["b:1"]}]"#).unwrap();
    assert_eq!(wait_for(2).await, "a:1 b:1");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(wait_for(3).await, "b:1");
    task.abort();
}

#[tokio::test]
async fn a_watch_notices_before_the_interval() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yml");
    let changed = Arc::new(Notify::new());
    let config = FileDiscovery {
        files: vec![path.to_string_lossy().into_owned()],
        refresh_interval_ms: 3_600_000,
    };
    let told = Arc::clone(&changed);
    let task = tokio::spawn(run(config, Metrics::new(), move |_| told.notify_one()));
    changed.notified().await;
    std::fs::write(&path, "- targets: [a]\n").unwrap();
    changed.notified().await;
    std::fs::remove_file(&path).unwrap();
    changed.notified().await;
    task.abort();
}
