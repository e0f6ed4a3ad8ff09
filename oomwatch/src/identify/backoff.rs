//! How long to wait before something is tried again: longer each time, and never in step with others.

use std::time::Duration;

use crate::sys::random;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Full jitter: anything up to a bound that doubles.
#[derive(Debug)]
pub(super) struct Backoff {
    bound: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { bound: FIRST }
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.bound = FIRST;
    }

    /// It did not: how long to wait now.
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
    fn waits_are_bounded_and_grow() {
        let mut backoff = Backoff::new();
        let mut bound = FIRST;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(wait > Duration::ZERO && wait <= bound, "{wait:?} {bound:?}");
            bound = (bound * 2).min(LONGEST);
        }
        assert_eq!(backoff.bound, LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
