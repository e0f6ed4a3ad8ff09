//! What a backend needs besides capabilities: BTF, the kernel's symbols and options.

use std::process::Command;

use rustix::thread::CapabilitySet;

use super::{Doctor, attach, backends, given, table};
use crate::{
    Scenario, Skip,
    confined::{Confined, Devices, Tracefs},
    document::Row,
    kernel,
    machine::Machine,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("backend_needs_the_files_that_the_document_says", files),
    Scenario::new("backend_needs_devices_where_the_document_says", devices),
    Scenario::new(
        "scope_needs_the_kernels_symbols_where_the_document_says",
        symbols,
    ),
    Scenario::new("backend_that_attaches_has_the_documents_options", options).needing(config),
];

const NO_BTF: &str = "/nonexistent/btf";

fn is_needed(row: Row<'_>, title: &str) -> bool {
    match row.cell(title) {
        "needed" => true,
        "no" => false,
        other => panic!("{title}: {other}"),
    }
}

fn files(machine: &Machine) {
    let table = table("## The backends");
    let root = Confined::root(machine);
    let closed = Confined {
        tracefs: Tracefs::Absent,
        ..root
    };
    for row in table.rows() {
        let backend = row.word("backend");
        if !given(machine).contains(&backend) {
            continue;
        }
        let attached = attach(&root, backend, &["--btf", NO_BTF]);
        let doctor = Doctor::ask(&root, &["--backend", backend, "--btf", NO_BTF]);
        assert_eq!(
            attached.is_err(),
            is_needed(row, "BTF"),
            "{backend} without BTF: {attached:?}"
        );
        assert_eq!(doctor.has(backend), attached.is_ok(), "{:#}", doctor.said);
        if let Err(why) = attached {
            let text = doctor.text(backend);
            assert!(why.contains("BTF"), "{why}");
            assert!(text.contains("BTF"), "{text}");
        }
        // No backend reads tracefs.
        let attached = attach(&closed, backend, &[]);
        assert!(attached.is_ok(), "{backend} without tracefs: {attached:?}");
    }
}

/// `/dev/kmsg` is one.
fn devices(machine: &Machine) {
    let closed = Confined {
        devices: Devices::Closed,
        ..Confined::root(machine)
    };
    let doctor = Doctor::ask(&closed, &[]);
    let refused = &doctor.check("backends", "kmsg")["remedy"];
    assert!(
        refused.as_str().is_some_and(|text| text.contains("device")),
        "{refused}"
    );
    for backend in given(machine) {
        let attached = attach(&closed, backend, &[]);
        assert_eq!(
            attached.is_err(),
            *backend == "kmsg",
            "{backend}: {attached:?}"
        );
        assert_eq!(doctor.has(backend), attached.is_ok(), "{:#}", doctor.said);
    }
}

/// As root that lacks `CAP_SYSLOG`, and the log with it, which some kernels show to anyone and which states the scope too.
fn symbols(machine: &Machine) {
    let table = table("## The backends");
    let root = Confined::root(machine);
    let blind = Confined {
        capabilities: root.capabilities.difference(CapabilitySet::SYSLOG),
        devices: Devices::Closed,
        ..root
    };
    let hidden = |doctor: &Doctor| doctor.check("sources", "kernel symbols")["status"] != "ok";
    if !hidden(&Doctor::ask(&blind, &[])) {
        eprintln!("skipped: the kernel shows its symbols to anyone");
        return;
    }
    for row in table.rows() {
        let backend = row.word("backend");
        let is_needed = match row.cell("kernel symbols") {
            "for the scope" => true,
            "no" => false,
            other => panic!("kernel symbols: {other}"),
        };
        if !given(machine).contains(&backend) || attach(&blind, backend, &[]).is_err() {
            continue;
        }
        let doctor = Doctor::ask(&blind, &["--backend", backend]);
        let status = &doctor.check("sources", "kernel symbols")["status"];
        assert_eq!(status == "warn", is_needed, "{backend}: {:#}", doctor.said);
        let arguments = ["watch", "--backend", backend, "--timeout", "1ms"];
        let stderr = blind.run(&arguments).stderr;
        assert_eq!(stderr.contains("symbols"), is_needed, "{backend}: {stderr}");
        assert!(!hidden(&Doctor::ask(&root, &["--backend", backend])));
    }
}

const CONFIG: &str = "/proc/config.gz";

fn config(_: &Machine) -> Result<(), Skip> {
    match kernel_config() {
        Some(_) => Ok(()),
        None => Err(Skip(format!("no {CONFIG}, or no zcat to read it with"))),
    }
}

fn kernel_config() -> Option<String> {
    let output = Command::new("zcat").arg(CONFIG).output().ok()?;
    String::from_utf8(output.stdout)
        .ok()
        .filter(|text| text.contains("=y"))
}

fn options(machine: &Machine) {
    let config = kernel_config().expect("read before");
    let table = table("## The backends");
    assert_eq!(table.rows().count(), backends().len());
    for row in table.rows() {
        let backend = row.word("backend");
        if !given(machine).contains(&backend) {
            continue;
        }
        for option in row.words("kernel options") {
            let line = format!("{option}=y");
            assert!(
                config.lines().any(|found| found == line),
                "{backend}: {line}"
            );
        }
        let (major, minor) = row.cell("Linux").split_once('.').expect("a version");
        let first = (
            major.parse().expect("a number"),
            minor.parse().expect("a number"),
        );
        assert!(kernel::release() >= first, "{backend}: {first:?}");
    }
}
