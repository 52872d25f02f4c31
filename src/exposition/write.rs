//! The text format, written: the page that `/metrics` serves, version 0.0.4.

use super::MetricType;
use crate::model::{FloatStyle, float_text};

/// One family with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Name of the family: letters, digits, `_` and `:`.
    pub name: String,
    /// Help text, unescaped.
    pub help: String,
    /// Type of the family.
    pub metric_type: MetricType,
    /// The samples; those of histograms and summaries with their suffixes and bounds.
    pub samples: Vec<SampleLine>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleLine {
    /// What follows the family's name: empty, `_bucket`, `_sum`, `_count`.
    pub suffix: &'static str,
    /// Labels in the order they are written; values unescaped.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// Writes the families in their order. Numbers are written as Go's writer of the format does.
pub fn write_families(families: &[Family], out: &mut String) {
    for family in families {
        out.push_str("# HELP ");
        out.push_str(&family.name);
        out.push(' ');
        escape(&family.help, false, out);
        out.push_str("\n# TYPE ");
        out.push_str(&family.name);
        out.push(' ');
        out.push_str(family.metric_type.as_text_format());
        out.push('\n');
        for sample in &family.samples {
            out.push_str(&family.name);
            out.push_str(sample.suffix);
            write_labels(&sample.labels, out);
            out.push(' ');
            out.push_str(&float_text(sample.value, FloatStyle::General));
            out.push('\n');
        }
    }
}

fn write_labels(labels: &[(String, String)], out: &mut String) {
    for (at, (name, value)) in labels.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        escape(value, true, out);
        out.push('"');
    }
    if !labels.is_empty() {
        out.push('}');
    }
}

fn escape(text: &str, with_quotes: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if with_quotes => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Entry, TextParser};
    use proptest::prelude::*;

    #[test]
    fn writes_what_prometheus_writes() {
        let family = Family {
            name: "x_seconds".to_owned(),
            help: "A \"time\"\nwith \\ in it.".to_owned(),
            metric_type: MetricType::Histogram,
            samples: vec![
                SampleLine {
                    suffix: "_bucket",
                    labels: vec![("le".to_owned(), "+Inf".to_owned())],
                    value: 1e6,
                },
                SampleLine { suffix: "_sum", labels: Vec::new(), value: f64::NAN },
            ],
        };
        let mut out = String::new();
        write_families(&[family], &mut out);
        assert_eq!(
            out,
            "# HELP x_seconds A \"time\"\\nwith \\\\ in it.\n# TYPE x_seconds histogram\n\
             x_seconds_bucket{le=\"+Inf\"} 1e+06\nx_seconds_sum NaN\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(help in ".*", label in ".+", value in any::<f64>()) {
            // The format cannot tell a help text of blanks (and NULs) from none.
            prop_assume!(help.is_empty() || help.contains(|c| !matches!(c, ' ' | '\t' | '\0')));
            let family = Family {
                name: "a:b_1".to_owned(),
                help: help.clone(),
                metric_type: MetricType::Gauge,
                samples: vec![SampleLine {
                    suffix: "",
                    labels: vec![("l".to_owned(), label.clone())],
                    value,
                }],
            };
            let mut out = String::new();
            write_families(&[family], &mut out);
            let mut parser = TextParser::new(out.as_bytes());
            let Some(Entry::Help { text, .. }) = parser.next_entry().unwrap() else {
                panic!("no help in {out:?}");
            };
            prop_assert_eq!(&*text, &help);
            let entry = parser.next_entry().unwrap();
            let is_gauge =
                matches!(entry, Some(Entry::Type { metric_type: MetricType::Gauge, .. }));
            prop_assert!(is_gauge);
            let Some(Entry::Series { value: read, .. }) = parser.next_entry().unwrap() else {
                panic!("no sample in {out:?}");
            };
            prop_assert!(read == value || read.is_nan() && value.is_nan());
            let labels = parser.labels_builder().unwrap();
            prop_assert_eq!(labels.get("l"), Some(label.as_str()));
            prop_assert_eq!(parser.next_entry().unwrap(), None);
        }
    }
}
