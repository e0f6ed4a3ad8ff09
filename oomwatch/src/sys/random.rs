//! Random numbers for jitter; not for secrets.

use std::hash::{BuildHasher as _, RandomState};

/// A random number of at least 0 and less than 1. Each hasher state of the standard library has random keys.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are what a float can hold"
)]
pub(crate) fn fraction() -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    let bits = RandomState::new().hash_one(()) >> (u64::BITS - BITS);
    bits as f64 / (1_u64 << BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_spread_over_the_whole_range() {
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let fraction = fraction();
            assert!((0.0..1.0).contains(&fraction), "{fraction}");
            let tenth = (1..=9)
                .filter(|tenth| fraction * 10.0 >= f64::from(*tenth))
                .count();
            tenths[tenth] += 1;
        }
        // Each has 100 on average, with a standard deviation below 10.
        assert!(tenths.iter().all(|&count| count > 20), "{tenths:?}");
    }
}
