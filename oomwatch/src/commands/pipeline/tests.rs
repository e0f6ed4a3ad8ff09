//! A machine whose files fail for a while, on the backend that needs no more than files.

use crate::model::cgroup::KubeletRoot;
use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::{
    capture::config::CaptureConfig,
    identify::{
        resolver::NameSources,
        runtimes::{Listing, RuntimeConfig},
        sockets::SocketChoice,
    },
    model::report::NodeKubelet,
};

/// `/proc` in a temporary folder.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().expect("make a folder"));
        machine.count(7);
        machine
    }

    fn vmstat(&self) -> PathBuf {
        self.0.path().join("vmstat")
    }

    fn count(&self, kills: u64) {
        fs::write(self.vmstat(), format!("oom_kill {kills}\n")).expect("write the count");
    }

    /// From now on reading the count fails.
    fn fail(&self) {
        fs::remove_file(self.vmstat()).expect("remove the count");
    }

    fn pipeline(&self) -> Pipeline {
        let root = self.0.path();
        let config = CaptureConfig {
            backend: Some(Backend::Counters),
            btf: root.join("btf"),
            proc_root: root.to_owned(),
            cgroup_root: root.to_owned(),
            kmsg: root.join("kmsg"),
        };
        let host = Host {
            node: "node-1".to_owned(),
            boot_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned(),
            kubelet: NodeKubelet::default(),
        };
        let observer = Observer::open(&config).expect("read the count");
        let auditor = Auditor::start(&config, &host.boot_id).expect("read the count");
        let names = Resolver::new(NameSources {
            runtimes: RuntimeConfig {
                cri: SocketChoice::Off,
                docker: SocketChoice::Off,
                podman: Vec::new(),
                proc_root: root.to_owned(),
                listing: Listing::Never,
            },
            cgroup_root: "/nonexistent".into(),
            kubelet: KubeletRoot::Unknown,
            log_root: root.to_owned(),
        });
        Pipeline::new(host, observer, auditor, names, &config, false)
    }
}

/// Kills in the items.
fn gaps(items: &[Item]) -> u64 {
    let kills = items.iter().map(|item| match item {
        Item::Gap(gap) => gap.gap.kills,
        Item::Kill(_) | Item::NonKill(_) => 0,
    });
    kills.sum()
}

/// Waits for captured items.
async fn captured(pipeline: &mut Pipeline) -> Vec<Item> {
    loop {
        if let Wake::Captured(items) = pipeline.next().await {
            return items;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn call_that_fails_is_retried_and_loses_nothing() {
    let machine = Machine::new();
    let mut pipeline = machine.pipeline();
    machine.fail();
    for _ in 0..3 {
        assert_eq!(gaps(&captured(&mut pipeline).await), 0);
        let audit = pipeline.audit();
        assert_eq!((audit.kernel_count, audit.items.len()), (None, 0));
    }
    assert!(pipeline.audit_at_end().is_err());
    assert_eq!(pipeline.backfill().len(), 0);
    machine.count(9);
    assert_eq!(gaps(&captured(&mut pipeline).await), 2);
    let audit = pipeline.audit();
    assert_eq!((audit.kernel_count, audit.items.len()), (Some(9), 0));
    assert!(matches!(pipeline.audit_at_end(), Ok(AuditResult::Complete)));
}
