//! JSON numbers, read exactly: whole numbers, decimals from their text, doubles to the nearest.

use super::super::flaw::Flaw;

/// A number as it is written: `mantissa × 10^(exponent − fraction)`, with its sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    text: &'a [u8],
    negative: bool,
    /// All digits, the point left out; only meaningful when `exact`.
    mantissa: u64,
    /// Whether the digits fit the mantissa.
    exact: bool,
    /// Digits after the point.
    fraction: usize,
    /// As written, within ± 10¹⁵; more makes no difference to any type.
    exponent: i64,
    /// Neither point nor exponent.
    whole: bool,
}

/// Digits that a `u64` always holds.
const MANTISSA_DIGITS: usize = 19;
const EXPONENT_BOUND: i64 = 1_000_000_000_000_000;
/// Powers of ten that a double holds exactly (Clinger 1990): a product or quotient of two exact doubles is rounded
/// once, so it is the nearest.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
const EXACT_POWERS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

impl<'a> Number<'a> {
    /// Reads the number that `bytes` begins with, a `-` or a digit. On a flaw: the byte at fault, and the rule.
    #[inline(always)]
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, (usize, &'static str)> {
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut mantissa, mut at) = digits(bytes, start, 0);
        let mut count = at - start;
        match count {
            0 => return Err((at, "no digit after the minus sign")),
            1 => {}
            _ if bytes[start] == b'0' => return Err((start + 1, "a leading zero")),
            _ => {}
        }
        let mut fraction = 0;
        let (mut exponent, mut whole) = (0, true);
        if let Some(b'.') = bytes.get(at) {
            let point = at;
            (mantissa, at) = digits(bytes, point + 1, mantissa);
            fraction = at - point - 1;
            if fraction == 0 {
                return Err((at, "no digit after the point"));
            }
            count += fraction;
            whole = false;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            (exponent, at) = exponent_part(bytes, at + 1)?;
            whole = false;
        }
        let exact = count <= MANTISSA_DIGITS;
        Ok(Self { text: &bytes[..at], negative, mantissa, exact, fraction, exponent, whole })
    }

    /// The number's own bytes.
    #[inline]
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// A whole number: neither a point nor an exponent, `1.0` and `1e3` are refused.
    #[inline]
    pub(super) fn integer(&self) -> Result<i64, Flaw> {
        if !self.whole {
            return Err(Flaw::Fraction);
        }
        let value = if self.exact { 0i64.checked_add_unsigned(self.mantissa) } else { None };
        match (value, self.negative) {
            (Some(value), false) => Ok(value),
            (Some(value), true) => Ok(-value),
            (None, true) if self.exact && self.mantissa == i64::MIN.unsigned_abs() => Ok(i64::MIN),
            (None, _) => Err(Flaw::IntegerRange),
        }
    }

    /// The nearest double; too large a number is refused, too small a one is zero.
    #[inline]
    pub(super) fn double(&self) -> Result<f64, Flaw> {
        let power = self.exponent - self.fraction as i64;
        if self.exact && self.mantissa <= 1 << 53 && power.unsigned_abs() <= 22 {
            let scale = EXACT_POWERS[power.unsigned_abs() as usize];
            let magnitude = self.mantissa as f64;
            let value = if power < 0 { magnitude / scale } else { magnitude * scale };
            return Ok(if self.negative { -value } else { value });
        }
        finite(self.parse::<f64>(), f64::is_finite)
    }

    /// The nearest float, rounded once (not by way of a double).
    #[inline]
    pub(super) fn float(&self) -> Result<f32, Flaw> {
        let power = self.exponent - self.fraction as i64;
        if self.exact && self.mantissa <= 1 << 24 && power.unsigned_abs() <= 10 {
            let scale = EXACT_POWERS_F32[power.unsigned_abs() as usize];
            let magnitude = self.mantissa as f32;
            let value = if power < 0 { magnitude / scale } else { magnitude * scale };
            return Ok(if self.negative { -value } else { value });
        }
        finite(self.parse::<f32>(), f32::is_finite)
    }

    /// `None` can't happen for a number by JSON's grammar: it is a part of Rust's.
    fn parse<F: std::str::FromStr>(&self) -> Option<F> {
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }

    /// The number times `10^scale`, exactly. Zeros beyond the scale are no digits.
    #[inline]
    pub(super) fn scaled(&self, scale: u8) -> Result<i128, Flaw> {
        let missing = i64::from(scale) - self.fraction as i64;
        if self.exact && self.exponent == 0 && (0..=18).contains(&missing) {
            let value = i128::from(self.mantissa) * POWERS[missing as usize];
            return Ok(if self.negative { -value } else { value });
        }
        self.scaled_slowly(scale)
    }

    fn scaled_slowly(&self, scale: u8) -> Result<i128, Flaw> {
        // Digits without the zeros at the end, which are counted instead.
        let (mut value, mut zeros) = (Some(0i128), 0i64);
        let mantissa = self.text.iter().take_while(|b| !matches!(b, b'e' | b'E'));
        for digit in mantissa.filter(|b| b.is_ascii_digit()).map(|b| b - b'0') {
            zeros += 1;
            if digit != 0 {
                let power = usize::try_from(zeros).ok().and_then(|z| POWERS.get(z));
                value = match value {
                    Some(0) => Some(i128::from(digit)),
                    Some(v) => power.and_then(|p| v.checked_mul(*p)?.checked_add(digit.into())),
                    None => None,
                };
                zeros = 0;
            }
        }
        if value == Some(0) {
            return Ok(0);
        }
        let missing = i64::from(scale) - self.fraction as i64 + self.exponent + zeros;
        if missing < 0 {
            return Err(Flaw::DecimalScale);
        }
        let power = usize::try_from(missing).ok().and_then(|m| POWERS.get(m));
        let value = value.zip(power).and_then(|(v, p)| v.checked_mul(*p));
        let value = value.ok_or(Flaw::DecimalRange)?;
        Ok(if self.negative { -value } else { value })
    }

    /// The unscaled value of a `DECIMAL(precision, scale)`.
    #[inline]
    pub(super) fn decimal(&self, precision: u8, scale: u8) -> Result<i128, Flaw> {
        let value = self.scaled(scale)?;
        match value.unsigned_abs() < POWERS[usize::from(precision)].unsigned_abs() {
            true => Ok(value),
            false => Err(Flaw::DecimalRange),
        }
    }
}

