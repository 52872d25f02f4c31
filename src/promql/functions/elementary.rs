//! Elementary functions, computed so that the last bit is Prometheus's.
//!
//! The platform's mathematical library is as good, but rounds otherwise now and then. The
//! methods and coefficients here are the published ones that Go uses on x86-64: Cephes (S. L.
//! Moshier) for the trigonometric functions, their inverses and `tanh`; FreeBSD's msun for the
//! logarithms and inverse hyperbolic functions; Hart and Cheney no. 2029 for `sinh`; N. Shibata,
//! "Efficient evaluation methods of elementary functions suitable for SIMD computation", for
//! `exp`. Sums are evaluated in one order everywhere, without contraction but where `mul_add`
//! says so, so that results do not depend on the machine.
//!
//! COMPAT: a Prometheus on another architecture may differ in the last bit, as its own builds
//! differ from one another. Natural and decimal logarithms of subnormal numbers are those of the
//! x86-64 build too, which takes the leading bit for one: they lie at -709.09 and above.

#![allow(clippy::excessive_precision, reason = "coefficients stand as they were published")]

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E, LOG10_E, PI, SQRT_2};

/// Polynomial with its coefficients from the highest power down.
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let (first, rest) = coefficients.split_first().expect("BUG: a polynomial has a coefficient");
    rest.iter().fold(*first, |sum, coefficient| sum * x + coefficient)
}

/// e to the power of `x`.
pub fn exp(x: f64) -> f64 {
    const OVERFLOW: f64 = 7.097_827_128_933_84e2;
    const LN2_UPPER: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
    const LN2_LOWER: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
    const FACTORIALS: [f64; 7] = [
        1.984_126_984_126_984_126_9e-4,
        1.388_888_888_888_888_888_9e-3,
        8.333_333_333_333_333_333_3e-3,
        4.166_666_666_666_666_666_6e-2,
        1.666_666_666_666_666_666_7e-1,
        0.5,
        1.0,
    ];
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    let exponent = (LOG2_E * x).round_ties_even();
    if exponent < -1200.0 {
        return 0.0;
    }
    let reduced = LN2_LOWER.mul_add(-exponent, LN2_UPPER.mul_add(-exponent, x)) * 0.0625;
    let series = FACTORIALS
        .iter()
        .fold(2.480_158_730_158_730_158_7e-5_f64, |sum, term| sum.mul_add(reduced, *term));
    // exp(r) - 1 of a sixteenth of the argument, squared up four times: y(y + 2).
    let mut y = series * reduced;
    for _ in 0..3 {
        y *= y + 2.0;
    }
    let fraction = y.mul_add(y + 2.0, 1.0);
    scale(fraction, exponent as i32)
}

/// `fraction` times two to the power of `exponent`, rounded once; 0 far below the subnormals.
fn scale(fraction: f64, exponent: i32) -> f64 {
    let power = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    match exponent {
        1024.. => f64::INFINITY,
        -1022..=1023 => fraction * power(exponent),
        -1075..=-1023 => fraction * power(exponent + 1022) * f64::MIN_POSITIVE,
        _ => 0.0,
    }
}

/// Natural logarithm.
pub fn ln(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    match x {
        _ if x.is_nan() || x == f64::INFINITY => return x,
        _ if x < 0.0 => return f64::NAN,
        _ if x == 0.0 => return f64::NEG_INFINITY,
        _ => {}
    }
    // The leading bit is taken for one, whether it is or not.
    let bits = x.to_bits();
    let mut fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1022 << 52);
    let mut exponent = (bits >> 52) as i32 - 1022;
    if fraction < SQRT_2 / 2.0 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let f = fraction - 1.0;
    let k = f64::from(exponent);
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let [l1, l2, l3, l4, l5, l6, l7] = LOGARITHM;
    let odd = s2 * polynomial(s4, [l7, l5, l3, l1]);
    let even = s4 * polynomial(s4, [l6, l4, l2]);
    let r = odd + even;
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + r) + k * LN2_LOW)) - f)
}

