//! Wide two's-complement integers of a fixed number of 64-bit limbs, least significant first: just what exact sums need.

/// An integer of `N · 64` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed<const N: usize>(pub(crate) [u64; N]);

impl<const N: usize> Fixed<N> {
    pub(crate) const ZERO: Self = Fixed([0; N]);

    /// Adds `± value · 2^shift`, modulo 2^(64 N). `value << shift` must lie within the limbs.
    #[inline]
    pub(crate) fn add_shifted(&mut self, negative: bool, value: u128, shift: u32) {
        let limb = (shift / 64) as usize;
        let bit = shift % 64;
        let low = value << bit;
        let high = if bit == 0 { 0 } else { (value >> (128 - bit)) as u64 };
        let parts = [low as u64, (low >> 64) as u64, high];
        let mut carry = false;
        for (index, slot) in self.0.iter_mut().enumerate().skip(limb) {
            let part = parts.get(index - limb).copied().unwrap_or(0);
            if index >= limb + parts.len() && !carry {
                break;
            }
            (*slot, carry) =
                if negative { borrowing_sub(*slot, part, carry) } else { carrying_add(*slot, part, carry) };
        }
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.0[N - 1] >> 63 == 1
    }

    /// The absolute value; `2^(64 N − 1)` stands for itself.
    pub(crate) fn magnitude(&self) -> Self {
        if !self.is_negative() {
            return *self;
        }
        let mut magnitude = Self::ZERO;
        let mut carry = true;
        for (to, from) in magnitude.0.iter_mut().zip(self.0) {
            (*to, carry) = carrying_add(!from, 0, carry);
        }
        magnitude
    }

    /// `self − other`, modulo.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut difference = Self::ZERO;
        let mut borrow = false;
        for index in 0..N {
            (difference.0[index], borrow) = borrowing_sub(self.0[index], other.0[index], borrow);
        }
        difference
    }

    /// The top 128 bits of an unsigned value, the power of two they stand at, and whether anything non-zero lies below.
    pub(crate) fn top(&self) -> (u128, u32, bool) {
        let Some(highest) = (0..N).rev().find(|&index| self.0[index] != 0) else {
            return (0, 0, false);
        };
        let at = |index: Option<usize>| index.map_or(0, |index| self.0[index]);
        let (first, second, third) = (self.0[highest], at(highest.checked_sub(1)), at(highest.checked_sub(2)));
        let lead = first.leading_zeros();
        let joined = u128::from(first) << 64 | u128::from(second);
        let top = if lead == 0 { joined } else { joined << lead | u128::from(third >> (64 - lead)) };
        let below_third = third << lead;
        let sticky = below_third != 0 || self.0[..highest.saturating_sub(2)].iter().any(|&limb| limb != 0);
        // `top` is the value divided by 2^(64·(highest − 1) − lead); below limb 1 the division is exact upwards.
        let exponent = 64 * highest as i64 - 64 - i64::from(lead);
        if exponent < 0 { (top >> -exponent, 0, false) } else { (top, exponent as u32, sticky) }
    }
}

/// The product of two unsigned values; `A + B` limbs must not exceed `C`.
pub(crate) fn product<const A: usize, const B: usize, const C: usize>(a: &[u64; A], b: &[u64; B]) -> Fixed<C> {
    let mut result = Fixed::ZERO;
    for (i, &x) in a.iter().enumerate() {
        if x == 0 {
            continue;
        }
        let mut carry = 0u64;
        for (j, &y) in b.iter().enumerate() {
            let sum = u128::from(x) * u128::from(y) + u128::from(result.0[i + j]) + u128::from(carry);
            result.0[i + j] = sum as u64;
            carry = (sum >> 64) as u64;
        }
        if i + B < C {
            result.0[i + B] = carry;
        }
    }
    result
}

#[inline]
fn carrying_add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

#[inline]
fn borrowing_sub(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first | second)
}
