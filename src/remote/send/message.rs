//! Requests of both versions, as protobuf; `protowire` reads what is written here.
//!
//! A series stands in a request once for each of its runs (`entry.rs`).

use hashbrown::HashMap;

use super::entry::{Datum, Entry, Run, runs};
use crate::model::{Labels, Metadata};
use crate::protowire::field::{write_bytes, write_double, write_int64, write_varint};
use crate::protowire::histogram_write::write_histogram;

/// Looks up what is known of a metric, by the metric's or its family's name.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<Metadata>;

/// The bytes of a `prometheus.WriteRequest` with these entries; `gathers` as [`runs`] has it.
pub(super) fn version_1(entries: &[Entry], gathers: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 64);
    let (mut series, mut part) = (Vec::new(), Vec::new());
    for run in runs(entries, gathers) {
        series.clear();
        write_labels(run.labels, &mut series, &mut part);
        for entry in &run.data {
            part.clear();
            match &entry.datum {
                Datum::Float(value) => {
                    write_double(1, *value, &mut part);
                    write_int64(2, entry.t_ms, &mut part);
                    write_bytes(2, &part, &mut series);
                }
                Datum::Histogram(histogram) => {
                    write_histogram(histogram, entry.t_ms, 0, &mut part);
                    write_bytes(4, &part, &mut series);
                }
                Datum::Exemplar(_) => {}
            }
        }
        for entry in &run.exemplars {
            let Datum::Exemplar(exemplar) = &entry.datum else { continue };
            let mut message = Vec::new();
            write_labels(&exemplar.labels, &mut message, &mut part);
            write_double(2, exemplar.value, &mut message);
            write_int64(3, exemplar.t_ms, &mut message);
            write_bytes(3, &message, &mut series);
        }
        write_bytes(1, &series, &mut out);
    }
    out
}

fn write_labels(labels: &Labels, out: &mut Vec<u8>, part: &mut Vec<u8>) {
    for (name, value) in labels {
        part.clear();
        write_bytes(1, name.as_bytes(), part);
        write_bytes(2, value.as_bytes(), part);
        write_bytes(1, part, out);
    }
}

/// The bytes of a `prometheus.WriteRequest` that says what metrics are.
pub(super) fn metadata_version_1(metrics: &[(String, Metadata)]) -> Vec<u8> {
    let (mut out, mut part) = (Vec::new(), Vec::new());
    for (family, metadata) in metrics {
        part.clear();
        write_int64(1, i64::from(metadata.metric_type.number()), &mut part);
        write_bytes(2, family.as_bytes(), &mut part);
        write_bytes(4, metadata.help.as_bytes(), &mut part);
        write_bytes(5, metadata.unit.as_bytes(), &mut part);
        write_bytes(3, &part, &mut out);
    }
    out
}

/// Texts that a request of version 2 names by number.
#[derive(Debug)]
struct Symbols<'a> {
    numbers: HashMap<std::borrow::Cow<'a, str>, u64>,
    table: Vec<u8>,
}

impl<'a> Symbols<'a> {
    /// With the empty text, which has number 0.
    fn new() -> Self {
        let mut symbols = Self { numbers: HashMap::new(), table: Vec::new() };
        symbols.number("");
        symbols
    }

    fn number(&mut self, text: impl Into<std::borrow::Cow<'a, str>>) -> u64 {
        let text = text.into();
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = self.numbers.len() as u64;
        write_bytes(4, text.as_bytes(), &mut self.table);
        self.numbers.insert(text, number);
        number
    }

    /// Appends references to names and values, packed.
    fn write_references(&mut self, labels: &'a Labels, out: &mut Vec<u8>) {
        let mut packed = Vec::with_capacity(labels.len() * 4);
        for (name, value) in labels {
            let (name, value) = (self.number(name), self.number(value));
            write_varint(name, &mut packed);
            write_varint(value, &mut packed);
        }
        if !packed.is_empty() {
            write_bytes(1, &packed, out);
        }
    }
}

/// The bytes of an `io.prometheus.write.v2.Request`; `gathers` as [`runs`] has it.
pub(super) fn version_2(entries: &[Entry], gathers: bool, lookup: Lookup<'_>) -> Vec<u8> {
    let mut symbols = Symbols::new();
    let mut body = Vec::with_capacity(entries.len() * 48);
    let mut series = Vec::new();
    for run in runs(entries, gathers) {
        series.clear();
        write_series(&run, &mut symbols, lookup, &mut series);
        write_bytes(5, &series, &mut body);
    }
    let mut out = symbols.table;
    out.append(&mut body);
    out
}

