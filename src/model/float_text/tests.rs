//! Against tables that Go printed, and round trips of arbitrary bits.

use proptest::prelude::*;

use super::*;

const STYLES: [FloatStyle; 3] = [FloatStyle::Plain, FloatStyle::General, FloatStyle::Api];

fn bits(text: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(text, 16).unwrap())
}

#[test]
fn text_is_the_one_that_go_prints() {
    let table = include_str!("../../../testdata/float/format.tsv");
    assert!(table.lines().count() > 200);
    for row in table.lines() {
        let mut columns = row.split('\t');
        let value = bits(columns.next().unwrap());
        for style in STYLES {
            assert_eq!(float_text(value, style), columns.next().unwrap(), "{row} {style:?}");
        }
    }
}

#[test]
fn text_is_read_as_go_reads_it() {
    let table = include_str!("../../../testdata/float/parse.tsv");
    assert!(table.lines().count() > 50);
    for row in table.lines() {
        let (text, expected) = row.split_once('\t').unwrap();
        let read = parse_float(text).map(|value| format!("{:016x}", value.to_bits()));
        assert_eq!(read.as_deref().unwrap_or("error"), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        for style in STYLES {
            let back = parse_float(&float_text(value, style)).expect("our own text");
            if value.is_nan() {
                prop_assert!(back.is_nan());
            } else {
                prop_assert_eq!(back.to_bits(), bits);
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+0-9a-fA-FxXpP._infINFnaNA]{0,24}") {
        let _ = parse_float(&text);
    }
}
