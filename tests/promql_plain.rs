//! The engine against a plain, slow evaluator: random small data, random queries, the same answers
//! bit for bit.

mod plain;

use plain::Outcome;
use proptest::prelude::*;

#[test]
fn a_query_of_no_bytes_is_answered() {
    assert_eq!(plain::check(&[]), Outcome::Values(1));
}

/// A comparison of nothing with nothing says nothing.
#[test]
fn most_random_queries_have_values() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let (mut full, mut refused) = (0, 0);
    for _ in 0..1500 {
        let bytes: Vec<u8> = (0..1000).map(|_| byte()).collect();
        match plain::check(&bytes) {
            Outcome::Values(0) => {}
            Outcome::Values(_) => full += 1,
            Outcome::Refused => refused += 1,
        }
    }
    println!("{full} of 1500 with values, {refused} refused by both");
    assert!(full > 600 && refused > 20, "{full} with values, {refused} refused");
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(3000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_queries_on_random_data_are_answered_as_plainly_as_can_be(
        bytes in proptest::collection::vec(any::<u8>(), 0..1000),
    ) {
        plain::check(&bytes);
    }
}
