//! Decodes the bytes of an account's record. Pure; any input gives an account or an error.

use std::cmp::Reverse;

use oomwatch_ebpf::account::{
    ACCOUNT_FIXED_LENGTH, AccountRecord, CandidateRow, CgroupMemory, EXCLUDED_ADJ, EXCLUDED_CPUSET,
    EXCLUDED_DYING, KIND_ACCOUNT, LIST_EXCLUDED, LIST_LENGTH, LIST_SCORED, MEMORY_LIMIT,
    MEMORY_LIMIT_HITS, MEMORY_PEAK, MEMORY_PENDING, MEMORY_USAGE, ProcessPages,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{comm, error::DecodeError, header, some_id, statistics::StatisticsLayout};
use crate::{
    capture::kmsg::assemble::parts_of_numbers,
    model::account::{
        Account, AccountSource, Before, Candidate, Candidates, Exclusion, Memory, MemoryOf,
        ProcessMemory,
    },
};

/// The account of one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentAccount {
    /// What the records of its kills refer to: when it was output, in nanoseconds since boot.
    pub boot_time_ns: u64,
    /// The account.
    pub account: Account,
}

/// What must be known of the machine that wrote a record.
#[derive(Clone, Debug)]
pub struct AccountLayout {
    /// Size of a page.
    pub page_bytes: u64,
    /// The statistics of its kernel.
    pub statistics: StatisticsLayout,
}

/// Decodes one record.
pub fn decode_account(
    bytes: &[u8],
    layout: &AccountLayout,
) -> Result<IncidentAccount, DecodeError> {
    let page_bytes = layout.page_bytes;
    let header = header(bytes, |kind| match kind {
        KIND_ACCOUNT => Ok(ACCOUNT_FIXED_LENGTH..=size_of::<AccountRecord>()),
        kind => Err(DecodeError::Kind(kind)),
    })?;
    let mut record = AccountRecord::new_zeroed();
    record.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    Ok(IncidentAccount {
        boot_time_ns: header.boot_time_ns,
        account: Account {
            candidates: candidates(&record, bytes.len(), page_bytes)?,
            memory: memory_of_cgroup(&record.memory, layout),
            zones: Vec::new(),
            before: before(&record.memory),
        },
    })
}

/// The candidates; absent if the killer looked at none, since the allocating task was killed without a choice.
fn candidates(
    record: &AccountRecord,
    length: usize,
    page_bytes: u64,
) -> Result<Option<Candidates>, DecodeError> {
    let mut scored = list(record, length, LIST_SCORED, page_bytes)?;
    let mut excluded = list(record, length, LIST_EXCLUDED, page_bytes)?;
    if record.scored == 0 && record.excluded == 0 {
        return Ok(None);
    }
    if let Some(chosen) = scored
        .iter_mut()
        .find(|candidate| candidate.pid == record.chosen_tgid)
    {
        chosen.oom_points = Some(record.chosen_points);
    }
    scored.sort_by_key(|candidate| Reverse(candidate.oom_points));
    excluded.sort_by_key(|candidate| {
        let memory = candidate.memory;
        Reverse(memory.rss_bytes().saturating_add(memory.swap_bytes))
    });
    scored.extend(excluded);
    Ok(Some(Candidates {
        source: AccountSource::Kernel,
        complete: record.unknown == 0,
        scored: record.scored.into(),
        excluded: record.excluded.into(),
        rss_error_bytes: u64::from(record.rss_error_pages).saturating_mul(page_bytes),
        sum: memory(&record.sum, page_bytes),
        processes: scored,
    }))
}

/// One of the lists of processes, in the order of the record.
fn list(
    record: &AccountRecord,
    length: usize,
    list: u32,
    page_bytes: u64,
) -> Result<Vec<Candidate>, DecodeError> {
    let listed = record.listed[list as usize];
    let first = list as usize * LIST_LENGTH;
    let end = first + listed as usize;
    let sent = (length - ACCOUNT_FIXED_LENGTH) / size_of::<CandidateRow>();
    if listed as usize > LIST_LENGTH || listed > 0 && end > sent {
        return Err(DecodeError::Value {
            field: "listed",
            value: listed.into(),
        });
    }
    record.rows[first..end]
        .iter()
        .map(|row| candidate(row, list, page_bytes))
        .collect()
}

fn candidate(row: &CandidateRow, list: u32, page_bytes: u64) -> Result<Candidate, DecodeError> {
    let excluded = match (list, row.excluded) {
        (LIST_SCORED, 0) => None,
        (LIST_EXCLUDED, EXCLUDED_ADJ) => Some(Exclusion::OomScoreAdj),
        (LIST_EXCLUDED, EXCLUDED_DYING) => Some(Exclusion::Dying),
        (LIST_EXCLUDED, EXCLUDED_CPUSET) => Some(Exclusion::Cpuset),
        (_, value) => {
            return Err(DecodeError::Value {
                field: "excluded",
                value: value.into(),
            });
        }
    };
    Ok(Candidate {
        pid: row.tgid,
        comm: comm(&row.comm),
        uid: Some(row.uid),
        memory: memory(&row.memory, page_bytes),
        is_rss_split: true,
        oom_score_adj: row.oom_score_adj,
        oom_points: excluded.is_none().then_some(row.points),
        excluded,
        cgroup_id: some_id(row.memcg_id),
    })
}

/// The memory of the cgroup that ran out; absent if the system did.
fn memory_of_cgroup(memory: &CgroupMemory, layout: &AccountLayout) -> Option<Memory> {
    let AccountLayout {
        page_bytes,
        statistics,
    } = layout;
    let page_bytes = *page_bytes;
    let has = |flag| memory.flags & flag != 0;
    let bytes = |pages: u64, flag| has(flag).then(|| pages.saturating_mul(page_bytes));
    let usage_bytes = bytes(memory.usage_pages, MEMORY_USAGE)?;
    // `PAGE_COUNTER_MAX` of `include/linux/page_counter.h`.
    let numbers: Vec<_> = statistics.read(memory, page_bytes).collect();
    let swap = numbers.iter().find(|(name, _)| *name == "swap");
    let unlimited = i64::MAX.unsigned_abs() / page_bytes.max(1);
    Some(Memory {
        of: MemoryOf::Cgroup,
        source: AccountSource::Kernel,
        unflushed: !has(MEMORY_PENDING) || memory.pending_updates > 0,
        usage_bytes: Some(usage_bytes),
        limit_bytes: bytes(memory.limit_pages, MEMORY_LIMIT)
            .filter(|_| memory.limit_pages < unlimited),
        peak_bytes: bytes(memory.peak_pages, MEMORY_PEAK),
        swap_bytes: swap.map(|(_, bytes)| *bytes),
        parts: parts_of_numbers(numbers.iter().copied()),
    })
}

fn before(memory: &CgroupMemory) -> Option<Before> {
    (memory.flags & MEMORY_LIMIT_HITS != 0).then_some(Before {
        limit_hits: Some(memory.limit_hits),
        stall_us: None,
    })
}

fn memory(pages: &ProcessPages, page_bytes: u64) -> ProcessMemory {
    let bytes = |pages: u64| pages.saturating_mul(page_bytes);
    ProcessMemory {
        anon_rss_bytes: bytes(pages.anon_rss_pages),
        file_rss_bytes: bytes(pages.file_rss_pages),
        shmem_rss_bytes: bytes(pages.shmem_rss_pages),
        swap_bytes: bytes(pages.swap_pages),
        pgtables_bytes: pages.pgtables_bytes,
    }
}
