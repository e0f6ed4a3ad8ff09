//! What a record of the function hooks tells of the call of `oom_kill_process` that it belongs to.

use oomwatch_ebpf::record::{
    BACKEND_RAW_TRACEPOINT, MISSING_ALLOCATION, MISSING_CONSTRAINT, MISSING_OOM_CGROUP,
    MISSING_POINTS, VictimRecord,
};

use super::DecodeError;
use crate::model::kill::{Allocation, Constraint};

/// One call of `oom_kill_process`, as one of its kills tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomKillCall {
    /// When its first victim was marked: nanoseconds since boot.
    pub first_kill_boot_time_ns: u64,
    /// Which of its kills this is, from 1.
    pub kill_number: u32,
    /// What ran out; absent if it could not be read.
    pub ran_out: Option<OomTarget>,
    /// What the allocation was bound to.
    pub constraint: Option<Constraint>,
    /// What was asked for in vain.
    pub allocation: Option<Allocation>,
    /// For how bad the kernel took the process that it chose.
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

/// What function hooks tell of a kill.
pub(super) fn call(record: &VictimRecord) -> Result<Option<OomKillCall>, DecodeError> {
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
        ran_out: has(MISSING_OOM_CGROUP).then_some(match record.oom_memcg_id {
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
