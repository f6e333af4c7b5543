//! Whole numbers as wide as they need to be: sums of them lose nothing, so that any order gives the same.
//!
//! A double is a whole number of times 2⁻¹⁰⁷⁴, and its square of times 2⁻²¹⁴⁸. A sum of such numbers is a few limbs around
//! the digits that they have (Kulisch's accumulator, without the limbs that nobody needs).

use super::sketch::take;

const BITS: u32 = u64::BITS;
const BYTES: usize = size_of::<u64>();
/// Digits of a double, the one before the point included.
const DIGITS: i64 = 53;
/// The least exponent of a double's last digit.
const LEAST: i64 = -1074;

/// In two's complement. Limb `i` counts 2^(64·(low + i)).
#[derive(Debug, Clone, Default)]
pub(super) struct Wide {
    low: u32,
    limbs: Vec<u64>,
}

/// Without a sign: what a sum is worth when it is asked for.
#[derive(Debug)]
pub(super) struct Magnitude {
    low: u32,
    limbs: Vec<u64>,
    negative: bool,
}

impl Wide {
    /// Adds `value` · 2^`bit`; of the value at most 116 bits count, the rest is its sign.
    #[inline]
    pub(super) fn add(&mut self, value: i64, bit: u32) {
        let shifted = i128::from(value) << (bit % BITS);
        self.add_limbs(bit / BITS, &[shifted as u64, (shifted >> BITS) as u64]);
    }

    /// Adds `value`² · 2^`bit`.
    #[inline]
    pub(super) fn add_square(&mut self, value: i64, bit: u32) {
        let wide = u128::from(value.unsigned_abs());
        let (square, shift) = (wide * wide, bit % BITS);
        // A double has 53 digits, so its square leaves room for the shift and a sign.
        let low = u128::from(square as u64) << shift;
        let high = ((square >> BITS) << shift) + (low >> BITS);
        self.add_limbs(bit / BITS, &[low as u64, high as u64, (high >> BITS) as u64]);
    }

    pub(super) fn add_wide(&mut self, other: &Self) {
        if !other.limbs.is_empty() {
            self.add_limbs(other.low, &other.limbs);
        }
    }

    pub(super) fn subtract(&mut self, mut other: Self) {
        // A limb more, since the least number has no negative.
        other.limbs.push(other.fill());
        let mut carry = true;
        for limb in &mut other.limbs {
            (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
        }
        self.add_wide(&other);
    }

    /// There is always a limb above those that are added: 2⁶³ numbers fit it.
    #[inline]
    fn add_limbs(&mut self, low: u32, limbs: &[u64]) {
        let end = low + limbs.len() as u32 + 1;
        if low < self.low || end > self.low + self.limbs.len() as u32 {
            self.widen(low, end);
        }
        let (own, above) = self.limbs[(low - self.low) as usize..].split_at_mut(limbs.len());
        let mut carry = false;
        for (own, other) in own.iter_mut().zip(limbs) {
            (*own, carry) = sum(*own, *other, carry);
        }
        let fill = fill(limbs);
        for own in above {
            if carry == (fill != 0) {
                break;
            }
            (*own, carry) = sum(*own, fill, carry);
        }
    }

    #[cold]
    fn widen(&mut self, low: u32, end: u32) {
        if self.limbs.is_empty() {
            // Values are of about one magnitude: a limb below the first one's is mostly all that others need.
            self.low = low.saturating_sub(1);
            self.limbs.reserve_exact((end - self.low) as usize);
        } else if low < self.low {
            let more = (self.low - low) as usize;
            self.limbs.splice(..0, std::iter::repeat_n(0, more));
            self.low = low;
        }
        let length = self.limbs.len().max((end - self.low) as usize);
        let fill = self.fill();
        self.limbs.resize(length, fill);
    }

    fn fill(&self) -> u64 {
        fill(&self.limbs)
    }

    pub(super) fn magnitude(mut self) -> Magnitude {
        let negative = self.fill() != 0;
        if negative {
            let mut positive = Self::default();
            positive.subtract(self);
            self = positive;
        }
        Magnitude { low: self.low, limbs: self.limbs, negative }
    }

    /// The same number is the same bytes: where they begin, how many there are, and those that say something.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let bytes: Vec<u8> = self.limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let (first, bytes) = match bytes.len() - zeros {
            0 => (0, &[][..]),
            _ => (self.low as usize * BYTES + zeros, trimmed(&bytes[zeros..])),
        };
        out.extend_from_slice(&(first as u16).to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        out.extend_from_slice(bytes);
    }

