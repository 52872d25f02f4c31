//! Requests as senders make them, and as they should not.

use std::sync::Arc;

use super::{KnownSeries, WriteReply, WriteRequest, receive};
use crate::db::{Database, Options};
use crate::disk::{Clock, Disk, SimulatedClock, SimulatedDisk};
use crate::model::{Histogram, Matcher, ResetHint, Samples, Span, TimeRange};
use crate::protowire::field::{write_bytes, write_double, write_int64};
use crate::select::{Cancellation, Queryable};

const T: i64 = 1_700_000_000_000;

fn database() -> Database {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(T));
    let options = Options { background: false, out_of_order_window_ms: 0, ..Options::default() };
    Database::open_with(disk, clock, "/data", options).unwrap()
}

fn series(labels: &[(&[u8], &[u8])], samples: &[(f64, i64)], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    for (name, value) in labels {
        let mut pair = Vec::new();
        write_bytes(1, name, &mut pair);
        write_bytes(2, value, &mut pair);
        write_bytes(1, &pair, &mut message);
    }
    for &(value, t_ms) in samples {
        let mut sample = Vec::new();
        write_double(1, value, &mut sample);
        write_int64(2, t_ms, &mut sample);
        write_bytes(2, &sample, &mut message);
    }
    write_bytes(1, &message, out);
}

fn push(database: &Database, message: &[u8]) -> WriteReply {
    let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
    let request = WriteRequest { content_type: None, content_encoding: None, body: &body };
    receive(database, &KnownSeries::default(), request)
}

fn stored(database: &Database) -> Vec<String> {
    let range = TimeRange { min_ms: i64::MIN, max_ms: i64::MAX };
    let set = database.select(&[] as &[Matcher], range, &Cancellation::new()).unwrap();
    let mut samples = Samples::default();
    let read = |index| {
        set.read(index, range, &mut samples).unwrap();
        let points: Vec<_> = samples.timestamps.iter().zip(&samples.values).collect();
        format!("{} {points:?}", set.labels(index))
    };
    (0..set.len()).map(read).collect()
}

