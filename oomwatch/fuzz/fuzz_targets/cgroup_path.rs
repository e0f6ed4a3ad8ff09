//! Paths of cgroups: what a process made below a container never names another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::model::cgroup::{self, CgroupOwner};

fuzz_target!(|path: &[u8]| {
    let owner = CgroupOwner::from_path(path);
    let _ = cgroup::level(path);
    if let Some(container) = cgroup::container_prefix(path) {
        assert!(path.starts_with(container));
        assert!(owner.container.is_some());
    }
});
