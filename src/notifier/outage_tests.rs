//! An Alertmanager that is away for an hour, on a simulated clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::model::Labels;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;

/// The time, and those who sleep, each with when to wake it.
type Standing = (i64, Vec<(i64, oneshot::Sender<()>)>);

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
struct StillClock {
    state: Mutex<Standing>,
}

impl Clock for StillClock {
    fn now_ms(&self) -> i64 {
        self.state.lock().unwrap().0
    }

    fn sleep(&self, duration: Duration) -> Sleeping {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state.lock().unwrap();
        let at_ms = state.0 + i64::try_from(duration.as_millis()).unwrap();
        state.1.push((at_ms, wake));
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

impl StillClock {
    async fn move_to(&self, t_ms: i64) {
        let due = {
            let mut state = self.state.lock().unwrap();
            state.0 = t_ms;
            let all = std::mem::take(&mut state.1);
            let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= t_ms);
            state.1 = later;
            due
        };
        for (_, wake) in due {
            let _ = wake.send(());
        }
        // The tasks of a runtime of one thread come to rest.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

/// What an Alertmanager was told of one alert, and when.
type Heard = BTreeMap<String, Vec<(i64, i64)>>;

/// Alertmanagers that hear what they are told while they are there.
#[derive(Debug)]
struct Fake {
    clock: Arc<StillClock>,
    is_away: AtomicBool,
    /// By URL.
    heard: Mutex<BTreeMap<String, Heard>>,
}

impl Transport for Fake {
    fn post<'a>(&'a self, url: &'a str, body: String) -> Posting<'a> {
        Box::pin(async move {
            if url.contains("hangs") {
                std::future::pending::<()>().await;
            }
            if url.contains("away") && self.is_away.load(Ordering::Relaxed) {
                return Err(PostError { message: "connection refused".into(), is_final: false });
            }
            let posted: serde_json::Value = serde_json::from_str(&body).unwrap();
            let mut heard = self.heard.lock().unwrap();
            let heard = heard.entry(url.to_owned()).or_default();
            for alert in posted.as_array().unwrap() {
                let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
                let ends_at: jiff::Timestamp = alert["endsAt"].as_str().unwrap().parse().unwrap();
                let word = (self.clock.now_ms(), ends_at.as_millisecond());
                heard.entry(name).or_default().push(word);
            }
            Ok(())
        })
    }
}

struct World {
    clock: Arc<StillClock>,
    fake: Arc<Fake>,
    notifier: Notifier,
}

fn world() -> World {
    let clock = Arc::new(StillClock::default());
    let fake = Arc::new(Fake {
        clock: Arc::clone(&clock),
        is_away: AtomicBool::new(false),
        heard: Mutex::default(),
    });
    let transport = Arc::clone(&fake);
    let connect: Connect = Arc::new(move |_| Ok(Arc::clone(&transport) as Arc<dyn Transport>));
    let notifier =
        Notifier::with_parts(Options::default(), Arc::<StillClock>::clone(&clock), connect);
    let text = "alerting: {alertmanagers: [{static_configs: [{targets: [away, stays, hangs]}]}]}";
    let config = crate::config::parse(text, "x.yml").unwrap();
    let prepared = notifier.prepare(&config.alerting, &Labels::empty()).unwrap();
    let discovery = crate::discovery::Discovery::named("notify");
    discovery.seek(&prepared.sought());
    let found = Arc::clone(&discovery.subscribe().borrow());
    notifier.apply(prepared, &found);
    World { clock, fake, notifier }
}

fn url_of(host: &str) -> String {
    format!("http://{host}/api/v2/alerts")
}

fn alert(number: i64, ends_at_ms: i64) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", format!("a{number}"))]),
        annotations: Labels::from_pairs([("summary", "x".repeat(100))]),
        starts_at_ms: 0,
        ends_at_ms: Some(ends_at_ms),
        generator_url: "http://h/graph".to_owned(),
    }
}

fn metric(notifier: &Notifier, name: &str, host: &str) -> f64 {
    let families = notifier.families();
    let family = families.iter().find(|family| family.name == name).unwrap();
    let url = url_of(host);
    let line = family.samples.iter().find(|line| line.labels.iter().any(|(_, v)| *v == url));
    line.map_or(0.0, |line| line.value)
}

const ALERTS: i64 = 300;
const OUTAGE_MS: i64 = 60 * MINUTE_MS;

/// When the rules saw the alert end: a third fires throughout, the others end one after another.
fn ended_ms(number: i64) -> Option<i64> {
    (number % 3 != 0).then(|| number * OUTAGE_MS / ALERTS)
}

#[tokio::test]
async fn an_hour_away_loses_nothing_that_has_not_expired() {
    let World { clock, fake, notifier } = world();
    fake.is_away.store(true, Ordering::Relaxed);
    let mut told_resolved = BTreeSet::new();
    for t_ms in (0..OUTAGE_MS).step_by(usize::try_from(5 * SECOND_MS).unwrap()) {
        clock.move_to(t_ms).await;
        let mut alerts = Vec::new();
        for number in 0..ALERTS {
            match ended_ms(number) {
                // Said once only, which is less than rules do.
                Some(ended_ms) if ended_ms <= t_ms && told_resolved.insert(number) => {
                    alerts.push(alert(number, t_ms));
                }
                Some(ended_ms) if ended_ms <= t_ms => {}
                _ if t_ms % MINUTE_MS == 0 => alerts.push(alert(number, t_ms + 4 * MINUTE_MS)),
                _ => {}
            }
        }
        notifier.send(alerts);
        let waiting = metric(&notifier, "prometheus_notifications_queue_length", "away");
        assert!(waiting <= ALERTS as f64, "{waiting} wait for {ALERTS} alerts");
    }
    let back_ms = OUTAGE_MS + 30 * SECOND_MS;
    clock.move_to(back_ms).await;
    fake.is_away.store(false, Ordering::Relaxed);
    for t_ms in (back_ms..back_ms + 20 * SECOND_MS).step_by(500) {
        clock.move_to(t_ms).await;
    }

    let all = fake.heard.lock().unwrap();
    let (heard, stays) = (&all[&url_of("away")], &all[&url_of("stays")]);
    let mut expired = 0;
    for number in 0..ALERTS {
        let name = format!("a{number}");
        let word = heard.get(&name).and_then(|words| words.first());
        match ended_ms(number) {
            // What ended long ago was given up, and nothing else.
            Some(ended_ms) if ended_ms + 15 * MINUTE_MS < back_ms - 20 * SECOND_MS => {
                assert_eq!(word, None, "{name} ended at {ended_ms}");
                expired += 1;
            }
            Some(ended_ms) if ended_ms + 15 * MINUTE_MS > back_ms + 20 * SECOND_MS => {
                let (at_ms, ends_at_ms) = *word.expect(&name);
                assert!(at_ms <= back_ms + 15 * SECOND_MS, "{name} came at {at_ms}");
                assert!(ends_at_ms <= ended_ms + 5 * SECOND_MS, "{name} is told as resolved");
            }
            // At the border either is right.
            Some(_) => expired += u32::from(word.is_none()),
            None => {
                let (at_ms, ends_at_ms) = *word.expect(&name);
                assert!(at_ms <= back_ms + 15 * SECOND_MS, "{name} came at {at_ms}");
                assert!(ends_at_ms > at_ms, "{name} fires");
            }
        }
        // The other one heard everything when it was said.
        let firings = stays[&name].iter().filter(|(at_ms, ends_at_ms)| ends_at_ms > at_ms);
        let fired_ms = ended_ms(number).unwrap_or(OUTAGE_MS);
        let expected = (fired_ms + MINUTE_MS - 1) / MINUTE_MS;
        assert_eq!(firings.count() as i64, expected, "{name}");
    }
    assert!(expired > 100, "the hour is longer than a resolved alert is kept");
    let dropped = metric(&notifier, "prometheus_notifications_dropped_total", "away");
    assert_eq!(dropped, f64::from(expired));
    assert_eq!(metric(&notifier, "prometheus_notifications_dropped_total", "stays"), 0.0);
    assert!(metric(&notifier, "prometheus_notifications_errors_total", "away") > 0.0);
}

#[tokio::test]
async fn one_that_hangs_delays_no_other_and_its_queue_is_bounded() {
    let World { clock, fake, notifier } = world();
    for round in 0..50 {
        clock.move_to(round * SECOND_MS).await;
        let first = round * 500;
        notifier.send((first..first + 500).map(|n| alert(n, OUTAGE_MS)).collect());
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(fake.heard.lock().unwrap()[&url_of("stays")].len(), 25_000);
    assert_eq!(metric(&notifier, "prometheus_notifications_queue_length", "hangs"), 10_000.0);
    // One batch is under way.
    let dropped = metric(&notifier, "prometheus_notifications_dropped_total", "hangs");
    assert_eq!(dropped, 25_000.0 - 10_000.0 - 256.0);
}