/// `10^0` to `10^38`, the largest that an `i128` holds.
const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Reads digits from `at` on into `value`, wrapping around; answers where they end.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(&byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// What follows the `e`.
fn exponent_part(bytes: &[u8], mut at: usize) -> Result<(i64, usize), (usize, &'static str)> {
    let negative = bytes.get(at) == Some(&b'-');
    if let Some(b'+' | b'-') = bytes.get(at) {
        at += 1;
    }
    let start = at;
    let mut value = 0i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        value = (value * 10 + i64::from(digit - b'0')).min(EXPONENT_BOUND);
        at += 1;
    }
    if at == start {
        return Err((at, "no digit in the exponent"));
    }
    Ok((if negative { -value } else { value }, at))
}

fn finite<F: Copy>(value: Option<F>, is_finite: impl Fn(F) -> bool) -> Result<F, Flaw> {
    value.filter(|v| is_finite(*v)).ok_or(Flaw::FloatRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Number<'_> {
        let number = Number::read(text.as_bytes()).expect("a number");
        assert_eq!(number.text(), text.as_bytes());
        number
    }

    #[test]
    fn whole_numbers_are_exact_up_to_the_ends_of_a_bigint() {
        let cases = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(Flaw::IntegerRange)),
            ("-9223372036854775809", Err(Flaw::IntegerRange)),
            ("18446744073709551616", Err(Flaw::IntegerRange)),
            ("100000000000000000000000", Err(Flaw::IntegerRange)),
            ("1.0", Err(Flaw::Fraction)),
            ("1e3", Err(Flaw::Fraction)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).integer(), expected, "{text}");
        }
    }

    #[test]
    fn decimals_come_from_the_text() {
        let cases = [
            ("0", 4, 2, Ok(0)),
            ("-0.00", 4, 2, Ok(0)),
            ("12.34", 4, 2, Ok(1234)),
            ("-12.3", 4, 2, Ok(-1230)),
            ("99.99", 4, 2, Ok(9999)),
            ("100", 4, 2, Err(Flaw::DecimalRange)),
            ("1.230000000000000000000000000000000000000000000000", 4, 2, Ok(123)),
            ("1.234", 4, 2, Err(Flaw::DecimalScale)),
            ("1.23e1", 4, 2, Ok(1230)),
            ("1230e-2", 4, 2, Ok(1230)),
            ("1234e-3", 4, 2, Err(Flaw::DecimalScale)),
            ("0e999999999999999999999999", 4, 2, Ok(0)),
            ("1e999999999999999999999999", 4, 2, Err(Flaw::DecimalRange)),
            ("1e-999999999999999999999999", 4, 2, Err(Flaw::DecimalScale)),
            ("0.1e1", 1, 0, Ok(1)),
            ("99999999999999999999999999999999999999", 38, 0, Ok(10i128.pow(38) - 1)),
            ("100000000000000000000000000000000000000", 38, 0, Err(Flaw::DecimalRange)),
            ("0.00000000000000000000000000000000000001", 38, 38, Ok(1)),
            ("1", 38, 38, Err(Flaw::DecimalRange)),
            ("0.1", 38, 38, Ok(10i128.pow(37))),
        ];
        for (text, precision, scale, expected) in cases {
            assert_eq!(read(text).decimal(precision, scale), expected, "{text}");
        }
    }

    #[test]
    fn doubles_and_floats_are_the_nearest() {
        for text in [
            "0",
            "-0",
            "0.1",
            "3.4028235e38",
            "1e22",
            "1e23",
            "9007199254740993",
            "2.2250738585072011e-308",
            "1e-400",
            "123456789012345678901234567890",
            "16777217",
            "0.3",
            "1e-10",
            "5e-324",
            "1.17549435e-38",
        ] {
            let double: f64 = text.parse().expect("a double");
            assert_eq!(read(text).double().map(f64::to_bits), Ok(double.to_bits()), "{text}");
        }
        for text in
            ["0.1", "16777217", "16777216", "3.4028235e38", "1e-10", "1.00000017881393432617187499"]
        {
            let float: f32 = text.parse().expect("a float");
            assert_eq!(read(text).float().map(f32::to_bits), Ok(float.to_bits()), "{text}");
        }
        assert_eq!(read("1e309").double(), Err(Flaw::FloatRange));
        assert_eq!(read("3.4028236e38").float(), Err(Flaw::FloatRange));
    }

    #[test]
    fn the_grammar_is_strict() {
        for (text, at, rule) in [
            ("-", 1, "no digit after the minus sign"),
            ("-x", 1, "no digit after the minus sign"),
            ("01", 1, "a leading zero"),
            ("-00", 2, "a leading zero"),
            ("1.", 2, "no digit after the point"),
            ("1.e5", 2, "no digit after the point"),
            ("1e", 2, "no digit in the exponent"),
            ("1e+", 3, "no digit in the exponent"),
        ] {
            assert_eq!(Number::read(text.as_bytes()).map(|_| ()), Err((at, rule)), "{text}");
        }
    }
}
