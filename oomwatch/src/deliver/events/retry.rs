//! When something that failed is tried again.

use std::time::Duration;

use super::bucket::{SECOND_NS, to_ns};

/// The longest pause after a first failure, twice as long after each further one.
const FIRST: f64 = 1.0;
/// The longest of all.
const LONGEST: f64 = 60.0;

/// With full jitter: a pause of any length up to the longest, so that many who failed together do not come back together.
/// What the server asks for comes on top.
pub(super) fn due_ns(now_ns: u64, failures: u32, after: Option<Duration>, random: f64) -> u64 {
    let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let longest = (FIRST * 2_f64.powi(doublings.min(16))).min(LONGEST);
    let asked_ns = after.map_or(0, |after| after.as_secs().saturating_mul(SECOND_NS));
    now_ns
        .saturating_add(asked_ns)
        .saturating_add(to_ns(longest * random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_is_any_up_to_one_that_doubles() {
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (7, 60), (1000, 60), (u32::MAX, 60)] {
            assert_eq!(due_ns(5, failures, None, 0.0), 5);
            assert_eq!(
                due_ns(5, failures, None, 0.5),
                5 + longest * SECOND_NS / 2,
                "{failures}"
            );
        }
    }

    #[test]
    fn server_is_not_asked_again_before_it_wants_to_be() {
        let after = Some(Duration::from_secs(7));
        assert_eq!(due_ns(0, 1, after, 0.0), 7 * SECOND_NS);
        assert_eq!(due_ns(0, 1, after, 0.5), 7 * SECOND_NS + SECOND_NS / 2);
        let never = Some(Duration::from_secs(u64::MAX));
        assert_eq!(due_ns(1, 1, never, 0.5), u64::MAX);
    }
}
