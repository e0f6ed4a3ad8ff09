//! The rate at which connections are accepted.

use std::time::{Duration, Instant};

/// Connections that are accepted within `INTERVAL`.
const MAX_PER_INTERVAL: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(250);

/// The connections of the current interval.
#[derive(Debug, Default)]
pub(super) struct AcceptRate {
    /// Absent before the first connection.
    begun: Option<Instant>,
    accepted: u32,
}

impl AcceptRate {
    /// Counts a connection. Returns how long the next one waits in the kernel's queue.
    pub(super) fn count(&mut self, now: Instant) -> Option<Duration> {
        let begun = *self.begun.get_or_insert(now);
        let elapsed = now.saturating_duration_since(begun);
        if elapsed >= INTERVAL {
            self.begun = Some(now);
            self.accepted = 0;
        }
        self.accepted += 1;
        (self.accepted >= MAX_PER_INTERVAL).then(|| {
            self.begun = None;
            self.accepted = 0;
            INTERVAL.saturating_sub(elapsed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_bounded_and_few_connections_do_not_wait() {
        for (step, expected) in [
            (Duration::from_micros(1), 256),
            (Duration::from_millis(1), 256),
            (Duration::from_millis(10), 100),
        ] {
            let mut rate = AcceptRate::default();
            let (began, mut passed, mut accepted) = (Instant::now(), Duration::ZERO, 0);
            while passed < Duration::from_secs(1) {
                let pause = rate.count(began + passed);
                accepted += 1;
                passed += step + pause.unwrap_or_default();
            }
            assert_eq!(accepted, expected, "{step:?}");
        }
    }
}
