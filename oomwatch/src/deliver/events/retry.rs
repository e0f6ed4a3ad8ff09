//! When a failed request is repeated.

use std::time::Duration;

use super::bucket::{SECOND_NS, to_ns};

/// The bound of the delay after the first failure, in seconds; it doubles with each further failure.
const FIRST_BOUND: f64 = 1.0;
/// The largest bound, in seconds.
const MAX_BOUND: f64 = 60.0;
/// The largest `Retry-After` that is respected, in seconds: a wrong one must not end the delivery.
const MAX_RETRY_AFTER: u64 = 300;

/// The time of the next attempt, with full jitter: the delay is `random` (at least 0, less than 1) of the bound, so that agents
/// whose requests failed together do not retry together. The server's `Retry-After`, of at most five minutes, is added.
pub(super) fn due_ns(
    now_ns: u64,
    failures: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> u64 {
    let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let bound = (FIRST_BOUND * 2_f64.powi(doublings.min(16))).min(MAX_BOUND);
    let retry_after = retry_after.map_or(0, |after| after.as_secs().min(MAX_RETRY_AFTER));
    now_ns
        .saturating_add(retry_after * SECOND_NS)
        .saturating_add(to_ns(bound * random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_any_up_to_a_bound_that_doubles() {
        for (failures, bound) in [(1, 1), (2, 2), (3, 4), (7, 60), (1000, 60), (u32::MAX, 60)] {
            assert_eq!(due_ns(5, failures, None, 0.0), 5);
            assert_eq!(
                due_ns(5, failures, None, 0.5),
                5 + bound * SECOND_NS / 2,
                "{failures}"
            );
        }
    }

    #[test]
    fn retry_after_is_added_to_the_delay() {
        let after = Some(Duration::from_secs(7));
        assert_eq!(due_ns(0, 1, after, 0.0), 7 * SECOND_NS);
        assert_eq!(due_ns(0, 1, after, 0.5), 7 * SECOND_NS + SECOND_NS / 2);
        for never in [301, 3600, u64::MAX] {
            let never = Some(Duration::from_secs(never));
            assert_eq!(due_ns(0, 1, never, 0.0), 300 * SECOND_NS);
        }
    }
}
