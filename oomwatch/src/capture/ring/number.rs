//! A number in a BPF map that this process can set without a capability.

use std::{io, os::fd::AsFd as _, sync::atomic::Ordering};

use aya::maps::Map;
use rustix::param::page_size;

use super::mapping::{Access, Mapping};

/// The first element of an array map with the flag `BPF_F_MMAPABLE`, mapped into memory.
#[derive(Debug)]
pub struct Number(Mapping);

impl Number {
    /// Maps an array of 64-bit numbers.
    pub fn new(map: &Map) -> io::Result<Self> {
        let Map::Array(map) = map else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Mapping::new(map.fd().as_fd(), 0, page_size(), Access::Write).map(Self)
    }

    /// Sets it.
    pub fn set(&self, number: u64) {
        self.0.words()[0].store(number, Ordering::Release);
    }
}
