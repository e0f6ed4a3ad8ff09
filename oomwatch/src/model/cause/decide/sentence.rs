//! Names and sizes in the sentence of a cause.

use crate::{
    model::{
        account::Candidate,
        limit_owner::LimitOwner,
        report::{PodUsage, Report},
    },
    sys::{escape::escape, size::scale},
};

/// Who reads the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The node's operator, who may read of every process and pod.
    Node,
    /// Readers of the victim's pod, who may read of that pod alone.
    Pod,
}

/// A size with three digits at most before the unit: `812 MiB`, `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let (tenths, unit) = scale(bytes);
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if tenth != 0 && whole < 100 => format!("{whole}.{tenth} {unit}"),
        (whole, _) => format!("{whole} {unit}"),
    }
}

/// Names of what a sentence is about.
pub(super) struct Names<'a> {
    report: &'a Report,
}

impl<'a> Names<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        Self { report }
    }

    /// A candidate: for the pod's readers by name only if it is in that pod.
    pub(super) fn process(&self, candidate: &Candidate, audience: Audience) -> String {
        if !self.may_name(candidate, audience) {
            return "another process".to_owned();
        }
        let comm = match candidate.comm.as_slice() {
            [] => "a process without a name".to_owned(),
            comm => escape(comm),
        };
        format!("{comm} (pid {})", candidate.pid)
    }

    /// A candidate between commas, behind what it is.
    pub(super) fn apposition(&self, candidate: &Candidate, audience: Audience) -> String {
        if self.may_name(candidate, audience) {
            format!(", {},", self.process(candidate, audience))
        } else {
            String::new()
        }
    }

    fn may_name(&self, candidate: &Candidate, audience: Audience) -> bool {
        audience == Audience::Node || self.is_in_pod(candidate)
    }

    /// Whether a candidate is known to be in the victim's pod. All are where the pod's or the container's own limit ran out.
    fn is_in_pod(&self, candidate: &Candidate) -> bool {
        let Some(pod) = &self.report.pod else {
            return false;
        };
        if let Some(LimitOwner::Container | LimitOwner::Pod) = self.report.limit_owner {
            return true;
        }
        let index = self.report.kill.candidates().and_then(|candidates| {
            candidates
                .processes
                .iter()
                .position(|other| std::ptr::eq(other, candidate))
        });
        let owners = self.report.explanation.as_ref().map(|why| &why.owners);
        owners
            .zip(index)
            .and_then(|(owners, index)| owners.get(index)?.as_ref()?.pod.as_ref())
            .is_some_and(|owner| owner.uid == pod.uid)
    }

    /// A pod: for the readers of another one without its name.
    pub(super) fn pod(&self, pod: &PodUsage, audience: Audience) -> String {
        let PodUsage {
            namespace, name, ..
        } = pod;
        let is_own = self.report.pod.as_ref().is_some_and(|own| {
            own.namespace.as_ref() == Some(namespace) && own.name.as_ref() == Some(name)
        });
        match audience {
            Audience::Pod if is_own => "this pod".to_owned(),
            Audience::Pod => "another pod".to_owned(),
            Audience::Node => format!("pod {}", escape(format!("{namespace}/{name}").as_bytes())),
        }
    }

    /// Whose limit ran out.
    pub(super) fn limit_owner(&self) -> String {
        match self.report.limit_owner {
            Some(LimitOwner::Qos) => "all pods of its class".to_owned(),
            Some(LimitOwner::Kubepods) => "all pods of the node".to_owned(),
            _ => {
                let path = self.report.oom_limit().map(|limit| &limit.cgroup.path);
                let name = path.and_then(|path| path.rsplit(|&byte| byte == b'/').next());
                name.map_or_else(|| "a cgroup above it".to_owned(), escape)
            }
        }
    }

    /// What the victim belonged to.
    pub(super) fn object(&self) -> String {
        let report = self.report;
        match (&report.pod, &report.container, &report.unit) {
            (Some(_), ..) => "the pod".to_owned(),
            (None, Some(_), _) => "the container".to_owned(),
            (None, None, Some(unit)) => escape(unit.as_bytes()),
            (None, None, None) => "the process".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_at_most() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (812 << 20, "812 MiB"),
            ((1 << 30) - 1, "1 GiB"),
            (3 << 29, "1.5 GiB"),
            (150 * (1 << 30) + (1 << 29), "150 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }
}
