//! What rules record, and what alerts do.

use super::*;

const CHAIN: &str = "groups: [{name: g, interval: 30s, rules: [\
                     {record: a, expr: 'up * 2'}, {record: b, expr: 'a + 1'}, \
                     {record: c, expr: 'sum(b)', labels: {k: v}}]}]";

#[test]
fn a_rule_sees_what_those_before_it_recorded() {
    for concurrent_evals in [false, true] {
        let mut world = World::new(Options { concurrent_evals, ..Options::default() });
        world.load(CHAIN);
        world.pass_with(120, "up", 5.0);
        assert_eq!(world.values("a"), [Some(10.0); 4]);
        assert_eq!(world.values("b"), [Some(11.0); 4]);
        let found = world.read("c");
        assert_eq!(found[0].0, "{k=\"v\"}");
        assert_eq!(found[0].1[3].1, Some(11.0));
        // Times are equal over the group, 30 s apart, and where Prometheus has them.
        let times: Vec<i64> = world.read("a")[0].1.iter().map(|(t, _)| *t).collect();
        let of_c: Vec<i64> = found[0].1.iter().map(|(t, _)| *t).collect();
        assert_eq!(times, of_c);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 30_000));
    }
}

#[test]
fn one_row_for_each_evaluation() {
    let mut world = World::new(Options::default());
    let rules: Vec<String> =
        (0..20).map(|i| format!("{{record: r{i}, expr: 'up + {i}'}}")).collect();
    world.load(&format!("groups: [{{name: g, rules: [{}]}}]", rules.join(",")));
    world.pass_with(60, "up", 1.0);
    let before = world.database.stats().head.log.appended_records;
    world.pass_with(60, "up", 2.0);
    // Of the group one, and one for each sample that was pushed.
    assert_eq!(world.database.stats().head.log.appended_records - before, 1 + 4);
    assert_eq!(world.values("r19"), [Some(20.0), Some(21.0)]);
}

#[test]
fn a_result_that_vanishes_is_marked_once() {
    let mut world = World::new(Options::default());
    world.load("groups: [{name: g, interval: 15s, rules: [{record: a, expr: 'up > 0'}]}]");
    world.pass_with(30, "up", 1.0);
    world.pass_with(45, "up", 0.0);
    world.pass_with(15, "up", 3.0);
    assert_eq!(world.values("a"), [Some(1.0), Some(1.0), None, Some(3.0)]);
}

#[test]
fn failures_are_kept_apart() {
    let mut world = World::new(Options::default());
    world.load(
        "groups: [{name: g, interval: 15s, limit: 1, rules: [\
         {record: a, expr: up}, \
         {record: b, expr: 'sum(up) by (job)', labels: {job: x}}, \
         {record: c, expr: 'sum(up)'}, \
         {record: d, expr: '\"text\"'}, \
         {alert: e, expr: 'sum without (job) (up * 0) == 0 or up', labels: {job: y}}]}]",
    );
    world.push("up{job=\"1\"}", 1.0);
    world.push("up{job=\"2\"}", 1.0);
    world.pass(15);
    let group = &world.manager.groups()[0];
    let errors: Vec<String> = group.rules().iter().map(super::super::Rule::last_error).collect();
    assert_eq!(
        errors,
        [
            "exceeded limit of 1 with 2 series",
            "vector contains metrics with the same labelset after applying rule labels",
            "",
            "rule result is not a vector or scalar",
            "vector contains metrics with the same labelset after applying alert labels",
        ]
    );
    let health: Vec<&str> = group.rules().iter().map(|rule| rule.health().as_str()).collect();
    assert_eq!(health, ["err", "err", "ok", "err", "err"]);
    assert_eq!(world.values("c"), [Some(2.0)]);
    let families = world.manager.families();
    let value =
        |name: &str| families.iter().find(|family| family.name == name).unwrap().samples[0].value;
    assert_eq!(value("prometheus_rule_evaluation_failures_total"), 4.0);
    assert_eq!(value("prometheus_rule_evaluations_total"), 5.0);
    assert_eq!(value("prometheus_rule_group_rules"), 5.0);
    assert_eq!(value("prometheus_rule_group_interval_seconds"), 15.0);
    assert_eq!(value("prometheus_rule_group_last_evaluation_samples"), 1.0);
}

#[test]
fn an_offset_moves_what_is_asked_and_written() {
    let mut world = World::new(Options::default());
    world.load_with(
        "groups: [{name: g, rules: [{record: a, expr: 'timestamp(vector(time()))'}]}, \
         {name: h, query_offset: 0s, rules: [{record: b, expr: 'time()'}]}]",
        90_000,
    );
    world.pass(60);
    let (a, b) = (world.read("a"), world.read("b"));
    let (t_a, value) = a[0].1[0];
    assert_eq!(value, Some(t_a as f64 / 1000.0));
    assert!(t_a < START / 1_000_000 - 29_000);
    assert!(b[0].1[0].0 > START / 1_000_000);
}

