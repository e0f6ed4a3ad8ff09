//! Words and decimal numbers in the text of the kernel log.

/// Parses a decimal number: digits alone, at least one, no sign, no spaces.
pub(crate) fn parse_number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    text.iter().all(u8::is_ascii_digit).then_some(())?;
    str::from_utf8(text).ok()?.parse().ok()
}

/// Parses a number of what the kernel calls kB and means as KiB; the result is in bytes.
pub(super) fn parse_kib(text: &[u8]) -> Option<u64> {
    parse_number::<u64>(text).map(|kib| kib.saturating_mul(1024))
}

/// The words of a text, split at blanks, tabs and line ends.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .filter(|word| !word.is_empty())
}
