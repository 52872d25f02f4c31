//! Tokens, and what a literal is worth.

use super::*;

fn kinds(text: &str) -> Vec<Kind> {
    let mut lexer = Lexer::new(text);
    let mut kinds = Vec::new();
    loop {
        match lexer.next_token().unwrap_or_else(|e| panic!("{text}: {e:?}")).kind {
            Kind::Eof => return kinds,
            kind => kinds.push(kind),
        }
    }
}

fn fault(text: &str) -> (u32, String) {
    let mut lexer = Lexer::new(text);
    loop {
        match lexer.next_token() {
            Ok(Token { kind: Kind::Eof, .. }) => panic!("{text} is all tokens"),
            Ok(_) => {}
            Err(error) => return (error.start, error.message),
        }
    }
}

#[test]
fn words_mean_what_their_place_says() {
    assert_eq!(
        kinds("SUM a:b Inf"),
        [Kind::Aggregate(AggregateOp::Sum), Kind::MetricIdentifier, Kind::Number]
    );
    assert_eq!(kinds("{sum}"), [Kind::LeftBrace, Kind::Identifier, Kind::RightBrace]);
    assert_eq!(kinds("fill"), [Kind::Identifier]);
    assert_eq!(Lexer::new("fill (").next_token().unwrap().kind, Kind::Keyword(Keyword::Fill));
}

#[test]
fn numbers_and_durations_are_told_apart() {
    for text in ["1", "1.", ".5", "0x1F", "1_000", "1e5", "1E-5", "08"] {
        assert_eq!(kinds(text), [Kind::Number], "{text}");
    }
    for text in ["5m", "1h30m", "1y2w3d4h5m6s7ms", "5hs"] {
        assert_eq!(kinds(text), [Kind::Duration], "{text}");
    }
    for text in ["5mx", "1..2", "1_", "1e", "0xfe"] {
        assert!(fault(text).1.starts_with("bad number or duration syntax: \""), "{text}");
    }
}

#[test]
fn literals_have_their_values() {
    for (text, value) in [("010", 8.0), ("09", 9.0), ("0x1_F", 31.0), ("1_0.5e1", 105.0)] {
        assert_eq!(number(text), Ok(value), "{text}");
    }
    assert_eq!(number("nan").unwrap().to_bits(), crate::model::NORMAL_NAN_BITS);
    assert_eq!(
        number("1e400"),
        Err("strconv.ParseFloat: parsing \"1e400\": value out of range".to_owned())
    );
    assert_eq!(duration("1h1ms"), Ok(3600.001));
    assert_eq!(duration("5hs"), Err("unknown unit \"hs\" in duration \"5hs\"".to_owned()));
    assert_eq!(duration("300y"), Err("duration out of range".to_owned()));
    assert_eq!(unquote(r#""a\n\x41\101\u00e9\"""#), "a\nAAé\"");
    assert_eq!(unquote(r"`\n`"), "\\n");
    assert_eq!(unquote(r"'\xff'"), "\u{fffd}");
}

#[test]
fn faults_have_their_places() {
    for (text, start, message) in [
        ("a $", 2, "unexpected character: '$'"),
        ("!", 0, "unexpected character after '!': '\u{fffd}'"),
        ("a )", 3, "unexpected right parenthesis ')'"),
        ("a[:", 3, "unexpected colon before duration in duration expression"),
        ("a[x", 2, "unexpected character in duration expression: 'x'"),
        ("a[1 x", 4, "unexpected character: 'x', expected ':'"),
        ("'a", 0, "unterminated quoted string"),
        ("`a", 0, "unterminated raw string"),
        ("'\\x4'", 0, "illegal character U+0027 ''' in escape sequence"),
        ("'\u{fffd}'", 0, "invalid UTF-8 rune"),
    ] {
        assert_eq!(fault(text), (start, message.to_owned()), "{text}");
    }
}
