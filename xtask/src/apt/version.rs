//! The order of Debian's version numbers, as deb-version(7) defines it: `[epoch:]upstream[-revision]`.

use std::cmp::Ordering;

/// Whether `left` is older than, the same as, or newer than `right`.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (Version::split(left), Version::split(right));
    compare_digits(left.epoch, right.epoch)
        .then_with(|| compare_part(left.upstream, right.upstream))
        .then_with(|| compare_part(left.revision, right.revision))
}

struct Version<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    fn split(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self {
            epoch,
            upstream,
            revision,
        }
    }
}

/// Alternates between a run of other characters, in dpkg's order, and a run of digits, as a number.
fn compare_part(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split_run(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split_run(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_rest) = split_run(left_rest, |byte| byte.is_ascii_digit());
        let (right_number, right_rest) = split_run(right_rest, |byte| byte.is_ascii_digit());
        let order = compare_text(left_text, right_text)
            .then_with(|| compare_digits(left_number, right_number));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split_run(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|&(at, _)| !belongs(text.as_bytes()[at]))
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

fn compare_text(left: &str, right: &str) -> Ordering {
    let length = left.len().max(right.len());
    let weights = |text: &str| -> Vec<u32> {
        text.bytes()
            .map(weight)
            .chain(std::iter::repeat(END))
            .take(length)
            .collect()
    };
    weights(left).cmp(&weights(right))
}

const END: u32 = 1;

/// `~` sorts before the end, letters before everything else.
fn weight(byte: u8) -> u32 {
    match byte {
        b'~' => 0,
        byte if byte.is_ascii_alphabetic() => u32::from(byte) + 1,
        byte => u32::from(byte) + 0x100,
    }
}

/// Compares numbers of any length, without leading zeros.
fn compare_digits(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        let ascending = [
            "1.0~rc1-1",
            "1.0-1~bpo13+1",
            "1.0-1",
            "1.0-1+deb13u1",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.1-1",
            "5.10.218-1",
            "5.10.262-1",
            "6.1.99-1",
            "6.1.192-1",
            "6.1.192-2",
            "7.2.12-1~bpo13+1",
            "7.3.4-1~bpo13+1",
            "1:0.1-1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn same_numbers_are_equal_however_written() {
        for (left, right) in [
            ("", ""),
            ("1.0", "1.0"),
            ("1.0", "1.00"),
            ("0:1", "1"),
            ("1", "1-0"),
        ] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn malformed_versions_have_an_order_too() {
        for odd in [":", "-", "~", "::--", "ä-ö", "99999999999999999999999999"] {
            assert_eq!(compare(odd, odd), Ordering::Equal, "{odd}");
            assert_eq!(
                compare(odd, "1.0-1"),
                compare("1.0-1", odd).reverse(),
                "{odd}"
            );
        }
    }
}