    /// Takes what [`write`](Self::write) wrote off the front; `None`: it didn't write that.
    pub(super) fn read(state: &mut &[u8]) -> Option<Self> {
        let [first, length] = [take(state)?, take(state)?].map(u16::from_le_bytes);
        let (bytes, rest) = state.split_at_checked(usize::from(length))?;
        *state = rest;
        let (low, before) = (u32::from(first) / BYTES as u32, usize::from(first) % BYTES);
        let Some(last) = bytes.last() else { return Some(Self::default()) };
        let fill = if *last < 128 { 0 } else { 0xff };
        let mut limbs = vec![fill; (before + bytes.len()).next_multiple_of(BYTES)];
        limbs[..before].fill(0);
        limbs[before..before + bytes.len()].copy_from_slice(bytes);
        let limbs = limbs.as_chunks().0.iter().map(|limb| u64::from_le_bytes(*limb)).collect();
        Some(Self { low, limbs })
    }

    /// Bytes on the heap.
    pub(super) fn size(&self) -> usize {
        self.limbs.capacity() * BYTES
    }
}

/// Without the bytes that repeat the sign.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [rest @ .., before, last] = bytes {
        let fill = if *before < 128 { 0 } else { 0xff };
        if *last != fill {
            break;
        }
        bytes = &bytes[..rest.len() + 1];
    }
    bytes
}

impl Magnitude {
    /// Times itself.
    pub(super) fn squared(&self) -> Wide {
        let product = product(&self.limbs, &self.limbs);
        Wide { low: self.low * 2, limbs: product }
    }

    pub(super) fn times(&self, factor: u64) -> Wide {
        Wide { low: self.low, limbs: product(&self.limbs, &[factor]) }
    }

    /// The number · 2^`unit` ÷ `divisors`, rounded once, half to even.
    pub(super) fn rounded(mut self, unit: i64, divisors: &[u64]) -> f64 {
        // Each divisor takes 64 digits at most; a limb is left for those that count.
        let more = divisors.iter().filter(|divisor| **divisor != 1).count() * 2;
        self.limbs.splice(..0, std::iter::repeat_n(0, more));
        let mut rest = false;
        for divisor in divisors {
            rest |= divide(&mut self.limbs, *divisor);
        }
        let exponent = unit + i64::from(BITS) * (i64::from(self.low) - more as i64);
        let result = double(&self.limbs, exponent, rest);
        if self.negative { -result } else { result }
    }
}

#[inline]
fn sum(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// What the limbs above are.
fn fill(limbs: &[u64]) -> u64 {
    limbs.last().map_or(0, |last| ((*last as i64) >> (BITS - 1)) as u64)
}

/// A limb longer than both, so that it has a sign.
fn product(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut product = vec![0; a.len() + b.len() + 1];
    for (place, a) in a.iter().enumerate() {
        let mut carry = 0;
        for (own, b) in product[place..].iter_mut().zip(b) {
            let sum = u128::from(*a) * u128::from(*b) + u128::from(*own) + carry;
            (*own, carry) = (sum as u64, sum >> BITS);
        }
        product[place + b.len()] = carry as u64;
    }
    product
}

/// Whether there is a rest.
fn divide(limbs: &mut [u64], divisor: u64) -> bool {
    let mut rest = 0;
    for limb in limbs.iter_mut().rev() {
        let part = rest << BITS | u128::from(*limb);
        *limb = (part / u128::from(divisor)) as u64;
        rest = part % u128::from(divisor);
    }
    rest != 0
}

/// `limbs` · 2^`exponent`, and a little more where there is a rest.
fn double(limbs: &[u64], exponent: i64, rest: bool) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let length = (top as i64 + 1) * i64::from(BITS) - i64::from(limbs[top].leading_zeros());
    // Of the last digit of the result.
    let last = (exponent + length - DIGITS).max(LEAST);
    let dropped = last - exponent;
    if last > 971 {
        return f64::INFINITY;
    }
    let digits = bits(limbs, dropped);
    let half = dropped > 0 && bits(limbs, dropped - 1) & 1 == 1;
    let below = rest || (dropped > 1 && any_below(limbs, dropped - 1));
    let up = half && (below || digits & 1 == 1);
    (digits + u64::from(up)) as f64 * power_of_two(last)
}

/// 64 bits from bit `from` on; those before the first are zeros.
fn bits(limbs: &[u64], from: i64) -> u64 {
    if from < 0 {
        return limbs[0] << (-from).min(63);
    }
    let (place, shift) = (from as usize / 64, from as u32 % BITS);
    let limb = |place: usize| u128::from(limbs.get(place).copied().unwrap_or(0));
    ((limb(place) | limb(place + 1) << BITS) >> shift) as u64
}

fn any_below(limbs: &[u64], bit: i64) -> bool {
    let (place, shift) = (bit as usize / 64, bit as u32 % BITS);
    let part = limbs.get(place).is_some_and(|limb| limb & ((1 << shift) - 1) != 0);
    part || limbs.iter().take(place).any(|limb| *limb != 0)
}

fn power_of_two(exponent: i64) -> f64 {
    match exponent {
        -1022.. => f64::from_bits(((exponent + 1023) as u64) << 52),
        _ => f64::from_bits(1 << (exponent - LEAST)),
    }
}