/// Coefficients of the logarithm, from the lowest power up.
const LOGARITHM: [f64; 7] = [
    6.666_666_666_666_735_130e-1,
    3.999_999_999_940_941_908e-1,
    2.857_142_874_366_239_149e-1,
    2.222_219_843_214_978_396e-1,
    1.818_357_216_161_805_012e-1,
    1.531_383_769_920_937_332e-1,
    1.479_819_860_511_658_591e-1,
];

/// A positive number as a fraction in [0.5, 1) and a power of two.
pub(super) fn split(x: f64) -> (f64, i32) {
    let is_subnormal = x < f64::MIN_POSITIVE;
    let bits = if is_subnormal { x * 2.0_f64.powi(52) } else { x }.to_bits();
    let exponent = (bits >> 52) as i32 - 1022 - if is_subnormal { 52 } else { 0 };
    (f64::from_bits(bits & ((1 << 52) - 1) | 1022 << 52), exponent)
}

/// Logarithm to base two; exact for powers of two.
pub fn log2(x: f64) -> f64 {
    if !(x > 0.0 && x < f64::INFINITY) {
        return ln(x);
    }
    let (fraction, exponent) = split(x);
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    ln(fraction) * LOG2_E + f64::from(exponent)
}

/// Logarithm to base ten.
pub fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

/// Logarithm of one more than `x`, for `x` at or above -1.
fn ln_1p(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    const SQRT_2_MINUS_1: f64 = 4.142_135_623_730_950_488_017e-1;
    const SQRT_HALF_MINUS_1: f64 = -2.928_932_188_134_524_755_992e-1;
    const MANTISSA: u64 = (1 << 52) - 1;
    const MANTISSA_OF_SQRT_2: u64 = 0x0006_a09e_667f_3bcd;
    if x == -1.0 {
        return f64::NEG_INFINITY;
    }
    if x < -1.0 || x.is_nan() || x == f64::INFINITY {
        return if x == f64::INFINITY { x } else { f64::NAN };
    }
    let size = x.abs();
    if size < 2.0_f64.powi(-54) {
        return x;
    }
    if size < 2.0_f64.powi(-29) {
        return x - x * x * 0.5;
    }
    let (f, k, correction, is_tiny);
    if size < SQRT_2_MINUS_1 && x > SQRT_HALF_MINUS_1 {
        (f, k, correction, is_tiny) = (x, 0.0, 0.0, false);
    } else {
        let is_small = size < 2.0_f64.powi(53);
        let u = if is_small { 1.0 + x } else { x };
        let mut exponent = (u.to_bits() >> 52) as i32 - 1023;
        correction = match exponent {
            _ if !is_small => 0.0,
            1.. => (1.0 - (u - x)) / u,
            _ => (x - (u - 1.0)) / u,
        };
        let mantissa = u.to_bits() & MANTISSA;
        // To between the square roots of a half and of two.
        let normal = if mantissa < MANTISSA_OF_SQRT_2 {
            is_tiny = mantissa == 0;
            f64::from_bits(mantissa | 1023 << 52)
        } else {
            exponent += 1;
            is_tiny = (1 << 52) - mantissa < 4;
            f64::from_bits(mantissa | 1022 << 52)
        };
        f = normal - 1.0;
        k = f64::from(exponent);
    }
    let half_square = 0.5 * f * f;
    if is_tiny {
        if f == 0.0 {
            return k * LN2_HIGH + (correction + k * LN2_LOW);
        }
        let r = half_square * (1.0 - 0.666_666_666_666_666_66 * f);
        return k * LN2_HIGH - ((r - (k * LN2_LOW + correction)) - f);
    }
    let s = f / (2.0 + f);
    let z = s * s;
    let [l1, l2, l3, l4, l5, l6, l7] = LOGARITHM;
    let r = z * polynomial(z, [l7, l6, l5, l4, l3, l2, l1]);
    if k == 0.0 {
        return f - (half_square - s * (half_square + r));
    }
    k * LN2_HIGH - ((half_square - (s * (half_square + r) + (k * LN2_LOW + correction))) - f)
}

/// Inverse hyperbolic sine.
pub fn asinh(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    let size = x.abs();
    let result = if size > 2.0_f64.powi(28) {
        ln(size) + LN_2
    } else if size > 2.0 {
        ln(2.0 * size + 1.0 / ((size * size + 1.0).sqrt() + size))
    } else if size < 2.0_f64.powi(-28) {
        size
    } else {
        ln_1p(size + size * size / (1.0 + (1.0 + size * size).sqrt()))
    };
    if x < 0.0 { -result } else { result.copysign(x) }
}

