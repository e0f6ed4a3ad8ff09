//! Cgroup paths: any bytes are parsed, and a container's path is a prefix of the paths below it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::model::cgroup::{self, CgroupOwner, KubeletRoot};

fuzz_target!(|path: &[u8]| {
    for kubelet in [
        KubeletRoot::Unknown,
        KubeletRoot::at(b"/kubelet"),
        KubeletRoot::Believed,
    ] {
        let owner = CgroupOwner::from_path(path, &kubelet);
        let _ = cgroup::level(path, &kubelet);
        if let Some(container) = cgroup::container_prefix(path, &kubelet) {
            assert!(path.starts_with(container));
            assert!(owner.container.is_some());
        }
    }
});
