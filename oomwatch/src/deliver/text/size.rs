//! Sizes in columns.

use crate::sys::size::scale;

/// A size with at most one decimal place, such as `39.5MiB`; `-` if it is not known.
#[must_use]
pub fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    let (tenths, unit) = scale(bytes);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{unit}"),
        (whole, tenth) => format!("{whole}.{tenth}{unit}"),
    }
}

/// A size of at most six characters, such as `39.5Mi` or `508Mi`; `-` if it is not known.
pub(super) fn brief_size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    let (tenths, unit) = scale(bytes);
    let unit = unit
        .strip_suffix("iB")
        .map_or_else(|| unit.to_owned(), |unit| format!("{unit}i"));
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if tenth != 0 && whole < 100 => format!("{whole}.{tenth}{unit}"),
        (whole, tenth) => format!("{}{unit}", whole + u128::from(tenth >= 5)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_are_short_and_never_1024_of_a_unit() {
        for (bytes, expected) in [
            (0, "0B"),
            (1, "1B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1025, "1KiB"),
            (1076, "1.1KiB"),
            (1536, "1.5KiB"),
            (1023 * 1024, "1023KiB"),
            (1023 * 1024 + 512, "1023.5KiB"),
            (MIB - 52, "1023.9KiB"),
            (MIB - 51, "1MiB"),
            (MIB - 1, "1MiB"),
            (MIB, "1MiB"),
            (41_422_848, "39.5MiB"),
            (40 * MIB, "40MiB"),
            (1000 * MIB, "1000MiB"),
            (1024 * MIB - 1, "1GiB"),
            (1024 * MIB, "1GiB"),
            (u64::from(u32::MAX), "4GiB"),
            (1 << 40, "1TiB"),
            (1 << 50, "1024TiB"),
            (u64::MAX, "16777216TiB"),
        ] {
            assert_eq!(size(Some(bytes)), expected, "{bytes}");
        }
        assert_eq!(size(None), "-");
    }

    #[test]
    fn sizes_below_a_pebibyte_fit_their_column() {
        for shift in 0..50 {
            for bytes in [
                (1 << shift) - 1,
                1 << shift,
                (1 << shift) + (1 << shift) / 3,
            ] {
                let text = size(Some(bytes));
                assert!(text.len() <= 9, "{bytes}: {text}");
            }
        }
    }

    #[test]
    fn brief_sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1Ki"),
            (1536, "1.5Ki"),
            (41_422_848, "39.5Mi"),
            (512 * MIB, "512Mi"),
            (532_466_892, "508Mi"),
            (1024 * MIB, "1Gi"),
            (1 << 50, "1024Ti"),
        ] {
            assert_eq!(brief_size(Some(bytes)), expected, "{bytes}");
        }
        assert_eq!(brief_size(None), "-");
        for shift in 0..50 {
            for bytes in [
                (1 << shift) - 1,
                1 << shift,
                (1 << shift) + (1 << shift) / 3,
            ] {
                let text = brief_size(Some(bytes));
                assert!(text.len() <= 6, "{bytes}: {text}");
            }
        }
    }
}
