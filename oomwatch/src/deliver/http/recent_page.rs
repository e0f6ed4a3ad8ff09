//! A page that is made a few times a second at most, however often it is asked for.

use std::time::{Duration, Instant};

use hyper::body::Bytes;

/// How often the page is made within `INTERVAL`: for several scrapers, and people.
const MAX_PER_INTERVAL: u32 = 8;
const INTERVAL: Duration = Duration::from_secs(1);

/// The page as it was made last.
#[derive(Debug, Default)]
pub(super) struct RecentPage {
    /// Absent before the first request.
    begun: Option<Instant>,
    made: u32,
    page: Bytes,
}

impl RecentPage {
    /// The page, recreated unless that was done too often in this interval.
    pub(super) fn get(&mut self, now: Instant, make: impl FnOnce() -> Bytes) -> Bytes {
        let is_new = self
            .begun
            .is_none_or(|begun| now.saturating_duration_since(begun) >= INTERVAL);
        if is_new {
            self.begun = Some(now);
            self.made = 0;
        }
        if self.made < MAX_PER_INTERVAL {
            self.made += 1;
            self.page = make();
        }
        self.page.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_current_for_few_requests_and_recent_for_many() {
        let mut page = RecentPage::default();
        let began = Instant::now();
        let mut made = 0;
        for millisecond in 0..2000 {
            let now = began + Duration::from_millis(millisecond);
            page.get(now, || {
                made += 1;
                Bytes::from(made.to_string())
            });
        }
        assert_eq!(made, 2 * MAX_PER_INTERVAL);
        let now = began + Duration::from_secs(10);
        assert_eq!(page.get(now, || Bytes::from_static(b"new")), "new");
    }
}