/// Inverse hyperbolic cosine.
pub fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x == 1.0 {
        0.0
    } else if x >= 2.0_f64.powi(28) {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()))
    } else {
        let t = x - 1.0;
        ln_1p(t + (2.0 * t + t * t).sqrt())
    }
}

/// Inverse hyperbolic tangent.
pub fn atanh(x: f64) -> f64 {
    let size = x.abs();
    if size > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    let result = if size == 1.0 {
        f64::INFINITY
    } else if size < 2.0_f64.powi(-28) {
        size
    } else if size < 0.5 {
        let double = size + size;
        0.5 * ln_1p(double + double * size / (1.0 - size))
    } else {
        0.5 * ln_1p((size + size) / (1.0 - size))
    };
    result.copysign(x)
}

/// Hyperbolic sine.
pub fn sinh(x: f64) -> f64 {
    const UPPER: [f64; 4] = [
        -0.263_056_321_339_749_706_281_948_9e2,
        -0.289_421_135_598_956_380_728_466_036_6e4,
        -0.899_127_202_203_950_935_539_801_351_1e5,
        -0.630_767_364_049_771_699_118_478_725_1e6,
    ];
    const LOWER: [f64; 4] = [
        1.0,
        -0.173_678_953_558_233_699_533_450_911e3,
        0.152_151_737_879_001_907_069_648_517_6e5,
        -0.630_767_364_049_771_699_121_207_727_7e6,
    ];
    let size = x.abs();
    let result = if size > 21.0 {
        exp(size) * 0.5
    } else if size > 0.5 {
        let power = exp(size);
        (power - 1.0 / power) * 0.5
    } else {
        let square = size * size;
        polynomial(square, UPPER) * size / polynomial(square, LOWER)
    };
    if x < 0.0 { -result } else { result.copysign(x) }
}

/// Hyperbolic cosine.
pub fn cosh(x: f64) -> f64 {
    let size = x.abs();
    if size > 21.0 {
        return exp(size) * 0.5;
    }
    let power = exp(size);
    (power + 1.0 / power) * 0.5
}

/// Hyperbolic tangent.
pub fn tanh(x: f64) -> f64 {
    const HALF_LOG_MAX: f64 = 0.5 * 8.802_969_193_111_305_429_598_8e1;
    const UPPER: [f64; 3] = [
        -9.643_991_794_250_522_386_28e-1,
        -9.928_772_310_019_185_865_64e1,
        -1.614_687_684_417_084_479_52e3,
    ];
    const LOWER: [f64; 4] = [
        1.0,
        1.128_116_784_916_329_314_02e2,
        2.235_488_390_601_004_485_83e3,
        4.844_063_053_251_254_860_48e3,
    ];
    let size = x.abs();
    if size > HALF_LOG_MAX {
        1.0_f64.copysign(x)
    } else if size >= 0.625 {
        let power = exp(2.0 * size);
        (1.0 - 2.0 / (power + 1.0)).copysign(x)
    } else if x == 0.0 || x.is_nan() {
        x
    } else {
        let square = x * x;
        x + x * square * polynomial(square, UPPER) / polynomial(square, LOWER)
    }
}

/// Arc tangent.
pub fn atan(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    if x > 0.0 { atan_positive(x) } else { -atan_positive(-x) }
}

fn atan_positive(x: f64) -> f64 {
    /// What half of pi has beyond its float.
    const MORE_BITS: f64 = 6.123_233_995_736_765_886_130e-17;
    const TAN_3_PI_8: f64 = 2.414_213_562_373_095_048_80;
    if x <= 0.66 {
        return atan_reduced(x);
    }
    if x > TAN_3_PI_8 {
        return FRAC_PI_2 - atan_reduced(1.0 / x) + MORE_BITS;
    }
    FRAC_PI_4 + atan_reduced((x - 1.0) / (x + 1.0)) + 0.5 * MORE_BITS
}

