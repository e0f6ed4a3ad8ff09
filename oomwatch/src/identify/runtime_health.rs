//! Whether a container runtime answers, and so whether a kill waits for it. Pure: the caller passes the clock.

use std::time::{Duration, Instant};

use crate::model::cgroup::Runtime;

/// How long a runtime that failed is not queried.
const RETRY: Duration = Duration::from_secs(5);

/// A runtime that may be queried; up until it fails.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuntimeHealth {
    /// The runtime behind the socket, as far as it says so.
    runtime: Option<Runtime>,
    failed_at: Option<Instant>,
}

impl RuntimeHealth {
    pub(super) fn set_up(&mut self, runtime: Option<Runtime>) {
        *self = Self {
            runtime,
            failed_at: None,
        };
    }

    pub(super) fn set_down(&mut self, now: Instant) {
        self.failed_at = Some(now);
    }

    pub(super) fn is_up(&self) -> bool {
        self.failed_at.is_none()
    }

    /// Whether to query it for a kill that arrived at `now`: also while it is down, once some time has passed since its last
    /// failure. Nothing but a kill makes a runtime that is down be queried.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.failed_at
            .is_none_or(|failed_at| now.saturating_duration_since(failed_at) > RETRY)
    }

    /// Whether a container of `runtime` can be behind this socket; an unknown runtime can be any.
    pub(super) fn may_have(&self, runtime: Option<Runtime>) -> bool {
        runtime.is_none() || self.runtime.is_none() || runtime == self.runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_that_failed_is_queried_again_after_a_while_and_until_it_answers() {
        let start = Instant::now();
        let mut health = RuntimeHealth::default();
        assert!(health.is_up() && health.is_open(start));
        health.set_down(start);
        assert!(!health.is_up());
        assert!(!health.is_open(start) && !health.is_open(start + RETRY));
        let later = start + RETRY + Duration::from_millis(1);
        assert!(health.is_open(later));
        health.set_down(later);
        assert!(!health.is_open(later + RETRY));
        health.set_up(None);
        assert!(health.is_up() && health.is_open(later));
    }

    #[test]
    fn socket_may_have_containers_of_its_own_and_of_unknown_runtimes() {
        let mut health = RuntimeHealth::default();
        assert!(health.may_have(Some(Runtime::CriO)));
        health.set_up(Some(Runtime::Containerd));
        assert!(health.may_have(None) && health.may_have(Some(Runtime::Containerd)));
        assert!(!health.may_have(Some(Runtime::CriO)));
    }
}
