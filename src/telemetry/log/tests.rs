//! Lines as Go's `slog` handlers write them.

use std::sync::Arc;

use super::*;

/// A place to write to that can be read.
#[derive(Debug, Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` logs, line by line, each from its `level` on: time and source differ by run.
fn lines(level: LogLevel, format: LogFormat, work: impl FnOnce()) -> Vec<String> {
    let page = Page::default();
    let subscriber = tracing_subscriber::registry().with(Lines::new(level, format, page.clone()));
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn logfmt(value: &str) -> String {
    let mut out = String::new();
    push_logfmt(&mut out, value);
    out
}

#[test]
fn logfmt_lines_begin_with_time_level_source_and_message() {
    let logged = lines(LogLevel::Info, LogFormat::Logfmt, || {
        let error = "no \"such\" file";
        tracing::info!(filename = "p.yml", count = 3, ok = true, ratio = 1.5e7, "Two words");
        tracing::warn!(%error, wait = ?std::time::Duration::from_millis(1500), "Word");
    });
    assert_eq!(logged.len(), 2);
    let (time, rest) = logged[0].split_once(" level=").unwrap();
    let time = time.strip_prefix("time=").unwrap();
    assert_eq!(time.len(), "2026-11-23T06:16:32.325Z".len(), "{time}");
    assert!(time.parse::<Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
    let (source, rest) =
        rest.strip_prefix("INFO source=tests.rs:").unwrap().split_once(' ').unwrap();
    assert!(source.parse::<u32>().is_ok(), "{source}");
    assert_eq!(rest, "msg=\"Two words\" filename=p.yml count=3 ok=true ratio=1.5e+07");
    let rest = logged[1].split_once(" msg=").unwrap().1;
    assert_eq!(rest, r#"Word err="no \"such\" file" wait=1.5s"#);
}

#[test]
fn json_lines_are_objects() {
    let logged = lines(LogLevel::Info, LogFormat::Json, || {
        tracing::error!(
            path = "a\"b\n",
            count = 3_u64,
            ok = false,
            ratio = 0.5,
            none = f64::NAN,
            "Two \\ words"
        );
    });
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&logged[0]).unwrap();
    assert!(object["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
    assert!(object["source"].as_str().unwrap().starts_with("tests.rs:"));
    assert_eq!(object["level"], "ERROR");
    assert_eq!(object["msg"], "Two \\ words");
    assert_eq!(object["path"], "a\"b\n");
    assert_eq!(object["count"], 3);
    assert_eq!(object["ok"], false);
    assert_eq!(object["ratio"], 0.5);
    assert_eq!(object["none"], "NaN");
    assert!(logged[0].starts_with("{\"time\":\""), "{}", logged[0]);
    let order = ["\"level\":", "\"source\":", "\"msg\":", "\"path\":", "\"count\":"];
    let at: Vec<_> = order.iter().map(|key| logged[0].find(key).unwrap()).collect();
    assert!(at.is_sorted(), "{}", logged[0]);
}

/// Which values Go's text handler puts in quotes, and how.
#[test]
fn values_are_quoted_as_slog_quotes_them() {
    let table = [
        ("", "\"\""),
        ("plain", "plain"),
        ("a/b:9090,{x}'~!", "a/b:9090,{x}'~!"),
        ("two words", "\"two words\""),
        ("a=b", "\"a=b\""),
        ("a\"b", r#""a\"b""#),
        (r"C:\x", r"C:\x"),
        (r"C:\x y", r#""C:\\x y""#),
        ("a\nb", r#""a\nb""#),
        ("\u{1b}[31m", r#""\x1b[31m""#),
        ("1.5µs", "1.5µs"),
        ("é花😀", "é花😀"),
        ("a\u{a0}b", r#""a\u00a0b""#),
        ("a\u{3000}b", r#""a\u3000b""#),
        ("\u{200b}", r#""\u200b""#),
        ("\u{fffd}", "\"\u{fffd}\""),
    ];
    for (text, written) in table {
        assert_eq!(logfmt(text), written, "{text:?}");
    }
}

#[test]
fn what_lies_below_the_level_is_not_written() {
    let all = || {
        tracing::debug!("d");
        tracing::info!("i");
        tracing::warn!("w");
        tracing::error!("e");
    };
    let of = |level| lines(level, LogFormat::Logfmt, all).len();
    assert_eq!(of(LogLevel::Debug), 4);
    assert_eq!(of(LogLevel::Info), 3);
    assert_eq!(of(LogLevel::Warn), 2);
    assert_eq!(of(LogLevel::Error), 1);
}

#[test]
fn other_crates_are_heard_from_warnings_on() {
    let work = || {
        tracing::info!(target: "hyper::proto", "i");
        tracing::warn!(target: "hyper::proto", "w");
        tracing::info!(target: "narthexlike", "i");
        tracing::debug!(target: "narthex::scrape", "own");
    };
    let logged = lines(LogLevel::Debug, LogFormat::Logfmt, work);
    let messages: Vec<_> = logged.iter().map(|line| line.split_once("msg=").unwrap().1).collect();
    assert_eq!(messages, ["w", "own"]);
}

#[test]
fn levels_and_formats_are_read_and_refused_by_name() {
    assert_eq!("WARN".parse(), Ok(LogLevel::Warn));
    assert_eq!("debug".parse(), Ok(LogLevel::Debug));
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    assert_eq!("logfmt".parse(), Ok(LogFormat::Logfmt));
    let error = "loud".parse::<LogLevel>().unwrap_err();
    assert_eq!(error.to_string(), "log level \"loud\" is none of debug, info, warn, error");
    let error = "xml".parse::<LogFormat>().unwrap_err();
    assert_eq!(error.to_string(), "log format \"xml\" is none of logfmt, json");
}