const ALERT: &str = "groups: [{name: g, interval: 15s, rules: [\
                     {alert: Down, expr: 'up == 0', for: 30s, labels: {sev: page}, \
                     annotations: {text: plain}}]}]";

#[test]
fn an_alert_is_pending_fires_and_ends() {
    let mut world = World::new(Options { for_grace_period_ms: 0, ..Options::default() });
    world.load(ALERT);
    world.pass_with(60, "up{job=\"x\"}", 1.0);
    assert!(world.read("ALERTS").is_empty());
    world.pass_with(45, "up{job=\"x\"}", 0.0);
    let sent = world.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!((sent[0].0.as_str(), sent[0].2), ("Down", false));
    let rule = &world.manager.groups()[0];
    let alerts = rule.rules()[0].active_alerts();
    assert_eq!(alerts[0].labels.to_string(), "{alertname=\"Down\", job=\"x\", sev=\"page\"}");
    assert_eq!(alerts[0].annotations, [("text".to_owned(), "plain".to_owned())]);
    world.pass_with(60, "up{job=\"x\"}", 1.0);
    let sent = world.sent();
    assert_eq!(sent.len(), 1, "the end is told at once: {sent:?}");
    assert!(sent[0].2);
    world.pass_with(60, "up{job=\"x\"}", 1.0);
    assert_eq!(world.sent().len(), 1, "and again after the delay");
    let states: Vec<(String, usize, bool)> = world
        .read("ALERTS")
        .into_iter()
        .map(|(labels, values)| (labels, values.len(), values.last().unwrap().1.is_none()))
        .collect();
    let labels = |state: &str| {
        format!("{{alertname=\"Down\", alertstate=\"{state}\", job=\"x\", sev=\"page\"}}")
    };
    assert_eq!(states, [(labels("firing"), 2, true), (labels("pending"), 3, true)]);
    let since = world.read("ALERTS_FOR_STATE");
    assert_eq!(since.len(), 1);
    let values: Vec<Option<f64>> = since[0].1.iter().map(|(_, value)| *value).collect();
    assert!(values[0].is_some() && values[0] == values[2] && values[3].is_none(), "{values:?}");
}

#[test]
fn an_alert_names_where_its_expression_can_be_looked_at() {
    let options = Options { external_url: "http://h:1/p".to_owned(), ..Options::default() };
    let mut world = World::new(options);
    world.load("groups: [{name: g, interval: 15s, rules: [{alert: A, expr: 'up{a=\"b\"} > 1'}]}]");
    world.push("up{a=\"b\"}", 2.0);
    world.pass(15);
    let sent = std::mem::take(&mut *world.sent.0.lock().unwrap());
    assert_eq!(
        sent[0].generator_url,
        "http://h:1/p/graph?g0.expr=up%7Ba%3D%22b%22%7D+%3E+1&g0.tab=1"
    );
    // It outlives two rounds: four delays, which are longer than the interval.
    assert_eq!(sent[0].ends_at_ns - sent[0].starts_at_ns, 240 * SECOND);
}

/// Queries that were told: group, text, and whether they failed.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(String, String, bool)>>);

impl QueryWatcher for Told {
    fn query_ran(&self, query: &RuleQuery<'_>) {
        let told = (query.group.to_owned(), query.text.to_owned(), query.outcome.is_err());
        self.0.lock().unwrap().push(told);
    }
}

#[test]
fn queries_are_told() {
    let told = Arc::new(Told::default());
    let mut world = World::new(Options { watcher: Some(told.clone()), ..Options::default() });
    world.load(
        "groups: [{name: g, interval: 15s, rules: [{record: a, expr: '1'}, \
         {record: b, expr: 'up / up'}]}]",
    );
    world.push("up{a=\"1\"}", 1.0);
    world.push("up{a=\"2\"}", 1.0);
    world.pass(15);
    let told = std::mem::take(&mut *told.0.lock().unwrap());
    let entry = |text: &str| ("g".to_owned(), text.to_owned(), false);
    assert_eq!(told, [entry("1"), entry("up / up")]);
}

#[test]
fn slow_evaluations_are_passed_over() {
    let mut world = World::new(Options::default());
    world.load("groups: [{name: g, interval: 15s, rules: [{record: a, expr: '1'}]}]");
    world.pass(15);
    world.set_now(START + 100 * SECOND);
    world.pass(0);
    let families = world.manager.families();
    let value =
        |name: &str| families.iter().find(|family| family.name == name).unwrap().samples[0].value;
    assert_eq!(value("prometheus_rule_group_iterations_missed_total"), 5.0);
    assert_eq!(value("prometheus_rule_group_iterations_total"), 7.0);
    assert_eq!(world.values("a").len(), 2);
}
