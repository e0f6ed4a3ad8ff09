//! Delays between retries: longer each time, and random, so that agents do not retry in step.

use std::time::Duration;

use crate::sys::random;

/// The first bound.
const FIRST: Duration = Duration::from_millis(500);
/// The largest bound.
const LONGEST: Duration = Duration::from_secs(30);

/// Full jitter: a random delay up to a bound that doubles with each retry.
#[derive(Debug)]
pub(super) struct Backoff {
    bound: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { bound: FIRST }
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.bound = FIRST;
    }

    /// The delay before the next retry.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(LONGEST);
        bound.mul_f64(1.0 - random::fraction())
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
