//! Cgroup paths: any bytes are parsed, and a container's path is a prefix of the paths below it.
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
