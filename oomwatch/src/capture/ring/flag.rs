//! A number in a BPF map that this process can set without a capability.

use std::{io, os::fd::AsFd as _, sync::atomic::Ordering};

use aya::maps::Map;
use rustix::param::page_size;

use super::mapping::{Access, Mapping};

/// The first element of an array map with the flag `BPF_F_MMAPABLE`, mapped into memory.
#[derive(Debug)]
pub struct Flag(Mapping);

impl Flag {
    /// Maps an array of 64-bit numbers.
    pub fn new(map: &Map) -> io::Result<Self> {
        let Map::Array(map) = map else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Mapping::new(map.fd().as_fd(), 0, page_size(), Access::Write).map(Self)
    }

    /// Sets it to 1.
    pub fn set(&self) {
        self.0.words()[0].store(1, Ordering::Release);
    }
}
