//! A gauge that holds a time, in seconds since 1970.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;

/// A time in seconds since 1970.
pub(super) type TimeGauge = Gauge<f64, AtomicU64>;

/// Seconds since 1970, to the millisecond.
pub(super) fn unix_seconds(time: Timestamp) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds are exact for a hundred thousand years"
    )]
    let milliseconds = time.as_millisecond() as f64;
    milliseconds / 1000.0
}
