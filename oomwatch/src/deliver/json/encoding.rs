//! What all records have in common: the schema, the kind, times, and strings of untrusted bytes.

use std::fmt::Write as _;

use serde::Serialize;

/// Name and version of the schema.
pub(super) const SCHEMA: &str = "oomwatch/v1";

/// What a record is about.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordKind {
    /// A process killed by the OOM killer.
    Kill,
    /// Kills that the kernel counted and whose victims are not known.
    Gap,
}

/// RFC 3339 in UTC, always with nine digits of a second.
pub(super) fn rfc3339(time: jiff::Timestamp) -> String {
    format!("{time:.9}")
}

/// A string, and its bytes in hexadecimal if they are not UTF-8.
pub(super) fn text(bytes: &[u8]) -> (String, Option<String>) {
    let exact = str::from_utf8(bytes).is_ok();
    (
        String::from_utf8_lossy(bytes).into_owned(),
        (!exact).then(|| hex(bytes)),
    )
}

pub(super) fn optional_text(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    bytes
        .map(text)
        .map_or((None, None), |(text, hex)| (Some(text), hex))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
