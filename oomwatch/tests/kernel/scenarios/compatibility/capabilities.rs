//! Which capabilities are enough for a backend, and that none of them can be left out.

use std::fs;

use rustix::thread::CapabilitySet;

use super::{Doctor, attach, given, in_a_guest, is_guest, table};
use crate::{
    Scenario,
    confined::{Confined, User},
    document::Row,
    kernel,
    machine::Machine,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "backend_needs_the_capabilities_of_the_document_and_each_of_them",
        capabilities,
    ),
    Scenario::new(
        "perf_event_paranoid_refuses_the_backends_that_the_document_says",
        paranoid,
    )
    .needing(in_a_guest),
];

/// By their names in the document.
const CAPABILITIES: [(&str, CapabilitySet); 6] = [
    ("CAP_BPF", CapabilitySet::BPF),
    ("CAP_PERFMON", CapabilitySet::PERFMON),
    ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN),
    ("CAP_SYSLOG", CapabilitySet::SYSLOG),
    ("CAP_SYS_RESOURCE", CapabilitySet::SYS_RESOURCE),
    ("CAP_SYS_NICE", CapabilitySet::SYS_NICE),
];

const SETTING: &str = "perf_event_paranoid";
/// The highest that every kernel has, and one that only some distributions have.
const PARANOID: i32 = 2;
const MORE_PARANOID: i32 = 3;

/// A line of the table.
struct Line<'a> {
    backend: &'a str,
    user: User,
    names: Vec<&'a str>,
    /// Whether it holds for any `kernel.perf_event_paranoid`.
    at_any: bool,
}

impl<'a> Line<'a> {
    fn new(row: Row<'a>) -> Self {
        let backend = row.word("backend");
        let mut names = row.words("capabilities");
        if names.is_empty() {
            assert_eq!(row.cell("capabilities"), "none");
        }
        // Below the table; these children may lock no more than any user.
        if row.cell("capabilities") != "none" && backend != "kmsg" && kernel::locks_maps() {
            names.push("CAP_SYS_RESOURCE");
        }
        Self {
            backend,
            user: match row.cell("as") {
                "root" => User::Root,
                "any user" => User::Other,
                other => panic!("as {other}"),
            },
            names,
            at_any: match row.cell("kernel.perf_event_paranoid") {
                "any" => true,
                "at most 2" => false,
                other => panic!("kernel.perf_event_paranoid {other}"),
            },
        }
    }

    fn confined<'m>(&self, machine: &'m Machine, without: Option<&str>) -> Confined<'m> {
        let mut capabilities = CapabilitySet::empty();
        for name in &self.names {
            let found = CAPABILITIES.iter().find(|(known, _)| known == name);
            let (_, capability) = found.unwrap_or_else(|| panic!("unknown: {name}"));
            if without != Some(*name) {
                capabilities |= *capability;
            }
        }
        Confined {
            user: self.user,
            capabilities,
            ..Confined::root(machine)
        }
    }
}

/// Whether this kernel asks for a capability, where a backend does.
fn is_needed(name: &str) -> bool {
    name != "CAP_SYSLOG" || sysctl("dmesg_restrict") != 0
}

fn capabilities(machine: &Machine) {
    let table = table("## Capabilities");
    let _put_back = Paranoid::keep();
    let mut checked = 0;
    for row in table.rows() {
        let line = Line::new(row);
        let Line {
            backend,
            user,
            ref names,
            at_any,
        } = line;
        if !given(machine).contains(&backend) {
            continue;
        }
        if is_guest() {
            set_paranoid(if at_any { MORE_PARANOID } else { PARANOID });
        } else if !at_any && sysctl(SETTING) > PARANOID {
            continue;
        }
        let what = format!("{backend} as {user:?} with {names:?}");
        let confined = line.confined(machine, None);
        assert_eq!(attach(&confined, backend, &[]), Ok(()), "{what}");
        let doctor = Doctor::ask(&confined, &["--backend", backend]);
        assert!(doctor.has(backend), "{what}: {:#}", doctor.said);
        for &name in names.iter().filter(|name| is_needed(name)) {
            let confined = line.confined(machine, Some(name));
            let what = format!("{what} but {name}");
            attach(&confined, backend, &[]).expect_err(&what);
            let doctor = Doctor::ask(&confined, &["--backend", backend]);
            assert!(!doctor.has(backend), "{what}: {:#}", doctor.said);
            assert_eq!(doctor.code, Some(1), "{what}");
            let text = doctor.text(backend);
            assert!(text.contains(name), "{what}: {text}");
        }
        checked += 1;
    }
    assert!(checked > 0, "no line of the table could be checked");
}

/// The distribution's setting, which the guests' kernels have.
fn paranoid(machine: &Machine) {
    let table = table("## Capabilities");
    let _put_back = Paranoid::keep();
    set_paranoid(MORE_PARANOID);
    let lines = table.rows().map(Line::new).filter(|line| !line.at_any);
    for line in lines.filter(|line| given(machine).contains(&line.backend)) {
        let confined = line.confined(machine, None);
        attach(&confined, line.backend, &[]).expect_err(line.backend);
        let text = Doctor::ask(&confined, &[]).text(line.backend);
        for words in ["kernel.perf_event_paranoid 3", "CAP_SYS_ADMIN"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

/// What the setting was, which it is again when this is dropped.
struct Paranoid(i32);

impl Paranoid {
    fn keep() -> Self {
        Self(sysctl(SETTING))
    }
}

impl Drop for Paranoid {
    fn drop(&mut self) {
        if sysctl(SETTING) != self.0 {
            set_paranoid(self.0);
        }
    }
}

fn set_paranoid(value: i32) {
    fs::write(format!("/proc/sys/kernel/{SETTING}"), value.to_string()).expect("set it");
}

fn sysctl(name: &str) -> i32 {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).expect("read a setting");
    text.trim().parse().expect("a number")
}
