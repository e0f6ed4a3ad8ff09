//! Delays between retries: longer each time, and random, so that agents do not retry in step.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// The first bound.
const FIRST: Duration = Duration::from_millis(500);
/// The largest bound.
const LONGEST: Duration = Duration::from_secs(30);

/// Full jitter: a random delay up to a bound that doubles with each retry.
#[derive(Debug)]
pub(super) struct Backoff {
    bound: Duration,
    random: RandomState,
    tries: u64,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            bound: FIRST,
            random: RandomState::new(),
            tries: 0,
        }
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.bound = FIRST;
    }

    /// The delay before the next retry.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(LONGEST);
        self.tries += 1;
        let thousandths = u32::try_from(self.random.hash_one(self.tries) % 1000).unwrap_or(0);
        bound * (thousandths + 1) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_bounded_and_grow() {
        let mut backoff = Backoff::new();
        let mut bound = FIRST;
        for _ in 0..20 {
            let delay = backoff.next();
            assert!(
                delay > Duration::ZERO && delay <= bound,
                "{delay:?} {bound:?}"
            );
            bound = (bound * 2).min(LONGEST);
        }
        assert_eq!(backoff.bound, LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
