//! What the directory has about one kill, and what follows from it for the report.

use crate::{
    identify::objects::{ApiContainer, ApiPod, PodName, RuntimeContainer},
    model::{
        kill::MainProcess,
        limit_owner::{self, SpecifiedLimits},
        report::{Container, Pod, Report},
    },
};

/// Exit code of a container whose first process was killed.
const EXIT_KILLED: i32 = 137;
/// Exit code that runtimes report if they do not know the real one.
const EXIT_UNKNOWN: i32 = 255;

/// What the directory has about one kill.
pub(super) struct Identity<'a> {
    pub(super) pod: Option<&'a ApiPod>,
    pub(super) pod_name: Option<&'a PodName>,
    pub(super) runtime_container: Option<&'a RuntimeContainer>,
    pub(super) container_name: Option<&'a str>,
    /// The container in the pod's specification.
    pub(super) api_container: Option<&'a ApiContainer>,
    pub(super) is_sandbox: bool,
}

impl Identity<'_> {
    /// Whether the container has a name, from the directory or from its log, or needs none.
    pub(super) fn is_named(&self, report: &Report) -> bool {
        self.is_sandbox
            || self.container_name.is_some()
            || report
                .container
                .as_ref()
                .is_none_or(|container| container.name.is_some())
    }

    /// Whether the container and the pod have names, or need none.
    pub(super) fn is_complete(&self, report: &Report) -> bool {
        self.is_named(report) && (report.pod.is_none() || self.pod_name.is_some())
    }

    fn image(&self) -> Option<&String> {
        let specified = self
            .api_container
            .and_then(|container| container.image.as_ref());
        specified.or(self
            .runtime_container
            .and_then(|container| container.image.as_ref()))
    }

    pub(super) fn lacks_image(&self) -> bool {
        !self.is_sandbox && self.image().is_none()
    }

    pub(super) fn lacks_main_process(&self, report: &Report) -> bool {
        !self.is_sandbox
            && report.container.is_some()
            && self.main_process(report) == MainProcess::Unknown
    }

    /// Decides whether the victim was the container's main process: by its PID namespace, else by the runtime's first process,
    /// else by the container's exit code, else as decided before.
    fn main_process(&self, report: &Report) -> MainProcess {
        let victim = &report.kill.victim;
        let container = self.runtime_container;
        let init_pid = container.and_then(|container| container.init_pid);
        // A PID from the log may be a thread's.
        let is_pid_known = !report.kill.missing.contains(&"pid");
        let by_pid = init_pid
            .filter(|_| is_pid_known)
            .map(|init_pid| init_pid == victim.pid);
        // The first process exited on its own. 137 proves nothing: a shell often returns the code of its child.
        let has_exited = container
            .filter(|container| container.init_pid.is_none())
            .and_then(|container| container.exit_code)
            .is_some_and(|code| ![EXIT_KILLED, EXIT_UNKNOWN].contains(&code));
        match victim.is_namespace_init.or(by_pid) {
            Some(true) => MainProcess::Yes,
            Some(false) => MainProcess::No,
            None if has_exited => MainProcess::No,
            None => report.main_process,
        }
    }

    /// Fills in the names, limit owner and main process of a report. What an earlier call found and this one does not stays.
    pub(super) fn apply(&self, report: &mut Report) {
        report.main_process = self.main_process(report);
        if self.pod.is_some() || report.limit_source.is_none() {
            let specified = self.pod.map(|pod| SpecifiedLimits {
                pod_bytes: pod.memory_limit_bytes,
                of_containers: pod.limit_of_containers(),
                container_bytes: self
                    .api_container
                    .and_then(|container| container.memory_limit_bytes),
                is_place_known: self.api_container.is_some() || report.sandbox,
            });
            (report.limit_owner, report.limit_source) =
                limit_owner::decide(&report.kill, specified, &report.kubelet_root());
        }
        self.add_names(&mut report.pod, &mut report.container);
    }

    /// Fills in the names of a pod and its container.
    pub(super) fn add_names(&self, pod: &mut Option<Pod>, container: &mut Option<Container>) {
        if let Some(pod) = pod {
            if let Some(PodName { namespace, name }) = self.pod_name {
                pod.namespace = Some(namespace.clone());
                pod.name = Some(name.clone());
            }
            pod.events_off = self.pod.map_or(pod.events_off, |pod| pod.events_off);
            let workload = self.pod.and_then(|pod| pod.workload.as_ref());
            pod.workload = workload.or(pod.workload.as_ref()).cloned();
        }
        if let Some(container) = container {
            if let Some(name) = self.container_name {
                container.name = Some(name.to_owned());
            }
            let kind = self.api_container.map(|container| container.kind);
            container.kind = kind.or(container.kind);
            container.image = self.image().or(container.image.as_ref()).cloned();
        }
    }
}
