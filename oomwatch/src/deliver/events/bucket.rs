//! A token bucket.

use serde::{Deserialize, Serialize};

pub(super) const SECOND_NS: u64 = 1_000_000_000;
const NS_PER_SECOND: f64 = 1e9;

/// The fill rate and the capacity of a bucket, in tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

/// The number of tokens at a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Bucket {
    tokens: f64,
    at_ns: u64,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now_ns: u64) -> Self {
        Self {
            tokens: rate.burst,
            at_ns: now_ns,
        }
    }

    /// Takes one token if there is one; returns whether there was.
    pub(super) fn try_take(&mut self, rate: Rate, now_ns: u64) -> bool {
        self.tokens = self.tokens_at(rate, now_ns);
        self.at_ns = self.at_ns.max(now_ns);
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// When a token is available: `now_ns` or later.
    pub(super) fn ready_ns(&self, rate: Rate, now_ns: u64) -> u64 {
        let lacking = 1.0 - self.tokens_at(rate, now_ns);
        if lacking <= 0.0 {
            return now_ns;
        }
        // Rounded up by a microsecond, so that the token is there at that time.
        now_ns.saturating_add(to_ns(lacking / rate.per_second) + 1000)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a bucket is full long before the precision matters"
    )]
    fn tokens_at(&self, rate: Rate, now_ns: u64) -> f64 {
        let elapsed = now_ns.saturating_sub(self.at_ns) as f64 / NS_PER_SECOND;
        (self.tokens + elapsed * rate.per_second).min(rate.burst)
    }
}

/// Converts seconds, which must not be negative, to nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates"
)]
pub(super) fn to_ns(seconds: f64) -> u64 {
    (seconds * NS_PER_SECOND) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 0.5,
        burst: 3.0,
    };

    #[test]
    fn bucket_gives_its_burst_and_then_at_its_rate() {
        let mut bucket = Bucket::full(RATE, 0);
        let burst = [(); 4].map(|()| bucket.try_take(RATE, 0));
        assert_eq!(burst, [true, true, true, false]);
        let ready = bucket.ready_ns(RATE, 0);
        assert!(
            (2 * SECOND_NS..2 * SECOND_NS + 10_000).contains(&ready),
            "{ready}"
        );
        assert!(!bucket.try_take(RATE, ready - SECOND_NS));
        assert!(bucket.try_take(RATE, ready));
        assert!(!bucket.try_take(RATE, ready));
    }

    #[test]
    fn bucket_never_holds_more_than_its_burst() {
        let mut bucket = Bucket::full(RATE, 0);
        let later = 1_000_000 * SECOND_NS;
        let burst = [(); 4].map(|()| bucket.try_take(RATE, later));
        assert_eq!(burst, [true, true, true, false]);
        // A time that goes back gives no token, then or later.
        assert!(!bucket.try_take(RATE, 0));
        assert!(!bucket.try_take(RATE, later));
    }
}
