//! Parses `/proc/PID/mountinfo` (`Documentation/filesystems/proc.rst`, section 3.5). Pure.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// A mount, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory of the file system that is mounted; `/` if all of it is.
    pub(super) root: PathBuf,
    /// The mount point.
    pub(super) point: PathBuf,
    /// The type of the file system.
    pub(super) kind: String,
    /// The options of the file system.
    pub(super) options: Vec<String>,
}

/// Parses all lines, in the order of mounting. Malformed lines are skipped.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `36 35 98:0 ROOT POINT OPTIONS [FIELD...] - KIND SOURCE SUPER_OPTIONS`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let root = words.nth(3)?;
    let point = words.next()?;
    let _options = words.next()?;
    words.find(|&word| word == b"-")?;
    let kind = words.next()?;
    let _source = words.next()?;
    let options = words.next()?;
    if kind.is_empty() || !point.starts_with(b"/") {
        return None;
    }
    Some(Mount {
        root: unescape(root),
        point: unescape(point),
        kind: String::from_utf8_lossy(kind).into_owned(),
        options: String::from_utf8_lossy(options)
            .split(',')
            .map(str::to_owned)
            .collect(),
    })
}

/// Reverses `mangle_path` of `fs/seq_file.c`, which writes space, tab, newline, backslash and `#` as `\` and three octal
/// digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\'
            && let Some((digits, after)) = after.split_at_checked(3)
            && let Some(value) = octal(digits)
        {
            bytes.push(value);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(root: &str, point: &str, kind: &str, options: &[&str]) -> Mount {
        Mount {
            root: root.into(),
            point: point.into(),
            kind: kind.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }

    #[test]
    fn lines_are_parsed_with_any_number_of_optional_fields() {
        for (line, expected) in [
            (
                "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
                mount("/", "/sys/fs/cgroup/memory", "cgroup", &["rw", "memory"]),
            ),
            (
                "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
                mount("/", "/sys/fs/cgroup", "cgroup2", &["rw", "nsdelegate"]),
            ),
            (
                "1 2 0:3 /../.. /a rw shared:1 master:2 propagate_from:3 - cgroup2 - rw",
                mount("/../..", "/a", "cgroup2", &["rw"]),
            ),
            (
                "1 2 0:3 / /with\\040space\\011\\134\\043 rw - tracefs tracefs rw",
                mount("/", "/with space\t\\#", "tracefs", &["rw"]),
            ),
        ] {
            assert_eq!(parse(line.as_bytes()), [expected], "{line}");
        }
    }

    #[test]
    fn invalid_escapes_are_kept() {
        for (text, expected) in [
            ("\\04", "\\04"),
            ("\\", "\\"),
            ("\\400", "\\400"),
            ("\\089", "\\089"),
            ("\\\\040", "\\ "),
            ("\\0401", " 1"),
        ] {
            assert_eq!(unescape(text.as_bytes()), PathBuf::from(expected), "{text}");
        }
    }

    #[test]
    fn malformed_lines_are_skipped() {
        for line in [
            "",
            "-",
            "1 2 3",
            "1 2 0:3 / /a rw",
            "1 2 0:3 / /a rw shared:1",
            "1 2 0:3 / /a rw -",
            "1 2 0:3 / /a rw - cgroup2",
            "1 2 0:3 / /a rw - cgroup2 cgroup2",
            "1 2 0:3 / relative rw - cgroup2 cgroup2 rw",
            "1 2 0:3 / /a rw -  x rw",
        ] {
            assert_eq!(parse(line.as_bytes()), [], "{line}");
        }
        let text = b"garbage\xff\n1 2 0:3 / /a rw - tmpfs x rw\n\0";
        assert_eq!(parse(text).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(bytes: Vec<u8>) {
            parse(&bytes);
        }
    }
}