fn atan_reduced(x: f64) -> f64 {
    const UPPER: [f64; 5] = [
        -8.750_608_600_031_904_122_785e-1,
        -1.615_753_718_733_365_076_637e1,
        -7.500_855_792_314_704_667_340e1,
        -1.228_866_684_490_136_173_410e2,
        -6.485_021_904_942_025_371_773e1,
    ];
    const LOWER: [f64; 6] = [
        1.0,
        2.485_846_490_142_306_297_962e1,
        1.650_270_098_316_988_542_046e2,
        4.328_810_604_912_902_668_951e2,
        4.853_903_996_359_136_964_868e2,
        1.945_506_571_482_613_964_425e2,
    ];
    let z = x * x;
    x * (z * polynomial(z, UPPER) / polynomial(z, LOWER)) + x
}

/// Arc sine.
pub fn asin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    let size = x.abs();
    if size > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    let leg = (1.0 - size * size).sqrt();
    let result =
        if size > 0.7 { FRAC_PI_2 - atan_positive(leg / size) } else { atan_positive(size / leg) };
    result.copysign(x)
}

/// Arc cosine.
pub fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

/// An angle without whole octants: which octant (even), and the rest of it.
fn octant(x: f64) -> (u64, f64) {
    const PI_4: [f64; 3] = [
        7.853_981_256_484_985_351_56e-1,
        3.774_894_707_930_798_176_68e-8,
        2.695_151_429_079_059_526_45e-15,
    ];
    if x >= 2.0_f64.powi(29) {
        return octant_of_large(x);
    }
    let octant = (x * (4.0 / PI)) as u64;
    // An odd octant counts from its end.
    let octant = octant + (octant & 1);
    let y = octant as f64;
    (octant & 7, ((x - y * PI_4[0]) - y * PI_4[1]) - y * PI_4[2])
}

/// 4/pi in binary, from its integer part down.
const FOUR_OVER_PI: [u64; 20] = [
    0x0000_0000_0000_0001,
    0x45f3_06dc_9c88_2a53,
    0xf84e_afa3_ea69_bb81,
    0xb6c5_2b32_7887_2083,
    0xfca2_c757_bd77_8ac3,
    0x6e48_dc74_849b_a5c0,
    0x0c92_5dd4_13a3_2439,
    0xfc3b_d639_6253_4e7d,
    0xd104_6bea_5d76_8909,
    0xd338_e04d_68be_fc82,
    0x7323_ac73_06a6_73e9,
    0x3908_bf17_7bf2_5076,
    0x3ff1_2fff_bc0b_301f,
    0xde5e_2316_b414_da3e,
    0xda6c_fd9e_4f96_136e,
    0x9e8c_7ecd_3cbf_d45a,
    0xea4f_758f_d7cb_e2f6,
    0x7a0e_73ef_14a5_25d4,
    0xd7f6_bf62_3f1a_ba10,
    0xac06_608d_f8f6_d757,
];

/// By the method of Payne and Hanek: the product with 4/pi, of which only the part around the
/// point matters.
fn octant_of_large(x: f64) -> (u64, f64) {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023 - 52;
    let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
    let (digit, shift) = ((exponent + 61) as usize / 64, (exponent + 61) as usize % 64);
    let window = |index: usize| {
        let pair = u128::from(FOUR_OVER_PI[index]) << 64 | u128::from(FOUR_OVER_PI[index + 1]);
        u128::from((pair << shift >> 64) as u64)
    };
    let tail = (mantissa * window(digit + 2)) >> 64;
    let product = ((mantissa * window(digit)) << 64)
        .wrapping_add(mantissa * window(digit + 1))
        .wrapping_add(tail);
    let octant = (product >> 125) as u64;
    let high = ((product << 3) >> 64) as u64;
    let zeros = high.leading_zeros().min(62) + 1;
    // COMPAT: cut, not rounded, to 53 bits; and the bits behind the first word are its
    // neighbour's first ones.
    let digits = (high << zeros) | ((product as u64) >> (64 - zeros));
    let z = f64::from_bits(digits >> 12 | u64::from(1023 - zeros) << 52);
    if octant & 1 == 1 {
        ((octant + 1) & 7, (z - 1.0) * FRAC_PI_4)
    } else {
        (octant, z * FRAC_PI_4)
    }
}

