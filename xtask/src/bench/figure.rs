//! Figures: percentiles, how they are written, and the rows of the table.

use std::time::Duration;

/// A row of the table.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    what: String,
    measured: String,
    /// The budget, and whether it is kept.
    budget: Option<(String, bool)>,
}

impl Row {
    /// A figure without a budget.
    pub(super) fn plain(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            measured: measured.into(),
            budget: None,
        }
    }

    pub(super) fn judged(
        what: impl Into<String>,
        measured: impl Into<String>,
        budget: impl Into<String>,
        within: bool,
    ) -> Self {
        Self {
            budget: Some((budget.into(), within)),
            ..Self::plain(what, measured)
        }
    }

    /// A time that may not be longer than `budget`.
    pub(super) fn time(what: impl Into<String>, measured: Duration, budget: Duration) -> Self {
        Self::judged(what, time(measured), time(budget), measured <= budget)
    }

    /// A size that may not be larger than `budget`.
    pub(super) fn size(what: impl Into<String>, bytes: u64, budget: u64) -> Self {
        Self::judged(what, size(bytes), size(budget), bytes <= budget)
    }

    /// A number that has to be `budget`, no more and no less.
    pub(super) fn number(what: impl Into<String>, measured: u64, budget: u64) -> Self {
        Self::judged(
            what,
            measured.to_string(),
            budget.to_string(),
            measured == budget,
        )
    }

    /// For the head `what`, `measured`, `budget`, `verdict`.
    pub(super) fn cells(&self) -> [String; 4] {
        let (budget, verdict) = match &self.budget {
            Some((budget, true)) => (budget.as_str(), "within"),
            Some((budget, false)) => (budget.as_str(), "over"),
            None => ("", ""),
        };
        [&self.what, &self.measured, budget, verdict].map(str::to_owned)
    }
}

/// Measured times, in order.
#[derive(Debug)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The nearest rank: the least time that so many of a hundred do not exceed. Zero if there are none.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0
            .get(rank - 1)
            .or(self.0.last())
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(super) fn longest(&self) -> Duration {
        self.percentile(100)
    }
}

/// Three figures or so, in the unit that fits.
pub(super) fn time(time: Duration) -> String {
    if time >= Duration::from_millis(1) {
        format!("{:.2} ms", time.as_secs_f64() * 1e3)
    } else if time >= Duration::from_micros(1) {
        format!("{:.1} µs", time.as_secs_f64() * 1e6)
    } else {
        format!("{} ns", time.as_nanos())
    }
}

pub(super) fn size(bytes: u64) -> String {
    let hundredths = (u128::from(bytes) * 100) >> 20;
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_nearest_rank() {
        let times = Times::new((1..=200).rev().map(Duration::from_millis).collect());
        for (percent, milliseconds) in [(0, 1), (1, 2), (50, 100), (99, 198), (100, 200)] {
            assert_eq!(
                times.percentile(percent),
                Duration::from_millis(milliseconds),
                "{percent}"
            );
        }
        let one = Times::new(vec![Duration::from_secs(7)]);
        assert_eq!((one.median(), one.longest()), (one.0[0], one.0[0]));
    }

    #[test]
    fn percentile_of_nothing_is_zero() {
        assert_eq!(Times::new(Vec::new()).percentile(99), Duration::ZERO);
    }

    #[test]
    fn figures_are_written_in_the_unit_that_fits() {
        assert_eq!(time(Duration::from_nanos(999)), "999 ns");
        assert_eq!(time(Duration::from_micros(1)), "1.0 µs");
        assert_eq!(time(Duration::from_nanos(10_740)), "10.7 µs");
        assert_eq!(time(Duration::from_micros(3_126)), "3.13 ms");
        assert_eq!(time(Duration::from_secs(2)), "2000.00 ms");
        assert_eq!(size(0), "0.00 MiB");
        assert_eq!(size(5_864 * 1024), "5.72 MiB");
        assert_eq!(size(10 << 20), "10.00 MiB");
    }

    #[test]
    fn budget_is_kept_up_to_its_own_value() {
        let verdict = |row: &Row| row.cells()[3].clone();
        let ms = Duration::from_millis;
        assert_eq!(verdict(&Row::time("a", ms(100), ms(100))), "within");
        assert_eq!(verdict(&Row::time("a", ms(101), ms(100))), "over");
        assert_eq!(verdict(&Row::size("a", 6 << 20, 6 << 20)), "within");
        assert_eq!(verdict(&Row::size("a", (6 << 20) + 1, 6 << 20)), "over");
        assert_eq!(verdict(&Row::number("a", 2_000, 2_000)), "within");
        assert_eq!(verdict(&Row::number("a", 2_001, 2_000)), "over");
        assert_eq!(Row::plain("a", "b").cells(), ["a", "b", "", ""]);
    }
}