fn write_series<'a>(
    run: &Run<'a>,
    symbols: &mut Symbols<'a>,
    lookup: Lookup<'_>,
    out: &mut Vec<u8>,
) {
    symbols.write_references(run.labels, out);
    let mut part = Vec::new();
    for entry in &run.data {
        part.clear();
        match &entry.datum {
            Datum::Float(value) => {
                write_double(1, *value, &mut part);
                write_int64(2, entry.t_ms, &mut part);
                if entry.start_ms != 0 {
                    write_int64(3, entry.start_ms, &mut part);
                }
                write_bytes(2, &part, out);
            }
            Datum::Histogram(histogram) => {
                write_histogram(histogram, entry.t_ms, entry.start_ms, &mut part);
                write_bytes(3, &part, out);
            }
            Datum::Exemplar(_) => {}
        }
    }
    for entry in &run.exemplars {
        let Datum::Exemplar(exemplar) = &entry.datum else { continue };
        part.clear();
        symbols.write_references(&exemplar.labels, &mut part);
        write_double(2, exemplar.value, &mut part);
        write_int64(3, exemplar.t_ms, &mut part);
        write_bytes(4, &part, out);
    }
    if let Some(metadata) = lookup(run.labels.metric_name()) {
        part.clear();
        write_int64(1, i64::from(metadata.metric_type.number()), &mut part);
        write_int64(3, symbols.number(metadata.help) as i64, &mut part);
        write_int64(4, symbols.number(metadata.unit) as i64, &mut part);
        write_bytes(5, &part, out);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::head::LogPoint;
    use crate::model::{Exemplar, FloatHistogram, Histogram, MetricType};
    use crate::protowire::{PushedMetadata, PushedSeries, remote_write_v1, remote_write_v2};

    fn entries() -> Vec<Entry> {
        let entry = |name: &str, t_ms, start_ms, datum| Entry {
            point: LogPoint::default(),
            labels: Labels::from_pairs([("__name__", name), ("l", "ü")]),
            t_ms,
            start_ms,
            logged_s: 0,
            datum,
        };
        let histogram = Histogram::Float(FloatHistogram { count: 2.0, ..Default::default() });
        let labels = Labels::from_pairs([("trace_id", "x")]);
        let exemplar = Exemplar { labels, value: 0.5, t_ms: 9, is_timed: true };
        vec![
            entry("a", 1, 0, Datum::Float(1.5)),
            entry("h", 1, 77, Datum::Histogram(Box::new(histogram))),
            entry("a", 2, 55, Datum::Float(-0.0)),
            entry("a", 0, 0, Datum::Exemplar(Box::new(exemplar))),
        ]
    }

    fn show(series: &PushedSeries<'_>) -> String {
        assert_eq!(series.fault, None);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let labels: Vec<_> = series.labels.iter().map(|(n, v)| text(n) + "=" + &text(v)).collect();
        let samples: Vec<_> =
            series.samples.iter().map(|s| (s.value, s.t_ms, s.start_ms)).collect();
        let histograms: Vec<_> =
            series.histograms.iter().map(|h| (h.t_ms, h.start_ms, h.histogram.sum())).collect();
        let exemplars: Vec<_> =
            series.exemplars.iter().map(|e| (text(e.labels[0].1), e.value, e.t_ms)).collect();
        let said = series.metadata.map(|m| (m.kind, text(m.help), text(m.unit)));
        format!("{} {samples:?} {histograms:?} {exemplars:?} {said:?}", labels.join(","))
    }

    /// Hands all series of a request of version 1 to a function.
    pub(in crate::remote::send) struct Each<F>(pub F);

    impl<'a, F: FnMut(&PushedSeries<'a>)> remote_write_v1::SeriesVisitor<'a> for Each<F> {
        fn knows(&mut self, _raw_labels: &'a [u8]) -> bool {
            false
        }

        fn visit(&mut self, series: &PushedSeries<'a>) {
            self.0(series);
        }

        fn describe(&mut self, _metadata: PushedMetadata<'a>) {}
    }

    #[test]
    fn version_1_comes_back() {
        let mut seen = Vec::new();
        let request = version_1(&entries(), true);
        let mut each = Each(|series: &PushedSeries<'_>| seen.push(show(series)));
        remote_write_v1::visit_series(&request, &mut each).unwrap();
        let a = r#"__name__=a,l=ü [(1.5, 1, 0), (-0.0, 2, 0)] [] [("x", 0.5, 9)] None"#;
        assert_eq!(seen, [a, "__name__=h,l=ü [] [(1, 0, 0.0)] [] None"]);
    }

    #[test]
    fn version_2_comes_back_with_what_is_said_of_metrics() {
        let lookup = |name: &str| {
            (name == "a").then(|| Metadata {
                metric_type: MetricType::Counter,
                unit: "s".to_owned(),
                help: "All.".to_owned(),
            })
        };
        let mut seen = Vec::new();
        let request = version_2(&entries(), true, &lookup);
        remote_write_v2::visit_series(&request, |series| seen.push(show(series))).unwrap();
        let a = r#"__name__=a,l=ü [(1.5, 1, 0), (-0.0, 2, 55)] [] [("x", 0.5, 9)] "#;
        let said = r#"Some((1, "All.", "s"))"#;
        let h = "__name__=h,l=ü [] [(1, 77, 0.0)] [] None".to_owned();
        assert_eq!(seen, [a.to_owned() + said, h]);
    }
}
