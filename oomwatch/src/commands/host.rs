//! The host that reports name.

use std::path::Path;

use crate::{
    model::report::Host,
    sys::proc::{self, HostError},
};

/// This boot of this host. `node` replaces the host's name, unless it is empty.
pub(super) fn read_host(proc_root: &Path, node: Option<String>) -> Result<Host, HostError> {
    Ok(Host {
        node: node
            .filter(|name| !name.is_empty())
            .unwrap_or_else(proc::hostname),
        boot_id: proc::boot_id(proc_root)?,
    })
}