#[test]
fn series_of_several_sources_come_to_their_own_in_any_order() {
    let database = database();
    let mut message = Vec::new();
    let (a, b): (&[u8], &[u8]) = (b"a", b"b");
    series(&[(b"__name__", b"up"), (b"job", a)], &[(1.0, T), (2.0, T + 1)], &mut message);
    series(&[(b"__name__", b"up"), (b"job", b)], &[(3.0, T)], &mut message);
    // Labels out of order, one of them empty; the source of the first series again.
    series(&[(b"x", b""), (b"job", a), (b"__name__", b"down")], &[(4.0, T)], &mut message);
    series(&[(b"__name__", b"up"), (b"job", a)], &[(5.0, T + 2)], &mut message);
    series(&["λ".as_bytes(), b"__name__"].map(|n| (n, "ö".as_bytes())), &[(6.0, T)], &mut message);
    let reply = push(&database, &message);
    assert_eq!((reply.status, reply.stats.samples_written), (204, 6), "{}", reply.text);
    let expected = [
        format!(r#"{{__name__="down", job="a"}} [({T}, 4.0)]"#),
        format!(r#"{{__name__="up", job="a"}} [({T}, 1.0), ({}, 2.0), ({}, 5.0)]"#, T + 1, T + 2),
        format!(r#"{{__name__="up", job="b"}} [({T}, 3.0)]"#),
        format!(r#"{{__name__="ö", "λ"="ö"}} [({T}, 6.0)]"#),
    ];
    assert_eq!(stored(&database), expected);
    let mut again = Vec::new();
    series(&[(b"__name__", b"up"), (b"job", a)], &[(5.0, T + 2)], &mut again);
    assert_eq!(push(&database, &again).status, 204, "the newest sample, sent again");
}

#[test]
fn labels_that_are_none_are_named_and_the_rest_is_stored() {
    let name: (&[u8], &[u8]) = (b"__name__", b"m");
    let long = vec![b'n'; 5000];
    #[expect(clippy::type_complexity, reason = "a table of labels and what is said of them")]
    let cases: [(&[(&[u8], &[u8])], &str); 8] = [
        (&[name, (b"a", b"1\xff")], "a label value is not UTF-8 from byte 1 on: series"),
        (&[name, (b"\xce", b"\xb1")], "a label name is not UTF-8 from byte 0 on: series"),
        (&[name, (b"", b"x")], "a label name is empty: series"),
        (&[name, (&long, b"x")], "a label name of 5000 bytes, more than the limit of 4096: series"),
        (&[(b"a", b"1")], "the metric name is missing: series"),
        (&[(b"__name__", b"")], "the metric name is missing: series"),
        (&[name, (b"a", b"1"), (b"a", b"2")], "label \"a\" stands twice: series"),
        (&[(b"a", b"1"), name, (b"a", b"1")], "label \"a\" stands twice: series"),
    ];
    for (labels, fault) in cases {
        let database = database();
        let mut message = Vec::new();
        series(labels, &[(1.0, T)], &mut message);
        series(&[(b"__name__", b"good")], &[(2.0, T)], &mut message);
        let reply = push(&database, &message);
        assert_eq!(reply.status, 400);
        assert!(reply.text.contains(fault), "{} has no {fault:?}", reply.text);
        let stats = reply.stats;
        let counts = (stats.samples_written, stats.samples_refused, stats.series_invalid);
        assert_eq!(counts, (1, 1, 1));
        assert_eq!(stored(&database), [format!(r#"{{__name__="good"}} [({T}, 2.0)]"#)]);
    }
}

#[test]
fn refused_samples_are_counted_and_the_first_is_named() {
    let database = database();
    let mut message = Vec::new();
    let samples = [(1.0, T), (2.0, T), (3.0, T - 1), (4.0, T + 1)];
    series(&[(b"__name__", b"m")], &samples, &mut message);
    let reply = push(&database, &message);
    assert_eq!(reply.status, 400);
    let stats = reply.stats;
    assert_eq!((stats.samples_written, stats.samples_refused), (2, 2));
    let first = format!("duplicate sample for timestamp: series {{__name__=\"m\"}}, time {T} ms");
    assert!(reply.text.contains(&first), "{}", reply.text);
    // Half a message stores nothing.
    let reply = push(&database, &message[..message.len() - 3]);
    assert_eq!((reply.status, reply.stats.samples_written), (400, 0));
}

#[test]
fn known_series_are_told_apart_and_followed() {
    let database = database();
    let known = KnownSeries::default();
    let push = |message: &[u8]| {
        let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
        let request = WriteRequest { content_type: None, content_encoding: None, body: &body };
        receive(&database, &known, request)
    };
    let request = |t_ms: i64| {
        let mut message = Vec::new();
        for (i, instance) in (0_u8..).zip([b"a", b"b", b"a", b"c"]) {
            let name = format!("m{i}");
            let labels: [(&[u8], &[u8]); 3] =
                [(b"__name__", name.as_bytes()), (b"instance", instance), (b"job", b"j")];
            series(&labels, &[(f64::from(i), t_ms), (0.5, t_ms + 1)], &mut message);
        }
        message
    };
    for round in 0..3 {
        let reply = push(&request(T + round * 1000));
        assert_eq!((reply.status, reply.stats.samples_written), (204, 8), "{}", reply.text);
    }
    let found = stored(&database);
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|line| line.matches("(1700000").count() == 6), "{found:?}");

    // The same labels in front, and one more behind the samples: another series.
    let mut message = Vec::new();
    series(&[(b"__name__", b"m0"), (b"instance", b"a"), (b"job", b"j")], &[], &mut message);
    let mut longer = Vec::new();
    let mut pair = Vec::new();
    write_bytes(1, b"z", &mut pair);
    write_bytes(2, b"1", &mut pair);
    let inner = &message[2..];
    longer.extend_from_slice(inner);
    let mut sample = Vec::new();
    write_double(1, 7.0, &mut sample);
    write_int64(2, T + 9000, &mut sample);
    write_bytes(2, &sample, &mut longer);
    write_bytes(1, &pair, &mut longer);
    message.clear();
    write_bytes(1, &longer, &mut message);
    assert_eq!(push(&message).status, 204);
    let found = stored(&database);
    assert!(found.iter().any(|line| line.contains("z=\"1\"")), "{found:?}");

    // What is refused names the series, known or not.
    let reply = push(&request(T));
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("m0"), "{}", reply.text);
}

#[test]
fn histograms_come_back_as_they_were_sent() {
    let database = database();
    let histogram = |count: i64, t_ms: i64| {
        let mut message = Vec::new();
        write_int64(1, count, &mut message);
        write_double(3, 2.5, &mut message);
        write_int64(6, 2, &mut message);
        // One span of two buckets from bucket 3; counts 4 and 5.
        write_bytes(11, &[8, 6, 16, 2], &mut message);
        write_bytes(12, &[8, 2], &mut message);
        write_int64(14, 1, &mut message);
        write_int64(15, t_ms, &mut message);
        write_int64(17, T - 5, &mut message);
        message
    };
    let send = |histograms: &[Vec<u8>]| {
        let mut series = Vec::new();
        write_bytes(
            1,
            &[0x0a, 8, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 0x12, 1, b'h'],
            &mut series,
        );
        for histogram in histograms {
            write_bytes(4, histogram, &mut series);
        }
        let mut message = Vec::new();
        write_bytes(1, &series, &mut message);
        push(&database, &message)
    };
    let reply = send(&[histogram(11, T), histogram(12, T + 1), histogram(11, T + 2)]);
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("but the Count field is 12: histogram's"), "{}", reply.text);
    let counts = (reply.stats.histograms_written, reply.stats.histograms_refused);
    assert_eq!((counts, reply.stats.samples_written), ((2, 1), 0));
    assert_eq!(send(&[histogram(11, T + 2)]).status, 204, "the newest one, sent again");

    let set = database.select(&[], TimeRange::ALL, &Cancellation::new()).unwrap();
    let mut samples = Samples::default();
    set.read(0, TimeRange::ALL, &mut samples).unwrap();
    assert_eq!(
        (samples.timestamps.clone(), samples.values.clone()),
        (vec![T, T + 2], vec![2.5; 2])
    );
    assert_eq!(samples.starts_ms, [T - 5; 2]);
    let Histogram::Integer(found) = &**samples.histogram(1).unwrap() else {
        panic!("it counts in integers")
    };
    assert_eq!((found.count, found.zero_count, found.reset_hint), (11, 2, ResetHint::Reset));
    assert_eq!(found.positive_spans, [Span { offset: 3, length: 2 }]);
    assert_eq!(found.positive_deltas, [4, 1]);
}

#[test]
fn exemplars_and_metadata_are_kept() {
    let database = database();
    database.set_exemplars_max(10);
    let exemplar = |trace: &[u8], t_ms: i64| {
        let (mut pair, mut message) = (Vec::new(), Vec::new());
        write_bytes(1, b"trace_id", &mut pair);
        write_bytes(2, trace, &mut pair);
        write_bytes(1, &pair, &mut message);
        write_double(2, 0.5, &mut message);
        write_int64(3, t_ms, &mut message);
        message
    };
    let with_exemplars = |exemplars: &[Vec<u8>]| {
        let mut inner = Vec::new();
        write_bytes(1, &[&[0x0a, 8][..], b"__name__", &[0x12, 7], b"m_total"].concat(), &mut inner);
        let mut sample = Vec::new();
        write_double(1, 1.0, &mut sample);
        write_int64(2, T, &mut sample);
        write_bytes(2, &sample, &mut inner);
        for exemplar in exemplars {
            write_bytes(3, exemplar, &mut inner);
        }
        let mut request = Vec::new();
        write_bytes(1, &inner, &mut request);
        let mut metadata = Vec::new();
        write_int64(1, 1, &mut metadata);
        write_bytes(2, b"m", &mut metadata);
        write_bytes(4, b"Help.", &mut metadata);
        write_bytes(3, &metadata, &mut request);
        request
    };
    let reply = push(&database, &with_exemplars(&[exemplar(b"a", T), exemplar(b"b", T - 5)]));
    assert_eq!((reply.status, reply.text), (204, String::new()), "late ones are no error here");
    assert_eq!((reply.stats.exemplars_written, reply.stats.exemplars_dropped), (1, 1));
    let all = Matcher::new("__name__", crate::model::MatchOp::NotEqual, "").unwrap();
    let found = database.exemplars(&[vec![all]], TimeRange::ALL, &Cancellation::new()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].series.get("__name__"), Some("m_total"));
    assert_eq!((found[0].exemplars[0].t_ms, found[0].exemplars[0].value), (T, 0.5));
    let metadata = database.metadata();
    assert_eq!((metadata.len(), metadata[0].0.as_str()), (1, "m"));
    assert_eq!(metadata[0].1.help, "Help.");
}
