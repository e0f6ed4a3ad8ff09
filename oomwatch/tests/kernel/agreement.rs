//! Whether the backends agree: each backend's sum with the kernel's count, each kill with its one report on each backend, and no two
//! backends with a different word on it. The best backend's word is checked whole.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use oomwatch::model::backend::Backend;

use crate::{
    backends::{Kill, Kills, Observed, attempt},
    compare::{Allowed, compare, everything, outermost},
    expected::{Expected, Usage},
    kernel::{log_error_bytes, mapped_error_bytes, rss_error_bytes},
    machine::Machine,
    report::Report,
};

/// How far usages of cgroups may be apart that are read at different moments of one kill.
const USAGE_BYTES: u64 = 1 << 20;

/// The longest tick of a clock that is no better than its ticks, as emulated machines have it.
const TICK_NS: u64 = 10_000_000;

/// How a backend fared in a scenario.
#[derive(Default)]
struct Verdict {
    problems: Vec<String>,
    /// What the best backend reported and this one did not.
    missing: BTreeSet<String>,
}

/// How all backends fared.
pub(crate) struct Agreement<'a> {
    machine: &'a Machine,
    scenarios: &'a [Kills],
    seen: &'a [Observed],
    /// Victims that the kernel log's headers name; absent if it could not be read.
    headers: Option<BTreeSet<u32>>,
    verdicts: BTreeMap<(&'static str, Backend), Verdict>,
    /// Reports of known kills, by their backend and number.
    matched: BTreeSet<(Backend, usize)>,
    /// Of each backend's incidents: the first of their kills that was met, and the group that this one belongs to.
    incidents: BTreeMap<(Backend, &'a str), (&'a Report, Option<&'static str>)>,
}

impl<'a> Agreement<'a> {
    /// Checks what all backends have seen of these kills, the best of them first.
    pub(crate) fn check(
        machine: &'a Machine,
        scenarios: &'a [Kills],
        seen: &'a [Observed],
        headers: Option<BTreeSet<u32>>,
    ) -> Self {
        let mut agreement = Self {
            machine,
            scenarios,
            seen,
            headers,
            verdicts: BTreeMap::new(),
            matched: BTreeSet::new(),
            incidents: BTreeMap::new(),
        };
        for Kills { scenario, kills } in scenarios {
            for kill in kills {
                agreement.kill(scenario, kill);
            }
        }
        for backend in seen {
            let problems = backend.problems.iter().cloned();
            let problems = problems
                .chain(agreement.leftovers(backend))
                .chain(agreement.sum(backend).err());
            for problem in problems.collect::<Vec<_>>() {
                for Kills { scenario, .. } in scenarios {
                    agreement.fail(scenario, backend.backend, problem.clone());
                }
            }
        }
        agreement
    }

    fn best(&self) -> &'a Observed {
        self.seen.first().expect("a backend that could be had")
    }

    fn verdict(&mut self, scenario: &'static str, backend: Backend) -> &mut Verdict {
        self.verdicts.entry((scenario, backend)).or_default()
    }

    fn fail(&mut self, scenario: &'static str, backend: Backend, problem: String) {
        self.verdict(scenario, backend).problems.push(problem);
    }

    fn kill(&mut self, scenario: &'static str, kill: &Kill) {
        let best = self.best();
        let pids: Vec<_> = kill.of.iter().map(|kill| kill.victim.pid).collect();
        let mut found = 0;
        for (number, report) in best.reports.iter().enumerate() {
            let expected = kill.of.iter().find(|kill| kill.victim.pid == report.pid());
            let Some(expected) = expected else { continue };
            found += 1;
            self.matched.insert((best.backend, number));
            let checked = match (report.is_complete(), kill.is_exact) {
                (true, true) => attempt(|| expected.check(report)),
                (true, false) => Ok(()),
                (false, _) => attempt(|| expected.check_partial(report)),
            };
            let group = expected.group_kill.then_some(scenario);
            let incident = self.incident(best.backend, group, report);
            let header = attempt(|| self.check_header(report, report));
            for problem in [checked.err(), incident, header.err()]
                .into_iter()
                .flatten()
            {
                self.fail(scenario, best.backend, problem);
            }
            for other in &self.seen[1..] {
                self.other(scenario, kill, (expected, report), other);
            }
        }
        if !kill.count.contains(&found) {
            let problem = format!("{found} reports of kills of {pids:?}");
            self.fail(scenario, best.backend, problem);
        }
    }

    /// What another backend says of a kill.
    fn other(
        &mut self,
        scenario: &'static str,
        kill: &Kill,
        (expected, best): (&Expected, &'a Report),
        other: &'a Observed,
    ) {
        if other.backend == Backend::Counters {
            let missing = everything(best);
            self.verdict(scenario, other.backend)
                .missing
                .extend(missing);
            return;
        }
        let tid = best.at("/victim/tid");
        let found: Vec<_> = other
            .reports
            .iter()
            .enumerate()
            .filter(|(_, report)| report.pid() == best.pid() || report.at("/victim/tid") == tid)
            .collect();
        self.matched
            .extend(found.iter().map(|(number, _)| (other.backend, *number)));
        let report = match found[..] {
            [(_, report)] => report,
            [] if !kill.is_exact => return,
            _ => {
                let count = found.len();
                let problem = format!("{count} reports instead of one like this: {best:?}");
                return self.fail(scenario, other.backend, problem);
            }
        };
        let compared = compare(best, report, allowed(expected, best, other.backend));
        self.verdict(scenario, other.backend)
            .missing
            .extend(compared.missing);
        let differences = compared.differences.join("; ");
        let differ =
            (!differences.is_empty()).then(|| format!("{differences}, in {best:?} and {report:?}"));
        let group = expected.group_kill.then_some(scenario);
        let incident = self.incident(other.backend, group, report);
        let header = attempt(|| self.check_header(report, best));
        for problem in [differ, incident, header.err()].into_iter().flatten() {
            self.fail(scenario, other.backend, problem);
        }
    }

    /// A group's kills are one incident, and all others are each its own. Two that fall into one tick of the clock may have
    /// one name.
    fn incident(
        &mut self,
        backend: Backend,
        group: Option<&'static str>,
        report: &'a Report,
    ) -> Option<String> {
        let name = report.text("/incident");
        let (first, of) = *self
            .incidents
            .entry((backend, name))
            .or_insert((report, group));
        let is_same = std::ptr::eq(first, report) || group.is_some() && group == of;
        let apart = (first.number("/boot_time_ns")).abs_diff(report.number("/boot_time_ns"));
        let is_shared = !is_same && apart > TICK_NS;
        let is_split = group.is_some()
            && self.incidents.iter().any(|((other, other_name), (_, of))| {
                (*other, *of) == (backend, group) && *other_name != name
            });
        (is_shared || is_split).then(|| format!("the wrong incident, of {first:?} too: {report:?}"))
    }

    /// What the log's header says must be reported by the log's backend, or be named as missing, and by
    /// tracepoints, which know no other source of it.
    fn check_header(&self, report: &Report, best: &Report) {
        let Some(headers) = &self.headers else { return };
        let incident = best.text("/incident");
        let of_incident = |report: &&Report| report.text("/incident") == incident;
        let first = self.best().reports.iter().find(of_incident);
        let has_header = headers.contains(&first.expect("its first kill").pid());
        match (has_header, report.text("/backend")) {
            (true, "kmsg" | "raw_tracepoint") => {
                for place in ["/constraint", "/allocation", "/trigger/comm"] {
                    assert!(report.at(place).is_some(), "no {place}: {report:?}");
                }
                report.is("/missing", json!([]));
            }
            (false, "kmsg") => {
                let missing = report.at("/missing").expect("what is missing").to_string();
                for place in ["allocation", "trigger"] {
                    report.lacks(&format!("/{place}"));
                    let named = missing.contains(&format!("\"{place}\""));
                    assert!(named, "{place} is missing and not said to be: {report:?}");
                }
            }
            _ => {}
        }
    }

    /// Kills that no test made: on a machine that runs other things, only those that identify themselves as the tests'.
    fn leftovers(&self, seen: &Observed) -> Vec<String> {
        let own = self.machine.path();
        seen.reports
            .iter()
            .enumerate()
            .filter(|(number, report)| {
                let path = report.at("/victim/cgroup/path");
                let is_own = path
                    .and_then(|path| path.as_str())
                    .is_some_and(|path| path.starts_with(own));
                let known = self.matched.contains(&(seen.backend, *number));
                !known && (is_own || self.machine.is_guest)
            })
            .map(|(_, report)| format!("a kill that was none: {report:?}"))
            .collect()
    }

    /// Each backend has held its own sum against the kernel's count; where nothing else kills, the sums must be the same.
    fn sum(&self, seen: &Observed) -> Result<(), String> {
        let kills = self.scenarios.iter().flat_map(|kills| &kills.kills);
        let least: usize = kills.clone().map(|kill| *kill.count.start()).sum();
        let is_exact = kills.clone().all(|kill| kill.is_exact);
        if !is_exact && seen.backend == Backend::RawTracepoint {
            return Ok(());
        }
        let sum = seen.sum.clone()?;
        let best = self.best().sum.clone()?;
        let is_same = match seen.backend {
            Backend::Counters => sum.kills == best.kills + best.rekills,
            _ => (sum.kills, sum.rekills) == (best.kills, best.rekills),
        };
        let fits = sum.kills >= least as u64 && (is_same || !self.machine.is_guest);
        fits.then_some(())
            .ok_or_else(|| format!("{sum:?} instead of {best:?}, of {least} kills at least"))
    }

    /// A line for each scenario and backend.
    pub(crate) fn lines(&self, absent: &[(Backend, String)]) -> Vec<String> {
        let mut lines = Vec::new();
        for Kills { scenario, .. } in self.scenarios {
            for backend in Backend::ALL {
                let name = backend.flag();
                let verdict = self.verdicts.get(&(*scenario, backend));
                let why = absent
                    .iter()
                    .find_map(|(absent, why)| (*absent == backend).then_some(why));
                let is_seen = self.seen.iter().any(|seen| seen.backend == backend);
                let outcome = match (why, verdict) {
                    (Some(why), _) => format!("absent {}", in_one_word(why)),
                    (None, None) if is_seen => "ok -".to_owned(),
                    (None, None) => continue,
                    (None, Some(Verdict { problems, missing })) => {
                        let outcome = if problems.is_empty() { "ok" } else { "failed" };
                        let missing = outermost(missing).join(",");
                        let missing = if missing.is_empty() { "-" } else { &missing };
                        format!("{outcome} {missing}")
                    }
                };
                lines.push(format!("@backend {scenario} {name} {outcome}"));
            }
        }
        lines
    }

    /// All that is wrong, with where it is.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut logged = BTreeSet::new();
        self.verdicts
            .iter()
            .flat_map(|((scenario, backend), verdict)| {
                let problems = verdict.problems.iter();
                problems.map(move |problem| (scenario, backend.flag(), problem))
            })
            .filter(|(_, backend, problem)| logged.insert((*backend, *problem)))
            .map(|(scenario, backend, problem)| format!("{scenario} on {backend}: {problem}"))
            .collect()
    }
}

/// Nothing changes while the victim itself is in the killer, but the log has its sums by another way from 7.0 on.
fn allowed(expected: &Expected, best: &Report, other: Backend) -> Allowed {
    let is_still = expected.threads == 1 && best.at("/trigger/pid") == best.at("/victim/pid");
    let [exact_bytes, mapped_bytes] = if is_still {
        [0; 2]
    } else {
        [rss_error_bytes, mapped_error_bytes].map(|error| error(expected.threads))
    };
    let log_bytes = if other == Backend::Kmsg {
        log_error_bytes()
    } else {
        0
    };
    Allowed {
        rss: exact_bytes.max(log_bytes),
        mapped: mapped_bytes.max(log_bytes),
        exact: exact_bytes,
        usage: (expected.usage != Usage::Freed).then_some(USAGE_BYTES),
    }
}

/// What a command says of itself, up to the remedy.
fn in_one_word(why: &str) -> String {
    let why = why.split(';').next().unwrap_or_default();
    let words = why
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && !matches!(*word, "ERROR" | "error"));
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
