//! [`Double`]: arithmetic of two floats a number, by error-free transformations.
//!
//! Source: T. J. Dekker, "A floating-point technique for extending the available precision",
//! Numerische Mathematik 18 (1971); the product is split by a fused multiply-add.

/// A product and what it lacks; nothing where it is beyond all floats.
pub(super) fn product(left: f64, right: f64) -> (f64, f64) {
    let product = left * right;
    let rest = if product.is_finite() { left.mul_add(right, -product) } else { 0.0 };
    (product, rest)
}

/// A rest beside which the product itself is infinite says nothing.
pub(super) fn finite(rest: f64) -> f64 {
    if rest.is_finite() { rest } else { 0.0 }
}

/// A number as the sum of two floats, the second below the last bit of the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Double {
    pub(super) high: f64,
    low: f64,
}

impl Double {
    /// A whole number, of which two floats hold 106 bits.
    pub(super) fn whole(number: i128) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "the rest is what it lacks")]
        let high = number as f64;
        #[expect(clippy::cast_possible_truncation, reason = "no sum of products is near 2¹²⁷")]
        let rest = number.wrapping_sub(high as i128);
        #[expect(clippy::cast_precision_loss, reason = "rounds to nearest")]
        let low = rest as f64;
        Self::sum(high, low)
    }

    /// The sum of two floats, and what it lacks.
    pub(super) fn sum(left: f64, right: f64) -> Self {
        let high = left + right;
        if !high.is_finite() {
            return Self { high, low: 0.0 };
        }
        let shadow = high - left;
        Self { high, low: (left - (high - shadow)) + (right - shadow) }
    }

    /// Times a float.
    pub(super) fn times(self, factor: f64) -> Self {
        let (high, rest) = product(self.high, factor);
        Self::sum(high, finite(self.low * factor + rest))
    }

    /// The number; zero where it is no more than the noise of what it was computed from.
    pub(super) fn settled(self, from: f64) -> f64 {
        let noise = from.abs() * 2f64.powi(-101);
        if noise.is_finite() && self.high.abs() <= noise { 0.0 } else { self.high }
    }
}

impl std::ops::Add for Double {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let first = Self::sum(high.high, high.low + low.high);
        Self::sum(first.high, first.low + low.low)
    }
}

impl std::ops::Sub for Double {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { high: -other.high, low: -other.low }
    }
}

impl std::ops::Mul for Double {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let (high, rest) = product(self.high, other.high);
        let cross = self.high * other.low + self.low * other.high;
        Self::sum(high, finite(rest + cross))
    }
}

/// The greater of a number and a bound; NaN stays.
pub(super) trait AtLeast {
    fn max_or_nan(self, bound: f64) -> f64;
}

impl AtLeast for f64 {
    fn max_or_nan(self, bound: f64) -> f64 {
        if self < bound { bound } else { self }
    }
}
