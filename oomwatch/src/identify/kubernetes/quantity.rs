//! Parses a Kubernetes quantity (apimachinery `pkg/api/resource`).

/// Parses a quantity of bytes such as `40Mi`, `1.5G`, `129e6` or `128974848000m`, and rounds it up as the API server does.
/// Absent for malformed and negative quantities, and for more than `u64` holds.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let mut digits: u128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        digits = digits
            .checked_mul(10)?
            .checked_add(u128::from(digit - b'0'))?;
    }
    let places = i32::try_from(fraction.len()).ok()?;
    let (factor, exponent): (u128, i32) = match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let scaled = digits.checked_mul(factor)?;
    let exponent = exponent.checked_sub(places)?;
    let power = || 10_u128.checked_pow(exponent.unsigned_abs());
    let bytes = if scaled == 0 {
        0
    } else if exponent >= 0 {
        scaled.checked_mul(power()?)?
    } else {
        // A fraction below any representable one is rounded up to one byte too.
        power().map_or(1, |power| scaled.div_ceil(power))
    };
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_parsed() {
        for (text, bytes) in [
            ("0", 0),
            ("41943040", 41_943_040),
            ("40Mi", 40 << 20),
            ("1.5Gi", 3 << 29),
            (".5Ki", 512),
            ("5.", 5),
            ("+7", 7),
            ("129M", 129_000_000),
            ("129e6", 129_000_000),
            ("129E6", 129_000_000),
            ("1.29e+8", 129_000_000),
            ("2E", 2_000_000_000_000_000_000),
            ("128974848000m", 128_974_848),
            ("1m", 1),
            ("1e-400", 1),
            ("1500u", 1),
            ("0.000Ei", 0),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn malformed_quantities_are_absent() {
        for text in [
            "",
            ".",
            "Mi",
            "-5",
            "1 Mi",
            "1mi",
            "1Mi ",
            "1.2.3",
            "e6",
            "1e",
            "1ee6",
            "0x10",
            "1KiB",
            "20Ei",
            "99999999999999999999999999999999999999999999",
            "1e400",
            "١",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_absent(text in "\\PC*") {
            let _ = parse_bytes(&text);
        }

        #[test]
        fn plain_numbers_are_bytes(bytes: u64) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Some(bytes));
        }

        #[test]
        fn any_quantity_like_text_is_parsed_or_absent(text in "[+]?[0-9]{0,40}[.]?[0-9]{0,40}([numkMGTPEei+-]{0,3}|e-?[0-9]{1,12})") {
            let _ = parse_bytes(&text);
        }
    }
}
