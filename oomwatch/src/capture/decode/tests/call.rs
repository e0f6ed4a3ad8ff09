//! What fentry and kprobe programs add to a record.

use oomwatch_ebpf::record::{
    BACKEND_FENTRY, MISSING_ALLOCATION, MISSING_CONSTRAINT, MISSING_OOM_CGROUP, MISSING_POINTS,
};

use super::*;
use crate::model::{
    backend::Backend,
    kill::{Allocation, Constraint},
};

/// A kill as the fentry and kprobe programs write it, with a distinct value in every field.
fn function_record() -> RecordBuilder {
    RecordBuilder::new().set(|record| {
        record.backend = BACKEND_FENTRY;
        record.kill_number = 2;
        record.incident_time_ns = 9_000_000_000;
        record.oom_memcg_id = 10;
        record.constraint = 3;
        record.order = -1;
        record.gfp_mask = 0xcc0;
        record.total_pages = 8192;
        record.points = -7;
        record.stack = stack(&[]);
    })
}

fn full_call() -> OomKillCall {
    OomKillCall {
        first_kill_boot_time_ns: 9_000_000_000,
        kill_number: 2,
        target: Some(OomTarget::Memcg(10)),
        constraint: Some(Constraint::Memcg),
        allocation: Some(Allocation {
            order: -1,
            gfp_mask: 0xcc0,
            total_pages: Some(8192),
        }),
        points: Some(-7),
    }
}

#[test]
fn function_record_gives_its_call() {
    let expected = VictimMark {
        backend: Backend::Fentry,
        call: Some(full_call()),
        stack: vec![],
        ..full_mark()
    };
    assert_eq!(marked(function_record()), expected);
}

#[test]
fn missing_fact_of_the_call_is_absent_and_named() {
    type Loss = (u64, &'static str, fn(&mut OomKillCall));
    let losses: [Loss; 4] = [
        (MISSING_OOM_CGROUP, "oom_cgroup", |call| call.target = None),
        (MISSING_CONSTRAINT, "constraint", |call| {
            call.constraint = None;
        }),
        (MISSING_ALLOCATION, "allocation", |call| {
            call.allocation = None;
        }),
        (MISSING_POINTS, "oom_points", |call| call.points = None),
    ];
    for (bit, name, lose) in losses {
        let mut expected = full_call();
        lose(&mut expected);
        let mark = marked(function_record().set(|record| record.missing = bit));
        assert_eq!(mark.call, Some(expected));
        assert_eq!(mark.missing, [name]);
    }
}

#[test]
fn every_constraint_is_decoded() {
    for (value, expected) in [
        (0, Constraint::None),
        (1, Constraint::Cpuset),
        (2, Constraint::MemoryPolicy),
        (3, Constraint::Memcg),
    ] {
        let mark = marked(function_record().set(|record| record.constraint = value));
        assert_eq!(mark.call.and_then(|call| call.constraint), Some(expected));
    }
}

#[test]
fn oom_memcg_id_zero_is_the_system() {
    let mark = marked(function_record().set(|record| record.oom_memcg_id = 0));
    let target = mark.call.and_then(|call| call.target);
    assert_eq!(target, Some(OomTarget::System));
}

#[test]
fn mark_without_a_kill_has_no_call() {
    let mark = marked(function_record().set(|record| {
        record.signal = SIGNAL_NONE;
        record.kill_number = 0;
    }));
    assert_eq!((mark.sigkill, mark.call), (Sigkill::None, None));
}

#[test]
fn signal_of_a_function_program_is_certain() {
    let record = SignalRecord {
        backend: BACKEND_FENTRY,
        ..signal_record()
    };
    assert!(signalled(&record).is_certain);
}
