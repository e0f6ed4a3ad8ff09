//! The logs of real kernels, against a reader that knows only well-formed text.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use super::*;
use crate::model::{account::MemoryOf, kill::Scope};

/// Sums of one table by the names of its columns, with `rows` and `excluded`.
type Sums = BTreeMap<String, u64>;

/// The tables of a log, and for each the statistics before it.
fn tables(text: &str) -> Vec<Sums> {
    let mut tables = Vec::new();
    let mut columns: Vec<String> = Vec::new();
    for line in text.lines() {
        let text = match line.split_once(';') {
            Some((before, text)) if before.chars().filter(|&c| c == ',').count() >= 3 => text,
            _ => line
                .split_once("] ")
                .filter(|(time, _)| time.contains('.'))
                .map_or(line, |(_, text)| text),
        };
        let text = text.rsplit_once("kernel: ").map_or(text, |(_, text)| text);
        let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']'))
        else {
            if text.contains("oom-kill:") || text.contains(": Kill process") {
                columns.clear();
            }
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        if inside.trim() == "pid" {
            columns = words.iter().map(ToString::to_string).collect();
            tables.push(Sums::new());
        } else if let (Some(sums), false) = (tables.last_mut(), columns.is_empty()) {
            let number = |name: &str| {
                let index = columns.iter().position(|column| column == name)?;
                words[index].parse::<i64>().ok()
            };
            if number("oom_score_adj") == Some(-1000) {
                *sums.entry("excluded".to_owned()).or_default() += 1;
                continue;
            }
            *sums.entry("rows".to_owned()).or_default() += 1;
            for name in [
                "rss",
                "rss_anon",
                "rss_file",
                "rss_shmem",
                "swapents",
                "pgtables_bytes",
                "nr_ptes",
            ] {
                if let Some(number) = number(name) {
                    *sums.entry(name.to_owned()).or_default() +=
                        u64::try_from(number).expect("positive");
                }
            }
        }
    }
    tables
}

fn logs() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let entries =
        [folder.clone(), folder.join("field")].map(|folder| fs::read_dir(folder).expect("logs"));
    entries
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| (path.display().to_string(), fs::read(path).expect("read")))
        .collect()
}

/// The accounts of a log, one for each incident.
fn accounts(log: &[u8]) -> Vec<(Kill, Arc<Account>)> {
    let mut accounts: Vec<(Kill, Arc<Account>)> = Vec::new();
    for kill in kills(log) {
        if let Some(account) = kill.account.clone()
            && !accounts
                .iter()
                .any(|(_, other)| Arc::ptr_eq(other, &account))
        {
            accounts.push((kill, account));
        }
    }
    accounts
}

#[test]
fn every_table_of_a_kernel_gives_its_sums() {
    let mut checked = 0;
    for (path, log) in logs() {
        let tables = tables(&String::from_utf8_lossy(&log));
        let candidates: Vec<Candidates> = accounts(&log)
            .into_iter()
            .filter_map(|(_, account)| account.candidates.clone())
            .collect();
        assert_eq!(candidates.len(), tables.len(), "{path}");
        for (candidates, sums) in candidates.iter().zip(tables) {
            let get = |name: &str| sums.get(name).copied().unwrap_or(0);
            assert_eq!(candidates.scored, get("rows"), "{path}");
            assert_eq!(candidates.excluded, get("excluded"), "{path}");
            assert!(candidates.complete, "{path}");
            let sum = candidates.sum;
            assert_eq!(sum.swap_bytes, get("swapents") * 4096, "{path}");
            assert_eq!(
                sum.pgtables_bytes,
                get("pgtables_bytes") + get("nr_ptes") * 4096,
                "{path}"
            );
            if sums.contains_key("rss_anon") {
                assert_eq!(sum.anon_rss_bytes, get("rss_anon") * 4096, "{path}");
                assert_eq!(sum.file_rss_bytes, get("rss_file") * 4096, "{path}");
                assert_eq!(sum.shmem_rss_bytes, get("rss_shmem") * 4096, "{path}");
            } else {
                assert_eq!(sum.rss_bytes(), get("rss") * 4096, "{path}");
            }
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked} tables");
}

#[test]
fn victim_has_the_most_points_where_all_are_known() {
    let mut checked = 0;
    for (path, log) in logs() {
        // A child was killed instead, a cgroup's process was taken, or an administrator asked for the kill.
        if ["4.19", "sysrq", "allocating"]
            .iter()
            .any(|name| path.contains(name))
        {
            continue;
        }
        for (kill, account) in accounts(&log) {
            let Some(candidates) = &account.candidates else {
                continue;
            };
            let first = &candidates.processes[0];
            assert_eq!(first.pid, kill.victim.pid, "{path}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} tables");
}

/// The remainder is at most 2 % of the usage or 2 MiB.
#[test]
fn parts_of_a_cgroup_sum_to_its_usage() {
    let mut checked = 0;
    for (path, log) in logs() {
        for (kill, account) in accounts(&log) {
            let Some(memory) = account
                .memory
                .filter(|memory| memory.of == MemoryOf::Cgroup)
            else {
                continue;
            };
            assert_eq!(kill.scope, Scope::Memcg, "{path}");
            let usage = memory.usage_bytes.expect("usage");
            // Logs without statistics, and two that were written by hand without numbers.
            if memory.parts.anon_bytes.is_none_or(|anon| anon == 0) {
                continue;
            }
            let sum = memory.parts.sum_bytes();
            assert!(
                sum.abs_diff(usage) <= (usage / 50).max(2 << 20),
                "{path}: {sum} of {usage}"
            );
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} accounts");
}

#[test]
fn parts_of_a_node_are_within_its_usage() {
    let mut checked = 0;
    for (path, log) in logs() {
        for (kill, account) in accounts(&log) {
            let Some(memory) = account.memory.filter(|memory| memory.of == MemoryOf::Node) else {
                continue;
            };
            assert_eq!(kill.scope, Scope::System, "{path}");
            let usage = memory.usage_bytes.expect("usage");
            let sum = memory.parts.sum_bytes();
            assert!(sum <= usage, "{path}: {sum} of {usage}");
            let limit = memory.limit_bytes.expect("limit");
            assert!(usage < limit);
            let managed: u64 = account
                .zones
                .iter()
                .filter_map(|zone| zone.managed_bytes)
                .sum();
            let is_confined = kill.constraint == Some(crate::model::kill::Constraint::Cpuset);
            assert_eq!(managed == limit, !is_confined, "{path}");
            for zone in &account.zones {
                assert_eq!(zone.free_blocks.len(), 11);
                let blocks: u64 = (0..)
                    .zip(&zone.free_blocks)
                    .map(|(order, n)| (n << order) * 4096)
                    .sum();
                assert!(
                    blocks.abs_diff(zone.free_bytes) < 1 << 20,
                    "{path}: {zone:?}"
                );
            }
            // Most of what is used is of the killed process.
            let anon = memory.parts.anon_bytes.expect("anon");
            let rss = account
                .candidates
                .as_ref()
                .expect("candidates")
                .sum
                .rss_bytes();
            assert!(anon.abs_diff(rss) < 4 << 20, "{path}: {anon} and {rss}");
            checked += 1;
        }
    }
    assert!(checked >= 4, "{checked} accounts");
}
