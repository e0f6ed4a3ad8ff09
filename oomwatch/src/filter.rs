//! Which reports are shown: pure.

use crate::{cli::FilterArgs, kill::Scope, report::Report};

/// What a report must have to be shown; what is absent in the report fits no filter.
#[derive(Debug)]
pub struct Filter {
    namespace: Option<String>,
    container: Option<String>,
    cgroup: Option<Vec<u8>>,
    scope: Option<Scope>,
}

/// A filter that could never match.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("--cgroup takes a path from the root of the hierarchy, such as /system.slice, not {0:?}")]
pub struct FilterError(String);

impl Filter {
    /// Reads what the user typed.
    pub fn new(args: FilterArgs) -> Result<Self, FilterError> {
        let FilterArgs {
            namespace,
            container,
            cgroup,
            scope,
        } = args;
        let cgroup = match cgroup {
            Some(path) if path.starts_with('/') && !path.starts_with("/sys/fs/cgroup") => {
                Some(path.trim_end_matches('/').as_bytes().to_vec())
            }
            Some(path) => return Err(FilterError(path)),
            None => None,
        };
        Ok(Self {
            namespace,
            container,
            cgroup,
            scope,
        })
    }

    /// Whether to show it.
    #[must_use]
    pub fn matches(&self, report: &Report) -> bool {
        let Self {
            namespace,
            container,
            cgroup,
            scope,
        } = self;
        namespace.as_ref().is_none_or(|wanted| {
            report
                .pod
                .as_ref()
                .is_some_and(|pod| pod.namespace.as_ref() == Some(wanted))
        }) && container.as_ref().is_none_or(|wanted| {
            report.container.as_ref().is_some_and(|container| {
                container.name.as_ref() == Some(wanted) || container.id.starts_with(wanted)
            })
        }) && cgroup.as_ref().is_none_or(|wanted| {
            let victim = &report.kill.victim;
            [&victim.leaf_cgroup, &victim.cgroup]
                .into_iter()
                .flatten()
                .any(|cgroup| is_below(&cgroup.path, wanted))
        }) && scope.is_none_or(|wanted| report.kill.scope == wanted)
    }
}

/// Whether a cgroup is `ancestor` or below it; the root is empty.
fn is_below(path: &[u8], ancestor: &[u8]) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
