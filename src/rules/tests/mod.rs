//! Groups on a simulated disk and clock: hours pass without waiting.

mod files;
mod reloads;
mod restarts;
mod values;

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::manager::Changes;
use super::{
    AlertSink, Group, Manager, Options, OutgoingAlert, QueryWatcher, RuleQuery, Settings,
    SimulatedWallClock, Source, WallClock, load_text,
};
use crate::db::{self, Database};
use crate::disk::{SimulatedClock, SimulatedDisk};
use crate::head::GroupKey;
use crate::model::{Labels, Matcher, Samples, TimeRange, is_stale};
use crate::promql::engine::Engine;
use crate::select::{Cancellation, Queryable};

const SECOND: i64 = 1_000_000_000;
/// 2023-11-14, on a full minute.
const START: i64 = 1_700_000_040 * SECOND;

/// Times in milliseconds and values; a staleness marker is `None`.
type Values = Vec<(i64, Option<f64>)>;

/// Alerts that were handed on.
#[derive(Debug, Default)]
struct Sent(Mutex<Vec<OutgoingAlert>>);

impl AlertSink for Sent {
    fn send(&self, alerts: Vec<OutgoingAlert>) {
        self.0.lock().unwrap().extend(alerts);
    }
}

/// A server's rules and database.
struct World {
    disk: SimulatedDisk,
    disk_clock: Arc<SimulatedClock>,
    clock: Arc<SimulatedWallClock>,
    database: Database,
    manager: Manager,
    sent: Arc<Sent>,
    options: Options,
    /// Groups that run, and those that are gone with the time at which they were stopped.
    running: Vec<Arc<Group>>,
    gone: Vec<(Arc<Group>, i64)>,
}

impl World {
    fn new(options: Options) -> Self {
        let clock = Arc::new(SimulatedClock::new(START / 1_000_000));
        Self::on(SimulatedDisk::new(1), clock, START, options)
    }

    fn on(
        disk: SimulatedDisk,
        disk_clock: Arc<SimulatedClock>,
        now_ns: i64,
        options: Options,
    ) -> Self {
        let settings = db::Options { background: false, ..db::Options::default() };
        let database = Database::open_with(
            Arc::new(disk.clone()),
            disk_clock.clone(),
            Path::new("/data"),
            settings,
        )
        .unwrap();
        let clock = Arc::new(SimulatedWallClock::new(now_ns));
        let sent = Arc::new(Sent::default());
        let manager = Manager::new(
            database.clone(),
            Engine::default(),
            options.clone(),
            sent.clone(),
            clock.clone(),
        );
        let (running, gone) = (Vec::new(), Vec::new());
        Self { disk, disk_clock, clock, database, manager, sent, options, running, gone }
    }

    /// The process ends, and another one starts `away_s` later.
    fn restart(self, away_s: i64) -> Self {
        let now_ns = self.clock.now_ns() + away_s * SECOND;
        drop((self.manager, self.running, self.gone));
        self.database.close().unwrap();
        let disk = self.disk.kill();
        self.disk_clock.set_now_ms(now_ns / 1_000_000);
        Self::on(disk, self.disk_clock, now_ns, self.options)
    }

    /// Runs these groups from now on.
    fn load(&mut self, groups: &str) {
        self.load_with(groups, 0);
    }

    fn load_with(&mut self, groups: &str, offset_ms: i64) {
        let groups = load_text(groups, "f.yml", &Source::default()).unwrap();
        let settings = Settings {
            evaluation_interval_ms: 60_000,
            rule_query_offset_ms: offset_ms,
            external_labels: Labels::from_pairs([("site", "x")]),
        };
        let Changes { started, ended } = self.manager.change(groups, settings, Engine::default());
        self.running.retain(|group| !group.is_stopped());
        self.running.extend(started);
        let now_ns = self.clock.now_ns();
        self.gone.extend(ended.into_iter().map(|group| (group, now_ns)));
    }

