//! Floats as decimal integers: `v == i / 10^e`, bit for bit.
//!
//! An integer below 2^53 and a power of ten up to 10^22 are both exact floats, and IEEE division
//! rounds correctly; so `i / 10^e` is the float nearest to that decimal number, which is what a
//! parser made of the text. (Multiplying by 10^-e, as ALP does, is not exact.) What is not equal to
//! its float in every bit has no decimal form: NaN, infinities, `-0.0`, most results of arithmetic.

/// Greatest exponent of a decimal.
pub const EXPONENT_MAX: u8 = 22;

/// Decimals are below this in magnitude, so that they are exact floats.
pub const INT_BOUND: i64 = 1 << 53;

/// Powers of ten that floats hold exactly.
#[rustfmt::skip]
const POWERS: [f64; 32] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    // Unused; the length is a power of two so that a masked index needs no check.
    1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
];

/// `10^exponent`. The exponent is at most [`EXPONENT_MAX`].
#[inline]
pub fn power(exponent: u8) -> f64 {
    debug_assert!(exponent <= EXPONENT_MAX);
    POWERS[usize::from(exponent & 31)]
}

/// The float `int / 10^exponent`. Defined for every `int`, exact below [`INT_BOUND`].
#[inline]
pub fn to_f64(int: i64, exponent: u8) -> f64 {
    if exponent == 0 { int as f64 } else { int as f64 / power(exponent) }
}

/// The integer `i` for which `value == i / 10^exponent` in every bit, where there is one.
#[inline]
pub fn int_at(value: f64, exponent: u8) -> Option<i64> {
    let int = nearest_int(value, exponent);
    let exact = to_f64(int, exponent).to_bits() == value.to_bits();
    (exact && int.unsigned_abs() < INT_BOUND as u64).then_some(int)
}

/// The integer nearest to `value * 10^exponent`, or the end of its range; 0 for NaN. Right
/// wherever [`int_at`] finds a decimal.
#[inline]
pub fn nearest_int(value: f64, exponent: u8) -> i64 {
    // From 2^52 on a float has no fraction, and adding a half might round to the next integer.
    const NO_FRACTION: f64 = (1_u64 << 52) as f64;
    if exponent == 0 {
        return value as i64;
    }
    let scaled = value * power(exponent);
    if scaled.abs() < NO_FRACTION {
        (scaled + 0.5_f64.copysign(scaled)) as i64
    } else {
        scaled as i64
    }
}

/// The decimal form of `value` with the smallest exponent: (integer, exponent). `None` where
/// there is none of at most 15 significant digits (16 of an integer): with more digits a float
/// that is no decimal number would often be taken for one by chance.
#[inline]
pub fn shortest(value: f64) -> Option<(i64, u8)> {
    if let Some(int) = int_at(value, 0) {
        return Some((int, 0));
    }
    shortest_fraction(value)
}

/// [`shortest`] for what is no integer. If `i / 10^e` is exact then so is `10 i / 10^(e + 1)`;
/// therefore one test at the greatest exponent tells, and stripping zeros gives the smallest.
fn shortest_fraction(value: f64) -> Option<(i64, u8)> {
    let top = exponent_of_15_digits(value)?;
    let mut int = int_at(value, top)?;
    let mut exponent = top;
    for (zeros, divisor) in [(8, 100_000_000), (4, 10_000), (2, 100), (1, 10)] {
        if exponent >= zeros && int % divisor == 0 {
            int /= divisor;
            exponent -= zeros;
        }
    }
    Some((int, exponent))
}

/// The greatest exponent that keeps `value` below 10^15; `None` where that is 0.
fn exponent_of_15_digits(value: f64) -> Option<u8> {
    const BOUND: f64 = 1e15;
    let magnitude = value.abs();
    if magnitude >= 1e14 || magnitude.is_nan() {
        return None;
    }
    // log10 from the binary exponent, at most one too small: 1233 / 4096 is close to log10(2).
    let binary = ((magnitude.to_bits() >> 52) as i64) - 1023;
    let digits = ((binary + 1) * 1233) >> 12;
    let top = (14 - digits).clamp(0, i64::from(EXPONENT_MAX)) as u8;
    if top < EXPONENT_MAX && magnitude * power(top + 1) < BOUND {
        Some(top + 1)
    } else if magnitude * power(top) < BOUND {
        Some(top)
    } else {
        top.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shortest_form_is_found() {
        let cases = [
            ("0", Some((0, 0))),
            ("42", Some((42, 0))),
            ("-1000000", Some((-1_000_000, 0))),
            ("0.1", Some((1, 1))),
            ("-0.29", Some((-29, 2))),
            ("97.25", Some((9725, 2))),
            ("1734567890.123", Some((1_734_567_890_123, 3))),
            ("0.000000001", Some((1, 9))),
            ("1e-22", Some((1, 22))),
            ("1e-23", None),
            ("99999999999999.9", Some((999_999_999_999_999, 1))),
            ("0.30000000000000004", None),
            ("9007199254740991", Some((9_007_199_254_740_991, 0))),
            ("9007199254740992", None),
            ("-0", None),
            ("NaN", None),
            ("inf", None),
            ("-inf", None),
            ("5e-324", None),
            ("1e300", None),
        ];
        for (text, expected) in cases {
            assert_eq!(shortest(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_wild_value_is_no_decimal_at_any_exponent() {
        for exponent in 0..=EXPONENT_MAX {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX] {
                assert_eq!(int_at(value, exponent), None);
            }
            assert_eq!(int_at(0.0, exponent), Some(0));
        }
    }

    proptest! {
        #[test]
        fn up_to_15_digits_come_back(digits in -999_999_999_999_999_i64..=999_999_999_999_999,
                                     shift in 0_u32..15, exponent in 0_u8..=14) {
            let int = digits / 10_i64.pow(shift);
            let value = to_f64(int, exponent);
            prop_assert_eq!(int_at(value, exponent), Some(int));
            let (short, smallest) = shortest(value).unwrap();
            prop_assert!(smallest <= exponent);
            prop_assert_eq!(to_f64(short, smallest).to_bits(), value.to_bits());
            prop_assert!(smallest == 0 || short % 10 != 0);
        }

        #[test]
        fn what_is_found_is_exact(bits: u64, exponent in 0_u8..=EXPONENT_MAX) {
            let value = f64::from_bits(bits);
            if let Some(int) = int_at(value, exponent) {
                prop_assert_eq!(to_f64(int, exponent).to_bits(), bits);
                prop_assert!(int.abs() < INT_BOUND);
            }
            if let Some((int, exponent)) = shortest(value) {
                prop_assert_eq!(to_f64(int, exponent).to_bits(), bits);
            }
        }
    }
}
