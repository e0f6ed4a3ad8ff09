//! The same kills seen from every backend of the hook ladder at once: each backend's sum against the kernel's count, each kill once
//! on each backend, and no two backends with a different word on it. The best backend's word is checked whole.

use std::{
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
};

use oomwatch::model::backend::Backend;

use crate::{
    agreement::Agreement,
    ended::Sum,
    expected::Expected,
    kernel::{Followed, KernelLog, killed_by_header, kretprobes_hide_callers},
    machine::Machine,
    report::Report,
    watcher::{Watch, Watcher},
};

/// The command on every backend that this machine gives.
pub(crate) struct Backends<'a> {
    machine: &'a Machine,
    watchers: Vec<(Backend, Watcher)>,
    absent: Vec<(Backend, String)>,
    log: Option<Followed>,
    scenarios: Vec<Kills>,
}

/// Kills that show one thing.
pub(crate) struct Kills {
    /// What they show.
    pub(crate) scenario: &'static str,
    /// The kills.
    pub(crate) kills: Vec<Kill>,
}

/// Of these processes so many are victims, and the kernel alone knows which.
pub(crate) struct Kill {
    pub(crate) of: Vec<Expected>,
    pub(crate) count: RangeInclusive<usize>,
    /// Whether raw tracepoints know how many of them were killed.
    pub(crate) is_exact: bool,
}

impl From<Expected> for Kill {
    fn from(kill: Expected) -> Self {
        Self::one_of(vec![kill])
    }
}

impl Kill {
    /// One of these.
    pub(crate) fn one_of(of: Vec<Expected>) -> Self {
        Self {
            of,
            count: 1..=1,
            is_exact: true,
        }
    }

    /// This one or none.
    pub(crate) fn maybe(kill: Expected) -> Self {
        Self {
            of: vec![kill],
            count: 0..=1,
            is_exact: true,
        }
    }

    /// One of these or all: they share their memory, and are killed as a group.
    pub(crate) fn some_of(of: Vec<Expected>) -> Self {
        Self {
            count: 1..=of.len(),
            of,
            is_exact: false,
        }
    }
}

impl<'a> Backends<'a> {
    /// Starts the command on each backend that this machine gives, save one that would disturb the others.
    pub(crate) fn start(machine: &'a Machine) -> Self {
        let mut backends = Self::none(machine);
        for backend in Backend::ALL {
            let hides = backend == Backend::Kprobe && kretprobes_hide_callers();
            match machine.tried(backend) {
                Some(Err(why)) => backends.absent.push((backend, why)),
                Some(Ok(())) | None if !hides => {
                    backends.try_start(backend, Watch::on(machine, backend));
                }
                Some(Ok(())) => {}
                None => {
                    if let Err(why) = try_backend(machine, backend) {
                        backends.absent.push((backend, why));
                    }
                }
            }
        }
        for (backend, _) in &backends.watchers {
            machine.remember(*backend, Ok(()));
        }
        for (backend, why) in &backends.absent {
            machine.remember(*backend, Err(why));
        }
        backends
    }

    /// Starts the command in these ways, each of which should stand on its backend, if it can be had at all.
    pub(crate) fn start_as(
        machine: &'a Machine,
        watches: impl IntoIterator<Item = (Backend, Watch<'a>)>,
    ) -> Self {
        let mut backends = Self::none(machine);
        for (backend, watch) in watches {
            backends.try_start(backend, watch);
        }
        backends
    }

    fn none(machine: &'a Machine) -> Self {
        Self {
            machine,
            watchers: Vec::new(),
            absent: Vec::new(),
            log: KernelLog::open().ok().map(KernelLog::follow),
            scenarios: Vec::new(),
        }
    }

    fn try_start(&mut self, backend: Backend, watch: Watch<'_>) {
        match watch.try_start() {
            Ok(watcher) => self.watchers.push((backend, watcher)),
            Err(why) => self.absent.push((backend, why)),
        }
    }

    /// Adds what was killed since, under the name of what it shows.
    pub(crate) fn saw<K: Into<Kill>>(
        &mut self,
        scenario: &'static str,
        kills: impl IntoIterator<Item = K>,
    ) {
        let kills = kills.into_iter().map(Into::into).collect();
        self.scenarios.push(Kills { scenario, kills });
    }

    /// Ends the command on each backend, and checks what each of them has seen.
    pub(crate) fn end(self) {
        let Self {
            machine,
            watchers,
            absent,
            log,
            scenarios,
        } = self;
        let seen: Vec<_> = watchers
            .into_iter()
            .map(|(backend, watcher)| Observed::of(backend, watcher))
            .collect();
        assert!(!seen.is_empty(), "no backend could be had: {absent:#?}");
        let headers = log
            .and_then(Followed::end)
            .map(|texts| killed_by_header(&texts));
        let agreement = Agreement::check(machine, &scenarios, &seen, headers);
        print_lines(&agreement.lines(&absent));
        let problems = agreement.problems();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

/// Whether a backend can be had here, or why not.
pub(crate) fn try_backend(machine: &Machine, backend: Backend) -> Result<(), String> {
    machine.tried(backend).unwrap_or_else(|| {
        let came = Watch::on(machine, backend).try_start().map(|watcher| {
            watcher.interrupt();
        });
        machine.remember(backend, came.as_ref().copied().map_err(String::as_str));
        came
    })
}

/// What a backend has seen.
pub(crate) struct Observed {
    pub(crate) backend: Backend,
    pub(crate) reports: Vec<Report>,
    /// Of the whole machine, if it is whole; kills without a name count as kills.
    pub(crate) sum: Result<Sum, String>,
    /// What was wrong with it, whatever was killed.
    pub(crate) problems: Vec<String>,
}

impl Observed {
    fn of(backend: Backend, watcher: Watcher) -> Self {
        let mut seen = Self {
            backend,
            reports: Vec::new(),
            sum: Err("it did not end".to_owned()),
            problems: Vec::new(),
        };
        let ended = match attempt(|| watcher.interrupt()) {
            Ok(ended) => ended,
            Err(problem) => {
                seen.problems.push(problem);
                return seen;
            }
        };
        if backend == Backend::Counters {
            seen.sum = attempt(|| Sum {
                kills: ended.unidentified(),
                ..Sum::default()
            });
            return seen;
        }
        seen.sum = attempt(|| ended.sum());
        if ended.backend != backend.as_str() {
            seen.problems.push(format!("it is {}", ended.backend));
        }
        match attempt(|| ended.reports()) {
            Ok(reports) => seen.reports = reports,
            Err(problem) => seen.problems.push(problem),
        }
        seen
    }
}

/// Runs what panics if it is not satisfied.
pub(crate) fn attempt<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without a word").to_owned()
    })
}

/// Says how each backend fared, in lines of their own: the test's name stands open on this one.
#[expect(clippy::print_stdout, reason = "read by who runs the tests")]
fn print_lines(lines: &[String]) {
    println!();
    for line in lines {
        println!("{line}");
    }
}