    fn set_now(&self, now_ns: i64) {
        self.clock.set_now_ns(now_ns);
        self.disk_clock.set_now_ms(now_ns / 1_000_000);
    }

    /// Lets `seconds` pass; everything runs at its time.
    fn pass(&mut self, seconds: i64) {
        let end_ns = self.clock.now_ns() + seconds * SECOND;
        loop {
            let next = self.running.iter().map(|group| group.due_ns()).min();
            let leaving = |(group, stopped): &(Arc<Group>, i64)| {
                stopped + 2 * group.interval_ms() * 1_000_000
            };
            let leave = self.gone.iter().map(leaving).min();
            match (next, leave) {
                (_, Some(leave_ns))
                    if leave_ns <= end_ns && next.is_none_or(|next_ns| leave_ns <= next_ns) =>
                {
                    self.set_now(leave_ns);
                    let at = self.gone.iter().position(|gone| leaving(gone) == leave_ns).unwrap();
                    let (group, stopped_ns) = self.gone.remove(at);
                    group.end_all(&self.manager.shared, stopped_ns);
                }
                (Some(next_ns), _) if next_ns <= end_ns => {
                    self.set_now(next_ns.max(self.clock.now_ns()));
                    for group in &self.running {
                        group.tick(&self.manager.shared);
                    }
                }
                _ => break,
            }
        }
        self.set_now(end_ns);
    }

    /// Lets `seconds` pass while `series` has `value`, a sample each 15 s.
    fn pass_with(&mut self, seconds: i64, series: &str, value: f64) {
        for _ in 0..seconds / 15 {
            self.push(series, value);
            self.pass(15);
        }
    }

    /// A sample of now.
    fn push(&self, series: &str, value: f64) {
        self.push_at(series, self.clock.now_ns() / 1_000_000, value);
    }

    fn push_at(&self, series: &str, t_ms: i64, value: f64) {
        let labels = labels(series);
        let mut row = self.database.appender(GroupKey::Embedded(String::new())).unwrap();
        let id = row.series(&labels).unwrap();
        row.append(id, t_ms, value);
        let outcome = row.commit().unwrap();
        assert!(outcome.rejected.is_empty(), "{series}: {:?}", outcome.rejected);
    }

    /// Samples of all series with this name: labels without it, and the values; a staleness marker
    /// is `None`.
    fn read(&self, name: &str) -> Vec<(String, Values)> {
        let matchers = [Matcher::equal("__name__", name)];
        let all = TimeRange { min_ms: 0, max_ms: i64::MAX };
        let set = self.database.select(&matchers, all, &Cancellation::new()).unwrap();
        let mut samples = Samples::default();
        let mut found = Vec::new();
        for index in 0..set.len() {
            set.read(index, all, &mut samples).unwrap();
            let values = samples.timestamps.iter().zip(&samples.values);
            let values = values.map(|(t, v)| (*t, (!is_stale(*v)).then_some(*v))).collect();
            let labels = set.labels(index).without(|name| name == "__name__");
            found.push((labels.to_string(), values));
        }
        found
    }

    /// Values of the only series with this name.
    fn values(&self, name: &str) -> Vec<Option<f64>> {
        let found = self.read(name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0].1.iter().map(|(_, value)| *value).collect()
    }

    /// What was handed on since it was asked last: the alert's name, seconds since the start of
    /// all, and whether it has ended.
    fn sent(&self) -> Vec<(String, i64, bool)> {
        let now_ns = self.clock.now_ns();
        let sent = std::mem::take(&mut *self.sent.0.lock().unwrap());
        sent.into_iter()
            .map(|alert| {
                let name = alert.labels.get("alertname").unwrap().to_owned();
                let since_s = (alert.starts_at_ns - START).div_euclid(SECOND);
                (name, since_s, alert.ends_at_ns <= now_ns)
            })
            .collect()
    }
}

/// `name{a="b"}` as labels.
fn labels(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    Labels::from_pairs(pairs.chain([("__name__".to_owned(), name.to_owned())]))
}
