//! Tests of what sources are asked for, and of their answers.

use super::*;
use crate::config;
use crate::model::Samples;
use crate::prometheus::castagnoli::crc32c;
use crate::prometheus::chunk::encode_floats;
use crate::protowire::field::write_bytes;
use crate::protowire::remote_read::{write_chunk, write_labels, write_series};
use crate::remote::read_frames::merge;

fn source(options: &str) -> Source {
    let text = format!("remote_read: [{{url: 'http://127.0.0.1:1/r', {options}}}]");
    let config = config::parse(&text, "t.yml").unwrap().remote_read.remove(0);
    let client = Client::new(&config.http).unwrap();
    let url = Url::parse(config.url.reveal()).unwrap();
    let headers = headers(&config).unwrap();
    Source { config, client, url, headers }
}

#[test]
fn a_source_is_asked_for_what_the_own_storage_does_not_have() {
    let range = TimeRange { min_ms: 100, max_ms: 300 };
    let plain = source("");
    assert_eq!(plain.range(range, 200), Some(TimeRange { min_ms: 100, max_ms: 200 }));
    assert_eq!(plain.range(range, 99), None);
    assert_eq!(plain.range(range, 1000), Some(range));
    assert_eq!(source("read_recent: true").range(range, 0), Some(range));
    let strict = source("required_matchers: {job: a}");
    let job = |op, value: &str| [Matcher::new("job", op, value).unwrap()];
    assert!(strict.is_required(&job(MatchOp::Equal, "a")));
    assert!(!strict.is_required(&job(MatchOp::Regex, "a")));
    assert!(!strict.is_required(&job(MatchOp::Equal, "b")) && plain.is_required(&[]));
}

#[test]
fn external_labels_are_asked_for_unless_the_query_says_otherwise() {
    let external = Labels::from_pairs([("dc", "x"), ("replica", "1")]);
    let range = TimeRange { min_ms: 0, max_ms: 1 };
    let own = [Matcher::equal("dc", "y")];
    let (request, added) = request(&own, range, &external);
    assert_eq!(added, ["replica"]);
    assert_eq!(
        request.queries[0].matchers,
        [Matcher::equal("dc", "y"), Matcher::equal("replica", "1")]
    );
}

fn frame(labels: &Labels, timestamps: &[i64], damage: u8) -> Vec<u8> {
    let (mut series, mut message, mut data) = (Vec::new(), Vec::new(), Vec::new());
    let values: Vec<f64> = timestamps.iter().map(|t_ms| *t_ms as f64).collect();
    encode_floats(timestamps, &values, &mut data);
    write_labels(labels, &mut series);
    write_chunk(TimeRange::ALL, 1, &data, &mut series);
    write_bytes(1, &series, &mut message);
    let mut out = vec![message.len() as u8];
    out.extend_from_slice(&crc32c(&message).to_be_bytes());
    out[1] ^= damage;
    out.extend_from_slice(&message);
    out
}

#[test]
fn both_forms_of_answers_are_read_and_damage_is_an_error() {
    let labels = Labels::from_pairs([("__name__", "m")]);
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    let body = [frame(&labels, &[1, 2], 0), frame(&labels, &[2, 3], 0)].concat();
    let found = read_answer(kind, &body, 1000).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].samples.timestamps, [1, 2, 3]);
    assert!(read_answer(kind, &body, 5).unwrap_err().to_string().contains("chunked_read_limit"));
    assert!(read_answer(kind, &frame(&labels, &[1], 1), 1000).is_err());
    assert!(read_answer(kind, &body[..body.len() - 1], 1000).is_err());
    assert!(read_answer("text/html", b"", 1000).is_err());

    let mut samples = Samples::default();
    for (t_ms, value) in [(5, 1.0), (6, 2.0)] {
        samples.push(t_ms, value);
    }
    let (mut result, mut message) = (Vec::new(), Vec::new());
    write_series(&labels, &samples, &mut result);
    write_bytes(1, &result, &mut message);
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let found = read_answer("application/x-protobuf", &body, 1000).unwrap();
    assert_eq!((&found[0].labels, &found[0].samples), (&labels, &samples));
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(read_answer("application/x-protobuf", &bomb, 1000).is_err());
}

#[test]
fn of_two_samples_at_one_time_the_first_stands() {
    let samples = |points: &[(i64, f64)]| {
        let mut samples = Samples::default();
        for (t_ms, value) in points {
            samples.push(*t_ms, *value);
        }
        samples
    };
    let mut own = samples(&[(1, 1.0), (3, 1.0)]);
    merge(&mut own, &samples(&[(1, 2.0), (2, 2.0), (4, 2.0)]));
    assert_eq!(own, samples(&[(1, 1.0), (2, 2.0), (3, 1.0), (4, 2.0)]));
}
