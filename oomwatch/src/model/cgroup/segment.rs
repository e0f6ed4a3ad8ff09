//! A cgroup path split into names.

/// One name of a path.
pub(super) struct Segment<'a> {
    pub(super) name: &'a [u8],
    /// Length of the path up to the end of this name.
    pub(super) end: usize,
}

/// The names of an absolute path; none of any other.
pub(super) fn split(path: &[u8]) -> Vec<Segment<'_>> {
    let Some(names) = path.strip_prefix(b"/") else {
        return Vec::new();
    };
    let mut end = 0;
    names
        .split(|byte| *byte == b'/')
        .map(|name| {
            end += 1 + name.len();
            Segment { name, end }
        })
        .collect()
}

/// Longest name that a cgroup can have, in bytes (kernel `include/uapi/linux/limits.h`).
pub(super) const NAME_MAX: usize = 255;

/// Bytes already checked to be ASCII, as text.
pub(super) fn ascii(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
