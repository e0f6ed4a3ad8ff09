//! One process and one limit: who, whose limit, whose allocation, and the figures against the kernel's own.

use super::MIB;
use crate::{
    Scenario, Skip,
    expected::{Expected, Trigger, Usage},
    kernel::{self, KernelLog},
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("kill_is_printed_when_it_happens", printed_when_it_happens),
    Scenario::new(
        "process_over_its_own_limit_is_told_with_every_field",
        every_field,
    ),
    Scenario::new("figures_agree_with_the_kernel_log", kernel_log).needing(log_readable),
    Scenario::new("ancestor_limit_reports_both_cgroups", ancestor_limit),
    Scenario::new("trigger_in_another_cgroup_is_not_the_victim", other_trigger),
    Scenario::new("shared_memory_is_not_anonymous", shared_memory),
    Scenario::new("limit_without_a_kill_reports_nothing", no_kill),
];

fn printed_when_it_happens(machine: &Machine) {
    let scene = machine.scene("printed");
    scene.limit(16 * MIB);
    let mut watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    for _ in 0..3 {
        let victim = Hog::plain().start(&scene, machine.patience).killed();
        let report = crate::report::Report::parse(&watcher.line());
        Expected::new(&victim, &scene).check(&report);
    }
    let ended = watcher.interrupt();
    assert!(ended.lines.is_empty(), "{ended:?}");
}

fn every_field(machine: &Machine) {
    let scene = machine.scene("own-limit");
    scene.limit(32 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victim = Hog::plain()
        .set("adj", 500)
        .set("uid", 12345)
        .named(b"named by itself")
        .start(&scene, machine.patience)
        .killed();
    let ended = watcher.interrupt();
    let report = ended.report();
    Expected::new(&victim, &scene).check(&report);
    report.is("/victim/uid", 12345);
    report.is("/victim/oom_score_adj", 500);
    for place in [
        "/container",
        "/pod",
        "/unit",
        "/victim/leaf_cgroup",
        "/victim/cmdline",
    ] {
        report.lacks(place);
    }
    let sum = ended.sum();
    assert!(sum.kills >= 1, "{sum:?}");
}

fn log_readable(_: &Machine) -> Result<(), Skip> {
    KernelLog::open()
        .map(drop)
        .map_err(|error| Skip(format!("open /dev/kmsg: {error}")))
}

fn kernel_log(machine: &Machine) {
    let mut log = KernelLog::open().expect("opened before");
    let scene = machine.scene("kernel-log");
    scene.limit(32 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victim = Hog::plain()
        .set("adj", 321)
        .set("uid", 54321)
        .named(b"logged")
        .start(&scene, machine.patience)
        .killed();
    let report = watcher.interrupt().report();
    Expected::new(&victim, &scene).check(&report);

    let texts = log.texts();
    let line = kernel::killed_line(&texts, victim.pid, "logged")
        .unwrap_or_else(|| panic!("no line of the kernel's on {victim:?}: {texts:#?}"));
    for (name, place, bytes_off) in [
        ("total-vm", "/victim/total_vm_bytes", 0),
        ("pgtables", "/victim/pgtables_bytes", 0),
        (
            "anon-rss",
            "/victim/anon_rss_bytes",
            kernel::log_error_bytes(),
        ),
        (
            "file-rss",
            "/victim/file_rss_bytes",
            kernel::log_error_bytes(),
        ),
        (
            "shmem-rss",
            "/victim/shmem_rss_bytes",
            kernel::log_error_bytes(),
        ),
    ] {
        let logged = u64::try_from(line[name]).expect("a size") * 1024;
        let reported = report.number(place);
        assert!(
            reported.abs_diff(logged) <= bytes_off,
            "{name} {logged}: {report:?}"
        );
    }
    report.is("/victim/uid", line["UID"]);
    report.is("/victim/oom_score_adj", line["oom_score_adj"]);
    match kernel::oom_kill_line(&texts, victim.pid) {
        Some((oom, task)) => {
            assert_eq!(oom.as_bytes(), report.bytes("/oom_cgroup/path"));
            assert_eq!(task.as_bytes(), report.bytes("/victim/cgroup/path"));
        }
        None => eprintln!("the kernel held its oom-kill: line back, since it had written too many"),
    }
}

fn ancestor_limit(machine: &Machine) {
    let scene = machine.scene("ancestor");
    scene.limit(24 * MIB);
    let middle = scene.make("middle");
    let unlimited = middle.make("unlimited");
    let limited = middle.make("limited");
    limited.limit(64 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victims = [&unlimited, &limited].map(|cgroup| {
        let victim = Hog::plain().start(cgroup, machine.patience).killed();
        (victim, cgroup)
    });
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    for ((victim, cgroup), report) in victims.iter().zip(&reports) {
        let mut expected = Expected::new(victim, cgroup).out_of(2, "cgroup");
        expected.min_rss_bytes = 12 * MIB;
        expected.check(report);
    }
}

fn other_trigger(machine: &Machine) {
    let scene = machine.scene("other-trigger");
    scene.limit(32 * MIB);
    let (large, small) = (scene.make("large"), scene.make("small"));
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let mut holder = Hog::holding(16 * MIB)
        .set("adj", 1000)
        .named(b"large")
        .start(&large, machine.patience);
    holder.ready();
    let hog = Hog::plain().named(b"small").start(&small, machine.patience);
    let first = holder.killed();
    // It goes on until it is killed itself.
    let second = hog.killed();
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    let mut expected = Expected::new(&first, &large)
        .out_of(1, "cgroup")
        .triggered_by(Trigger::Process(
            second.pid,
            second.name.clone(),
            small.path().to_vec(),
            small.id(),
        ));
    expected.min_rss_bytes = 16 * MIB;
    expected.check(&reports[0]);
    let mut expected = Expected::new(&second, &small).out_of(1, "cgroup");
    // The killer may have come to it while the first one's memory was not given back yet.
    expected.usage = Usage::Freed;
    expected.check(&reports[1]);
    assert_ne!(reports[0].text("/incident"), reports[1].text("/incident"));
}

fn shared_memory(machine: &Machine) {
    let scene = machine.scene("shared-memory");
    scene.limit(24 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victim = Hog::new("shared").start(&scene, machine.patience).killed();
    let report = watcher.interrupt().report();
    Expected::new(&victim, &scene).check(&report);
    let shared = report.number("/victim/shmem_rss_bytes");
    assert!(
        shared + kernel::rss_error_bytes(1) >= 12 * MIB,
        "{report:?}"
    );
    assert!(
        report.number("/victim/anon_rss_bytes") < 4 * MIB,
        "{report:?}"
    );
}

fn no_kill(machine: &Machine) {
    let scene = machine.scene("no-kill");
    scene.limit(32 * MIB);
    let watcher = Watch::new(machine, &["-o", "wide", "--no-header"])
        .below(&scene)
        .start();
    let mut holder = Hog::holding(8 * MIB).start(&scene, machine.patience);
    holder.ready();
    let pid = holder.pid().to_string();
    // SIGKILL from a process is not the kernel's.
    drop(holder);
    let ended = watcher.interrupt();
    let reported = ended
        .text()
        .into_iter()
        .find(|line| line.split_ascii_whitespace().any(|word| word == pid));
    assert_eq!(reported, None);
    ended.sum();
}
