//! Sizes in binary units.

const UNITS: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB"];

/// Tenths of a unit and the unit: less than 1024 of it where there is a larger one.
#[must_use]
pub(crate) fn scale(bytes: u64) -> (u128, &'static str) {
    let mut unit = UNITS[0];
    let mut tenths = u128::from(bytes) * 10;
    for larger in &UNITS[1..] {
        // 1024 of a unit are written as 1 of the next.
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    (tenths, unit)
}
