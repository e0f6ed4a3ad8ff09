//! Counts of kills, where no other backend works.

use std::{ops::ControlFlow, path::Path, time::Duration};

use tokio::time::sleep;

use super::{error::ObserveError, item::CaptureItem};
use crate::capture::counters::Counters;

/// Interval at which the counts are read.
const PERIOD: Duration = Duration::from_secs(1);

/// The kernel's counts, read periodically.
pub(super) struct CountSource(Counters);

impl CountSource {
    pub(super) fn open(proc_root: &Path, cgroup_root: &Path) -> Result<Self, ObserveError> {
        Ok(Self(Counters::new(proc_root, cgroup_root)?))
    }

    pub(super) async fn drain<B>(
        &mut self,
        mut handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        loop {
            sleep(PERIOD).await;
            if let Some(gap) = self.0.poll()? {
                return Ok(handle(CaptureItem::Gap(gap)));
            }
        }
    }

    pub(super) fn drain_now<B>(
        &mut self,
        mut handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        Ok(match self.0.poll()? {
            Some(gap) => handle(CaptureItem::Gap(gap)),
            None => ControlFlow::Continue(()),
        })
    }
}
