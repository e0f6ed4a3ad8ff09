//! Writes the kernel's `oom-kill:` line with any names in it: what is parsed is absent or what was written.
//!
//! Input: three names, each with its length before it (the cpuset, the path that ran out, the path below it), then the name
//! of the thread.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::{
    capture::kmsg::line::{self, Line},
    model::cgroup::{CgroupOwner, KubeletRoot},
};

const TENANT: &[u8] = b"/kubepods/burstable/pod1b1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let mut take = || {
        let (length, behind) = rest.split_first()?;
        let (name, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        Some(name)
    };
    let (Some(cpuset), Some(oom), Some(below)) = (take(), take(), take()) else {
        return;
    };
    let comm = &rest[..rest.len().min(15)];
    let is_name = |name: &[u8]| !name.iter().any(|byte| matches!(byte, b'\n' | 0));
    if ![cpuset, oom, below, comm].into_iter().all(is_name) || cpuset.contains(&b'/') {
        return;
    }
    let path = join(TENANT, oom);
    let task = join(&path, below);
    // Names in a path are not empty.
    if task.ends_with(b"/") || task.windows(2).any(|two| two == b"//") {
        return;
    }
    let text = [
        b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=",
        cpuset,
        b",mems_allowed=0,oom_memcg=",
        &path,
        b",task_memcg=",
        &task,
        b",task=",
        comm,
        b",pid=77,uid=5",
    ]
    .concat();
    let Some(Line::OomKill(found)) = line::parse(&text) else {
        return;
    };
    assert_eq!((found.pid, found.uid), (77, 5));
    if let Some(found) = found.task_memcg {
        let owner = |path: &[u8]| CgroupOwner::from_path(path, &KubeletRoot::Unknown);
        let (found, written) = (owner(found), owner(&task));
        assert_eq!(
            (found.pod, found.container),
            (written.pod, written.container)
        );
    }
});

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match name {
        [] => path.to_vec(),
        name => [path, b"/", name].concat(),
    }
}
