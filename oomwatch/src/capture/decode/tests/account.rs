//! Accounts: every field, and bytes that no program writes.

use oomwatch_ebpf::account::{
    ACCOUNT_FIXED_LENGTH, AccountRecord, CandidateRow, EXCLUDED_ADJ, EXCLUDED_CPUSET,
    EXCLUDED_DYING, KIND_ACCOUNT, LIST_LENGTH, MEMORY_LIMIT, MEMORY_LIMIT_HITS, MEMORY_PEAK,
    MEMORY_PENDING, MEMORY_STATE, MEMORY_USAGE, ProcessPages,
};
use proptest::prelude::*;

use super::{statistics::StatisticsLayout, *};
use crate::model::account::{
    Account, AccountSource, Before, Candidate, Candidates, Exclusion, Memory, MemoryOf,
    MemoryParts, ProcessMemory,
};

/// Rows up to the first of those that were left out.
const ALL: usize = LIST_LENGTH + 1;

fn layout() -> AccountLayout {
    let mut statistics = StatisticsLayout {
        count: 40,
        ..StatisticsLayout::default()
    };
    // Anonymous memory and shmem.
    statistics.enumerators[0] = Some(3);
    statistics.enumerators[2] = Some(5);
    AccountLayout {
        page_bytes: PAGE,
        statistics,
    }
}

fn pages(number: u64) -> ProcessPages {
    ProcessPages {
        anon_rss_pages: number,
        file_rss_pages: number + 1,
        shmem_rss_pages: number + 2,
        swap_pages: number + 3,
        pgtables_bytes: number + 4,
    }
}

fn row(tgid: u32, points: i64, excluded: u32) -> CandidateRow {
    CandidateRow {
        tgid,
        uid: 1000 + tgid,
        oom_score_adj: -5,
        excluded,
        comm: *b"tail\0-residue\0\0\0",
        memcg_id: 7,
        memory: pages(u64::from(tgid)),
        points,
    }
}

/// Two processes were scored, and one was left out.
fn full() -> AccountRecord {
    let mut record = AccountRecord::new_zeroed();
    record.header = Header {
        kind: KIND_ACCOUNT,
        length: 0,
        boot_time_ns: 9_000_000_000,
    };
    record.scored = 2;
    record.excluded = 1;
    record.listed = [2, 1];
    record.rss_error_pages = 64;
    record.chosen_tgid = 20;
    record.chosen_points = 202;
    record.sum = pages(100);
    record.memory.flags =
        MEMORY_USAGE | MEMORY_LIMIT | MEMORY_PEAK | MEMORY_LIMIT_HITS | MEMORY_STATE;
    record.memory.usage_pages = 250;
    record.memory.limit_pages = 256;
    record.memory.peak_pages = 257;
    record.memory.limit_hits = 12;
    record.memory.state[3] = 200;
    record.memory.state[5] = 40;
    record.rows[0] = row(10, 100, 0);
    record.rows[1] = row(20, 200, 0);
    record.rows[LIST_LENGTH] = row(30, 300, EXCLUDED_ADJ);
    record
}

/// The record as the ring carries it: with this many rows.
fn sent(mut record: AccountRecord, rows: usize) -> Vec<u8> {
    let length = ACCOUNT_FIXED_LENGTH + rows * size_of::<CandidateRow>();
    record.header.length = u32::try_from(length).expect("a short record");
    record.as_bytes()[..length].to_vec()
}

fn decoded(bytes: &[u8]) -> Account {
    let IncidentAccount {
        boot_time_ns,
        account,
    } = decode_account(bytes, &layout()).expect("an account");
    assert_eq!(boot_time_ns, 9_000_000_000);
    account
}

fn process(pid: u32, oom_points: Option<i64>, excluded: Option<Exclusion>) -> Candidate {
    Candidate {
        pid,
        comm: b"tail".to_vec(),
        uid: Some(1000 + pid),
        memory: memory(pid.into()),
        is_rss_split: true,
        oom_score_adj: -5,
        oom_points,
        excluded,
        cgroup_id: Some(7),
    }
}

fn memory(number: u64) -> ProcessMemory {
    ProcessMemory {
        anon_rss_bytes: number * PAGE,
        file_rss_bytes: (number + 1) * PAGE,
        shmem_rss_bytes: (number + 2) * PAGE,
        swap_bytes: (number + 3) * PAGE,
        pgtables_bytes: number + 4,
    }
}

#[test]
fn fuzz_seed_is_this_account() {
    check_seed("record", "account", &sent(full(), LIST_LENGTH + 1));
}

#[test]
fn full_account_gives_every_field_in_order() {
    let expected = Account {
        candidates: Some(Candidates {
            source: AccountSource::Kernel,
            complete: true,
            scored: 2,
            excluded: 1,
            rss_error_bytes: 64 * PAGE,
            sum: memory(100),
            processes: vec![
                // The kernel's own score, which may be more exact.
                process(20, Some(202), None),
                process(10, Some(100), None),
                process(30, None, Some(Exclusion::OomScoreAdj)),
            ],
        }),
        memory: Some(Memory {
            of: MemoryOf::Cgroup,
            source: AccountSource::Kernel,
            unflushed: true,
            usage_bytes: Some(250 * PAGE),
            limit_bytes: Some(256 * PAGE),
            peak_bytes: Some(257 * PAGE),
            swap_bytes: None,
            parts: MemoryParts {
                anon_bytes: Some(200 * PAGE),
                shmem_bytes: Some(40 * PAGE),
                ..MemoryParts::default()
            },
        }),
        zones: Vec::new(),
        before: Some(Before {
            limit_hits: Some(12),
            stall_us: None,
        }),
    };
    assert_eq!(decoded(&sent(full(), LIST_LENGTH + 1)), expected);
}

