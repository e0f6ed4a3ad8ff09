//! Numbers with names, in the statistics of the log.

use crate::capture::kmsg::number::parse_kib;

/// The numbers of names that are known beforehand; others are passed over.
#[derive(Debug)]
pub(super) struct Numbers<const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<u64>; N],
}

impl<const N: usize> Numbers<N> {
    pub(super) const fn new(names: &'static [&'static str; N]) -> Self {
        Self {
            names,
            values: [None; N],
        }
    }

    /// Where the number of a name is kept.
    pub(super) fn slot(&mut self, name: &[u8]) -> Option<&mut Option<u64>> {
        let index = self
            .names
            .iter()
            .position(|known| known.as_bytes() == name)?;
        self.values.get_mut(index)
    }

    /// The number of a name.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        let index = self.names.iter().position(|known| *known == name)?;
        self.values[index]
    }

    /// The sum of those of these names that are known; absent if none is.
    pub(super) fn sum(&self, names: &[&str]) -> Option<u64> {
        names
            .iter()
            .filter_map(|name| self.get(name))
            .reduce(u64::saturating_add)
    }
}

/// Parses `42kB` or `42KB`: bytes.
pub(super) fn kilobytes(word: &[u8]) -> Option<u64> {
    let word = word.strip_suffix(b"B")?;
    parse_kib(word.strip_suffix(b"k").or(word.strip_suffix(b"K"))?)
}
