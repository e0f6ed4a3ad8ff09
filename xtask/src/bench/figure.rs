//! Figures: percentiles, their text, and the rows of the table.

use std::time::Duration;

/// A row of the table.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    name: String,
    measured: String,
    /// The budget, and whether the figure is within it.
    budget: Option<(String, bool)>,
}

impl Row {
    /// A figure without a budget.
    pub(super) fn plain(name: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            measured: measured.into(),
            budget: None,
        }
    }

    pub(super) fn with_budget(
        name: impl Into<String>,
        measured: impl Into<String>,
        budget: impl Into<String>,
        within: bool,
    ) -> Self {
        Self {
            budget: Some((budget.into(), within)),
            ..Self::plain(name, measured)
        }
    }

    /// A time of at most `budget`.
    pub(super) fn time(name: impl Into<String>, measured: Duration, budget: Duration) -> Self {
        Self::with_budget(name, time(measured), time(budget), measured <= budget)
    }

    /// A size of at most `budget`.
    pub(super) fn size(name: impl Into<String>, bytes: u64, budget: u64) -> Self {
        Self::with_budget(name, size(bytes), size(budget), bytes <= budget)
    }

    /// A number that has to equal `budget`.
    pub(super) fn number(name: impl Into<String>, measured: u64, budget: u64) -> Self {
        Self::with_budget(
            name,
            measured.to_string(),
            budget.to_string(),
            measured == budget,
        )
    }

    /// For the head `figure`, `measured`, `budget`, `result`.
    pub(super) fn cells(&self) -> [String; 4] {
        let (budget, result) = match &self.budget {
            Some((budget, true)) => (budget.as_str(), "within"),
            Some((budget, false)) => (budget.as_str(), "over"),
            None => ("", ""),
        };
        [&self.name, &self.measured, budget, result].map(str::to_owned)
    }
}

/// Measured times, sorted.
#[derive(Debug)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Percentile by nearest rank; zero if there are no times.
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

/// About three digits, in the largest unit that fits.
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
    fn unit_depends_on_the_value() {
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
    fn budget_includes_its_own_value() {
        let result = |row: &Row| row.cells()[3].clone();
        let ms = Duration::from_millis;
        assert_eq!(result(&Row::time("a", ms(100), ms(100))), "within");
        assert_eq!(result(&Row::time("a", ms(101), ms(100))), "over");
        assert_eq!(result(&Row::size("a", 6 << 20, 6 << 20)), "within");
        assert_eq!(result(&Row::size("a", (6 << 20) + 1, 6 << 20)), "over");
        assert_eq!(result(&Row::number("a", 2_000, 2_000)), "within");
        assert_eq!(result(&Row::number("a", 2_001, 2_000)), "over");
        assert_eq!(Row::plain("a", "b").cells(), ["a", "b", "", ""]);
    }
}