#[test]
fn memory_without_pending_updates_is_flushed_and_no_limit_is_absent() {
    let mut record = full();
    record.memory.flags |= MEMORY_PENDING;
    record.memory.limit_pages = u64::MAX / PAGE / 2;
    let memory = decoded(&sent(record, LIST_LENGTH + 1))
        .memory
        .expect("memory");
    assert!(!memory.unflushed);
    assert_eq!(memory.limit_bytes, None);
    record.memory.pending_updates = 1;
    let memory = decoded(&sent(record, LIST_LENGTH + 1))
        .memory
        .expect("memory");
    assert!(memory.unflushed);
}

#[test]
fn system_has_no_memory_of_a_cgroup() {
    let mut record = full();
    record.memory.flags = 0;
    let account = decoded(&sent(record, LIST_LENGTH + 1));
    assert_eq!((account.memory, account.before), (None, None));
}

#[test]
fn rows_that_are_not_used_are_not_sent() {
    let mut record = full();
    record.excluded = 0;
    record.listed = [2, 0];
    let candidates = decoded(&sent(record, 2)).candidates.expect("candidates");
    let pids: Vec<_> = candidates.processes.iter().map(|row| row.pid).collect();
    assert_eq!(pids, [20, 10]);
}

#[test]
fn process_without_a_found_mm_makes_it_incomplete() {
    let mut record = full();
    record.unknown = 1;
    let candidates = decoded(&sent(record, LIST_LENGTH + 1)).candidates;
    assert!(!candidates.expect("candidates").complete);
}

#[test]
fn killer_that_looked_at_none_has_no_candidates() {
    let mut record = full();
    record.scored = 0;
    record.excluded = 0;
    record.listed = [0, 0];
    record.memory.flags = 0;
    assert_eq!(decoded(&sent(record, 0)), Account::default());
}

#[test]
fn each_exclusion_has_its_reason() {
    for (value, expected) in [
        (EXCLUDED_ADJ, Exclusion::OomScoreAdj),
        (EXCLUDED_DYING, Exclusion::Dying),
        (EXCLUDED_CPUSET, Exclusion::Cpuset),
    ] {
        let mut record = full();
        record.rows[LIST_LENGTH].excluded = value;
        let candidates = decoded(&sent(record, LIST_LENGTH + 1)).candidates;
        let processes = candidates.expect("candidates").processes;
        assert_eq!(processes[2].excluded, Some(expected));
    }
}

#[test]
fn malformed_account_is_an_error() {
    let bytes = sent(full(), LIST_LENGTH + 1);
    for length in 0..ACCOUNT_FIXED_LENGTH {
        assert!(matches!(
            decode_account(&bytes[..length], &layout()),
            Err(DecodeError::Truncated { .. })
        ));
    }
    assert_eq!(
        decode_account(&RecordBuilder::new().bytes(), &layout()),
        Err(DecodeError::Kind(KIND_VICTIM))
    );
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(
        decode_account(&longer, &layout()),
        Err(DecodeError::Length { .. })
    ));
    let mut longest = bytes;
    longest.resize(size_of::<AccountRecord>() + 8, 0);
    longest[4..8].copy_from_slice(&4104u32.to_ne_bytes());
    assert!(matches!(
        decode_account(&longest, &layout()),
        Err(DecodeError::Length { .. })
    ));

    let refused = |rows, change: fn(&mut AccountRecord)| {
        let mut record = full();
        change(&mut record);
        match decode_account(&sent(record, rows), &layout()) {
            Err(DecodeError::Value { field, value }) => (field, value),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(ALL, |record| record.listed[0] = 17), ("listed", 17));
    assert_eq!(refused(ALL, |record| record.listed[1] = 2), ("listed", 2));
    assert_eq!(
        refused(ALL, |record| record.listed[1] = u32::MAX),
        ("listed", u32::MAX.into())
    );
    assert_eq!(refused(1, |record| record.listed[1] = 0), ("listed", 2));
    assert_eq!(
        refused(ALL, |record| record.rows[0].excluded = 1),
        ("excluded", 1)
    );
    assert_eq!(
        refused(ALL, |record| record.rows[LIST_LENGTH].excluded = 4),
        ("excluded", 4)
    );
}

proptest! {
    #[test]
    fn any_bytes_give_an_account_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..5000),
    ) {
        if let Some(header) = bytes.get_mut(..4) {
            header.copy_from_slice(&KIND_ACCOUNT.to_ne_bytes());
        }
        let length = u32::try_from(bytes.len()).expect("short");
        if let Some(claimed) = bytes.get_mut(4..8) {
            claimed.copy_from_slice(&length.to_ne_bytes());
        }
        let _ = decode_account(&bytes, &layout());
    }
}