fn sin_reduced(z: f64) -> f64 {
    const SIN: [f64; 6] = [
        1.589_623_015_765_465_680_60e-10,
        -2.505_074_776_285_780_728_66e-8,
        2.755_731_362_138_572_452_13e-6,
        -1.984_126_982_958_953_859_96e-4,
        8.333_333_333_322_118_588_78e-3,
        -1.666_666_666_666_663_072_95e-1,
    ];
    let square = z * z;
    z + z * square * polynomial(square, SIN)
}

fn cos_reduced(z: f64) -> f64 {
    const COS: [f64; 6] = [
        -1.135_853_652_138_768_173_00e-11,
        2.087_570_084_197_473_167_78e-9,
        -2.755_731_417_929_673_881_12e-7,
        2.480_158_728_885_170_453_48e-5,
        -1.388_888_888_887_305_641_16e-3,
        4.166_666_666_666_659_292_18e-2,
    ];
    let square = z * z;
    1.0 - 0.5 * square + square * square * polynomial(square, COS)
}

/// Sine of an angle in radians.
pub fn sin(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let size = if octant & 3 == 2 { cos_reduced(z) } else { sin_reduced(z) };
    if (x < 0.0) == (octant > 3) { size } else { -size }
}

/// Cosine of an angle in radians.
pub fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let size = if octant & 3 == 2 { sin_reduced(z) } else { cos_reduced(z) };
    if octant == 2 || octant == 4 { -size } else { size }
}

