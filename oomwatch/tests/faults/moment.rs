//! Moments at which things happen: by chance, and the same again from the same seed.

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Chance, from a seed (`SplitMix64`).
pub(crate) struct Chance(u64);

impl Chance {
    /// From `OOMWATCH_SEED`, else a seed of its own; which one is printed.
    pub(crate) fn new() -> Self {
        let given = env::var("OOMWATCH_SEED")
            .ok()
            .map(|seed| seed.parse().expect("OOMWATCH_SEED is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
        eprintln!("OOMWATCH_SEED={seed}");
        Self(seed)
    }

    /// Less than this.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Shorter than this.
    pub(crate) fn time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).expect("a short time")))
    }
}
