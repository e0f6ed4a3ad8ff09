//! Decodes what a record says about the call of `oom_kill_process` it belongs to. Only fentry and kprobe programs write it.

use oomwatch_ebpf::record::{
    BACKEND_RAW_TRACEPOINT, MISSING_ALLOCATION, MISSING_CONSTRAINT, MISSING_OOM_CGROUP,
    MISSING_POINTS, VictimRecord,
};

use super::error::DecodeError;
use crate::model::kill::{Allocation, Constraint};

/// One call of `oom_kill_process`, as the record of one of its kills describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomKillCall {
    /// When its first victim was marked, in nanoseconds since boot.
    pub first_kill_boot_time_ns: u64,
    /// Number of this kill within the call, from 1.
    pub kill_number: u32,
    /// What ran out of memory; absent if it could not be read.
    pub target: Option<OomTarget>,
    /// What the allocation was confined to.
    pub constraint: Option<Constraint>,
    /// The allocation that failed.
    pub allocation: Option<Allocation>,
    /// The kernel's badness score of the process it chose, in pages.
    pub points: Option<i64>,
}

/// What ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomTarget {
    /// The memory cgroup with this id.
    Memcg(u64),
    /// The system.
    System,
}

/// The call that the record belongs to; absent for raw tracepoints, and for a mark without a kill.
pub(super) fn decode_call(record: &VictimRecord) -> Result<Option<OomKillCall>, DecodeError> {
    if record.backend == BACKEND_RAW_TRACEPOINT || record.kill_number == 0 {
        return Ok(None);
    }
    let has = |bit: u64| record.missing & bit == 0;
    // `enum oom_constraint` of `include/linux/oom.h`.
    let constraint = match record.constraint {
        0 => Constraint::None,
        1 => Constraint::Cpuset,
        2 => Constraint::MemoryPolicy,
        3 => Constraint::Memcg,
        value => {
            return Err(DecodeError::Value {
                field: "constraint",
                value: value.into(),
            });
        }
    };
    Ok(Some(OomKillCall {
        first_kill_boot_time_ns: record.incident_time_ns,
        kill_number: record.kill_number,
        target: has(MISSING_OOM_CGROUP).then_some(match record.oom_memcg_id {
            0 => OomTarget::System,
            id => OomTarget::Memcg(id),
        }),
        constraint: has(MISSING_CONSTRAINT).then_some(constraint),
        allocation: has(MISSING_ALLOCATION).then_some(Allocation {
            order: record.order,
            gfp_mask: record.gfp_mask.into(),
            total_pages: Some(record.total_pages),
        }),
        points: has(MISSING_POINTS).then_some(record.points),
    }))
}
