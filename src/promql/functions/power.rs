//! Functions of two numbers, `^` and `atan2`, computed so that the last bit is Prometheus's.
//!
//! A power is the product of repeated squares for the integer part of the exponent and of
//! e^(f ln x) for the rest, the powers of two kept apart; see [`super::elementary`] for why.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::elementary::{atan, exp, ln, split};

/// `x` to the power of `y`.
pub fn pow(x: f64, y: f64) -> f64 {
    if let Some(result) = simple_power(x, y) {
        return result;
    }
    let (mut whole, mut rest) = (y.abs().trunc(), y.abs().fract());
    if rest != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= 2.0_f64.powi(63) {
        return huge_power(x, y);
    }
    let mut product = 1.0;
    let mut exponent = 0;
    if rest != 0.0 {
        if rest > 0.5 {
            rest -= 1.0;
            whole += 1.0;
        }
        product = exp(rest * ln(x));
    }
    let (fraction, mut square_exponent) = split(x.abs());
    let mut square = fraction.copysign(x);
    let mut bits = whole as u64;
    while bits != 0 {
        // Beyond this the result is 0 or infinite, whatever the other bits say.
        if square_exponent.abs() > 1 << 12 {
            exponent += square_exponent;
            break;
        }
        if bits & 1 == 1 {
            product *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        bits >>= 1;
    }
    if y < 0.0 {
        product = 1.0 / product;
        exponent = -exponent;
    }
    scale(product, exponent)
}

/// The cases that need no arithmetic, or one operation.
fn simple_power(x: f64, y: f64) -> Option<f64> {
    let is_odd = || y.abs() < 2.0_f64.powi(53) && y.fract() == 0.0 && y as i64 & 1 == 1;
    Some(match () {
        () if y == 0.0 || x == 1.0 => 1.0,
        () if y == 1.0 => x,
        () if x.is_nan() || y.is_nan() => f64::NAN,
        () if x == 0.0 || (x.is_infinite() && y.is_finite()) => {
            // Zero and infinity are each other's inverses.
            let is_zero = (x == 0.0) == (y > 0.0);
            let size = if is_zero { 0.0 } else { f64::INFINITY };
            if x.is_sign_negative() && is_odd() { -size } else { size }
        }
        () if y.is_infinite() => huge_power(x, y),
        () if y == 0.5 => x.sqrt(),
        () if y == -0.5 => 1.0 / x.sqrt(),
        () => return None,
    })
}

/// A power so large that it is even and ends in 0 or infinity.
fn huge_power(x: f64, y: f64) -> f64 {
    match () {
        () if x == -1.0 => 1.0,
        () if (x.abs() < 1.0) == (y > 0.0) => 0.0,
        () => f64::INFINITY,
    }
}

/// `value` times two to the power of `exponent`, rounded once.
fn scale(value: f64, exponent: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let (fraction, own_exponent) = split(value.abs());
    let exponent = exponent + own_exponent - 1;
    // From one half to the binade of `exponent`: only the bits of the exponent change.
    let with = |exponent: i32| {
        let mantissa = fraction.to_bits() & ((1 << 52) - 1);
        f64::from_bits(mantissa | ((exponent + 1023) as u64) << 52)
    };
    let size = match exponent {
        1024.. => f64::INFINITY,
        -1022..=1023 => with(exponent),
        -1075..=-1023 => with(exponent + 53) * 2.0_f64.powi(-53),
        _ => 0.0,
    };
    size.copysign(value)
}

/// The angle of the point (`x`, `y`).
pub fn atan2(y: f64, x: f64) -> f64 {
    if y.is_nan() || x.is_nan() {
        return f64::NAN;
    }
    let from_left = x.is_sign_negative();
    let size = match () {
        () if y == 0.0 => return if from_left { PI } else { 0.0 }.copysign(y),
        () if x == 0.0 => FRAC_PI_2,
        () if x.is_infinite() && y.is_infinite() && from_left => 3.0 * PI / 4.0,
        () if x.is_infinite() && y.is_infinite() => FRAC_PI_4,
        () if x.is_infinite() => return if from_left { PI } else { 0.0 }.copysign(y),
        () if y.is_infinite() => FRAC_PI_2,
        () => {
            let angle = atan(y / x);
            return match () {
                () if x > 0.0 => angle,
                () if angle <= 0.0 => angle + PI,
                () => angle - PI,
            };
        }
    };
    size.copysign(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_the_ends_of_the_range() {
        let inf = f64::INFINITY;
        for (x, y, result) in [
            (0.0, -1.0, inf),
            (-0.0, -3.0, -inf),
            (-0.0, 3.0, -0.0),
            (-inf, 3.0, -inf),
            (-inf, -2.0, 0.0),
            (inf, 0.5, inf),
            (-1.0, inf, 1.0),
            (0.5, inf, 0.0),
            (0.5, -inf, inf),
            (2.0, 10.0, 1024.0),
            (-2.0, 3.0, -8.0),
            (2.0, -1074.0, 5e-324),
            (10.0, 400.0, inf),
            (1.0, f64::NAN, 1.0),
        ] {
            assert_eq!(pow(x, y).to_bits(), f64::to_bits(result), "{x} ^ {y}");
        }
        assert!(pow(-8.0, 1.0 / 3.0).is_nan());
    }

    #[test]
    fn angles_of_all_quadrants() {
        assert_eq!(atan2(1.0, 1.0), FRAC_PI_4);
        assert_eq!(atan2(1.0, -1.0), 3.0 * FRAC_PI_4);
        assert_eq!(atan2(-1.0, -1.0), -3.0 * FRAC_PI_4);
        assert_eq!(atan2(-0.0, -1.0), -PI);
        assert_eq!(atan2(0.0, 0.0), 0.0);
        assert_eq!(atan2(f64::INFINITY, f64::NEG_INFINITY), 3.0 * FRAC_PI_4);
    }
}
