//! A small service that keeps its own metrics: appends rows, asks PromQL, deletes, takes a
//! snapshot.
//!
//! `cargo run --no-default-features --example embedded [DIRECTORY]`

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use narthex::{
    Database, Event, GroupKey, Labels, Matcher, Observer, Options, QueryRange, TimeRange, Value,
};

/// Prints what an operator may want to know.
#[derive(Debug)]
struct Printed;

impl Observer for Printed {
    fn event(&self, event: &Event<'_>) {
        println!("event: {event}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map_or(temporary.path().to_owned(), Into::into);
    let options = Options { observer: std::sync::Arc::new(Printed), ..Options::default() };
    let db = Database::open(&path, options)?;

    // Half an hour of two queues, a row every 15 seconds.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let end_ms = i64::try_from(now.as_millis())? / 15_000 * 15_000;
    let start_ms = end_ms - 30 * 60_000;
    let source = GroupKey::Embedded("queues".to_owned());
    for (step, t_ms) in (start_ms..=end_ms).step_by(15_000).enumerate() {
        let mut row = db.appender(&source)?;
        for (queue, speed) in [("mail", 3.0), ("reports", 0.5)] {
            let labels = Labels::from_pairs([("__name__", "jobs_done_total"), ("queue", queue)]);
            let series = row.series(&labels)?;
            row.append(series, t_ms, (step as f64 * speed).floor());
        }
        for (call, why) in row.commit()?.rejected {
            println!("sample {call} at {t_ms} was refused: {why}");
        }
    }

    let answer = db.query("sum by (queue) (rate(jobs_done_total[5m])) * 60", end_ms)?;
    let Value::Vector(found) = answer.value else { unreachable!("BUG: a sum is a vector") };
    for sample in found {
        println!("{}: {:.2} jobs a minute", sample.labels, sample.value);
    }
    let range = QueryRange { start_ms, end_ms, step_ms: 10 * 60_000 };
    let answer = db.query_range("sum(jobs_done_total)", range)?;
    let Value::Matrix(found) = answer.value else { unreachable!("BUG: a range gives a matrix") };
    println!("{found:?}");

    let older = TimeRange { min_ms: i64::MIN, max_ms: end_ms - 10 * 60_000 };
    db.delete(&[Matcher::equal("queue", "reports")], older)?;
    println!("snapshot: {}", db.snapshot(true)?.display());
    let stats = db.stats();
    println!("{} series, {} samples", stats.head_series, stats.samples_appended);
    db.close()?;
    Ok(())
}