/// Tangent of an angle in radians.
pub fn tan(x: f64) -> f64 {
    const UPPER: [f64; 3] = [
        -1.309_369_391_813_837_776_46e4,
        1.153_516_648_385_874_161_40e6,
        -1.795_652_519_764_848_779_88e7,
    ];
    const LOWER: [f64; 5] = [
        1.0,
        1.368_129_634_706_929_546_78e4,
        -1.320_892_344_402_109_674_47e6,
        2.500_838_018_233_579_158_39e7,
        -5.386_957_559_294_546_298_81e7,
    ];
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let square = z * z;
    let mut size = z;
    if square > 1e-14 {
        size = z + z * (square * polynomial(square, UPPER) / polynomial(square, LOWER));
    }
    if octant & 2 == 2 {
        size = -1.0 / size;
    }
    if x < 0.0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments and results to the last bit, as Go 1.26 computes them on x86-64.
    #[test]
    fn last_bits_are_those_of_the_published_methods() {
        type Function = fn(f64) -> f64;
        let expected: &[(Function, u64, u64)] = &[
            (exp, 0x3fcc_0eb9_542f_03c8, 0x3ff3_ebd8_6c89_87e8),
            (exp, 0x406a_af47_1078_5d84, 0x532f_9f09_c51a_fcff),
            (exp, 0xc01d_b34a_3cd6_9322, 0x3f43_8885_3aa5_3d95),
            (ln, 0x3fcc_0eb9_542f_03c8, 0xbff8_48cd_1dd4_a5c9),
            (ln, 0x406a_af47_1078_5d84, 0x4015_7441_7e63_5620),
            (ln, 0x3fcf_05d3_8345_9f1c, 0xbff6_ad4c_6373_9700),
            (log2, 0x3fcc_0eb9_542f_03c8, 0xc001_8479_625a_5187),
            (log2, 0x406a_af47_1078_5d84, 0x401e_f3a6_772f_848b),
            (log2, 0x3fcf_05d3_8345_9f1c, 0xc000_5ba3_39cf_a3d8),
            (ln, 0x0000_0000_0000_0001, 0xc086_28b7_6e3a_7b61),
            (log10, 0x0000_0000_0000_0001, 0xc073_3f42_4bcb_5221),
            (log2, 0x0000_0000_0000_0001, 0xc090_c800_0000_0000),
            (log10, 0x3fcc_0eb9_542f_03c8, 0xbfe5_17d8_4e42_5e69),
            (log10, 0x406a_af47_1078_5d84, 0x4002_a283_4727_b33d),
            (log10, 0x3fcf_05d3_8345_9f1c, 0xbfe3_b26b_099b_5530),
            (sin, 0x3fcc_0eb9_542f_03c8, 0x3fcb_d557_a0be_5259),
            (sin, 0x406a_af47_1078_5d84, 0xbfc3_3d28_0197_9b8a),
            (sin, 0xc01d_b34a_3cd6_9322, 0xbfed_1a05_4d02_4dbb),
            (cos, 0x3fcc_0eb9_542f_03c8, 0x3fef_3bfb_100b_ffce),
            (cos, 0x406a_af47_1078_5d84, 0x3fef_a2f0_0a85_b8ed),
            (cos, 0xc01d_b34a_3cd6_9322, 0x3fda_9d88_4267_0b39),
            (tan, 0x3fcc_0eb9_542f_03c8, 0x3fcc_8404_a37b_adc5),
            (tan, 0x406a_af47_1078_5d84, 0xbfc3_75bf_ebd6_dc10),
            (tan, 0xc01d_b34a_3cd6_9322, 0xc001_7ea1_15ca_017d),
            (asin, 0x3fcc_0eb9_542f_03c8, 0x3fcc_4986_2920_6c09),
            (asin, 0x3fcf_05d3_8345_9f1c, 0x3fcf_55b5_42f1_fc1e),
            (asin, 0xbfef_3c74_5531_8c76, 0xbff5_a13b_2d8f_1474),
            (acos, 0x3fcc_0eb9_542f_03c8, 0x3ff5_98ca_8f20_1f97),
            (acos, 0x3fcf_05d3_8345_9f1c, 0x3ff5_3744_abe5_ed94),
            (acos, 0xbfef_3c74_5531_8c76, 0x4007_619b_40e9_a0c6),
            (atan, 0x3fcc_0eb9_542f_03c8, 0x3fcb_9ee4_2ea8_3adf),
            (atan, 0x406a_af47_1078_5d84, 0x3ff9_0ecb_7b93_82d2),
            (atan, 0xc01d_b34a_3cd6_9322, 0xbff6_fda3_4e14_f7fc),
            (sinh, 0x3fcc_0eb9_542f_03c8, 0x3fcc_4861_c7fd_008f),
            (sinh, 0x406a_af47_1078_5d84, 0x531f_9f09_c51a_fcff),
            (sinh, 0xc01d_b34a_3cd6_9322, 0xc08a_362f_8271_9792),
            (cosh, 0x3fcc_0eb9_542f_03c8, 0x3ff0_62cc_3389_e7d6),
            (cosh, 0x406a_af47_1078_5d84, 0x531f_9f09_c51a_fcff),
            (cosh, 0xc01d_b34a_3cd6_9322, 0x408a_3630_baf9_eb3c),
            (tanh, 0x3fcc_0eb9_542f_03c8, 0x3fcb_9dda_7845_a84a),
            (tanh, 0xc01d_b34a_3cd6_9322, 0xbfef_fffe_8273_745b),
            (tanh, 0x3fcf_05d3_8345_9f1c, 0x3fce_6de4_45e6_730f),
            (asinh, 0x3fcc_0eb9_542f_03c8, 0x3fcb_d669_db0c_3de1),
            (asinh, 0x406a_af47_1078_5d84, 0x4018_3a0b_4e66_5348),
            (asinh, 0xc01d_b34a_3cd6_9322, 0xc005_9ec0_92c6_07a0),
            (acosh, 0x406a_af47_1078_5d84, 0x4018_3a08_6e1d_5a65),
            (acosh, 0x426c_49dc_e0a1_d86a, 0x403c_4bb6_962e_8b41),
            (acosh, 0x4022_3813_ade8_5d02, 0x4007_320e_5698_4fea),
            (atanh, 0x3fcc_0eb9_542f_03c8, 0x3fcc_8532_b08c_db84),
            (atanh, 0x3fcf_05d3_8345_9f1c, 0x3fcf_a70d_22c1_6671),
            (atanh, 0xbfef_3c74_5531_8c76, 0xc001_aa40_16bf_997d),
        ];
        for (index, &(function, x, result)) in expected.iter().enumerate() {
            let found = function(f64::from_bits(x));
            assert_eq!(found.to_bits(), result, "row {index}: {found:e}");
        }
    }
}
