//! What is known of one kill, into its report.

use crate::{
    identify::{
        directory::limits,
        facts::{Container, Instance, Pod, PodName},
    },
    model::{kill::MainProcess, report::Report},
};

/// What a container's exit code is when its first process was killed, and when nobody knows how it ended.
const KILLED: i32 = 137;
const LOST: i32 = 255;

/// What is known of one kill.
pub(super) struct Known<'a> {
    pub(super) pod: Option<&'a Pod>,
    pub(super) pod_name: Option<&'a PodName>,
    pub(super) instance: Option<&'a Instance>,
    pub(super) container_name: Option<&'a str>,
    /// The container in the pod's specification.
    pub(super) container: Option<&'a Container>,
    pub(super) is_sandbox: bool,
}

impl Known<'_> {
    /// Whether the container needs no name, or has one: from here or from its log.
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
            .container
            .and_then(|container| container.image.as_ref());
        specified.or(self.instance.and_then(|instance| instance.image.as_ref()))
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

    /// Whether the victim was what the container lives and dies with, by its first process or by how it ended.
    fn main_process(&self, report: &Report) -> Option<MainProcess> {
        let instance = self.instance?;
        if let Some(init) = instance.init_pid {
            // From the log it may be a thread's.
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
        // Its first process ended by itself. That it was killed does not tell who else was, and a shell's code is often that
        // of what it ran.
        instance
            .exit_code
            .filter(|code| ![KILLED, LOST].contains(code))
            .map(|_| MainProcess::No)
    }

    /// Fills it into the report.
    pub(super) fn fill(&self, report: &mut Report) {
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
            container.kind = self.container.map(|container| container.kind);
            container.image = self.image().cloned();
        }
        if let Some(pod) = self.pod {
            limits::refine(report, pod, self.container);
        }
    }
}
