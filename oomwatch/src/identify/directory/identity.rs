//! What the directory has about one kill, and what follows from it for the report.

use crate::{
    identify::{
        directory::pod_limit,
        objects::{ApiContainer, ApiPod, PodName, RuntimeContainer},
    },
    model::{kill::MainProcess, report::Report},
};

/// Exit code of a container whose first process was killed.
const EXIT_KILLED: i32 = 137;
/// Exit code that runtimes report if they do not know the real one.
const EXIT_UNKNOWN: i32 = 255;

/// What the directory has about one kill; empty without a directory.
#[derive(Default)]
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
            && report.kill.victim.main_process == MainProcess::Unknown
            && self.main_process(report).is_none()
    }

    /// Whether the victim was the container's main process, by the runtime's first process or exit code.
    fn main_process(&self, report: &Report) -> Option<MainProcess> {
        let container = self.runtime_container?;
        if let Some(init) = container.init_pid {
            // A PID from the log may be a thread's.
            let pid =
                Some(report.kill.victim.pid).filter(|_| !report.kill.missing.contains(&"pid"));
            return pid.map(|pid| {
                if pid == init {
                    MainProcess::Yes
                } else {
                    MainProcess::No
                }
            });
        }
        // Any other code: the first process exited on its own. 137 proves nothing: a shell often returns the code of its child.
        container
            .exit_code
            .filter(|code| ![EXIT_KILLED, EXIT_UNKNOWN].contains(code))
            .map(|_| MainProcess::No)
    }

    /// Fills the report in.
    pub(super) fn apply(&self, report: &mut Report) {
        if report.kill.victim.main_process == MainProcess::Unknown
            && let Some(main_process) = self.main_process(report)
        {
            report.kill.victim.main_process = main_process;
        }
        if let Some(pod) = &mut report.pod {
            if let Some(PodName { namespace, name }) = self.pod_name {
                pod.namespace = Some(namespace.clone());
                pod.name = Some(name.clone());
            }
            pod.events_off = self.pod.is_some_and(|pod| pod.events_off);
        }
        if let Some(container) = &mut report.container {
            if let Some(name) = self.container_name {
                container.name = Some(name.to_owned());
            }
            container.kind = self.api_container.map(|container| container.kind);
            container.image = self.image().cloned();
        }
        if let Some(pod) = self.pod {
            pod_limit::refine(report, pod, self.api_container);
        }
    }
}
