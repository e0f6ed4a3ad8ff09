//! The guest's files: busybox, oomwatch, the test executable, their shared libraries, and an init that runs the test
//! executable, prints its exit code and reboots.
//!
//! The guest is root and has the memory controller on the chosen version of cgroups, tracefs, bpffs and securityfs, two
//! processors, and 1 GiB of memory on two NUMA nodes without swap. What differs between boots is on the kernel's command
//! line, whose `NAME=VALUE` words the kernel puts into the environment of init.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::console::EXIT_CODE;
use super::initramfs::Initramfs;
use super::interface::BACKEND_VARIABLE;
use super::plan::Plan;
use crate::exec;

/// Path of oomwatch in the guest; the test executable reads it from `OOMWATCH_BIN`.
const OOMWATCH: &str = "/bin/oomwatch";
const TEST: &str = "/bin/kernel-test";
/// Names of the tests that the short set leaves out, one a line.
const LEFT_OUT: &str = "/etc/left-out-of-the-short-set";

/// Words for the kernel's command line, read by init and by the tests.
pub(crate) fn words(plan: &Plan) -> String {
    let (cgroup, backend, tests) = (plan.cgroup, plan.backend.value(), plan.tests);
    format!("OOMWATCH_CGROUP={cgroup} {BACKEND_VARIABLE}={backend} OOMWATCH_VM_TESTS={tests}")
}

/// What the archive is made of.
pub(crate) struct Contents<'a> {
    pub(crate) oomwatch: &'a Path,
    pub(crate) test: &'a Path,
    /// Arguments of the test executable.
    pub(crate) test_args: &'a [String],
    /// Names of the tests that the short set leaves out.
    pub(crate) left_out: &'a [&'a str],
}

/// The archive that the kernel unpacks.
pub(crate) fn initramfs(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let Contents {
        oomwatch,
        test,
        test_args,
        left_out,
    } = *contents;
    let busybox = exec::find("busybox").context("busybox not found")?;
    let mut initramfs = Initramfs::default();
    // The kernel opens it as init's stdin, stdout and stderr.
    initramfs.device("/dev/console", 5, 1)?;
    for folder in ["/proc", "/sys", "/tmp", "/run", "/root", "/var/lib"] {
        initramfs.folder(folder)?;
    }
    initramfs.file(
        "/etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    initramfs.file("/etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let lines: String = left_out.iter().flat_map(|name| [name, "\n"]).collect();
    initramfs.file(LEFT_OUT, 0o644, lines.as_bytes())?;
    initramfs.file("/init", 0o755, init(test_args).as_bytes())?;

    let mut libraries = BTreeSet::new();
    for (source, path) in [
        (busybox.as_path(), "/bin/busybox"),
        (oomwatch, OOMWATCH),
        (test, TEST),
    ] {
        initramfs.file(path, 0o755, &read(source)?)?;
        libraries.extend(shared_libraries(source)?);
    }
    for library in libraries {
        let path = library
            .to_str()
            .with_context(|| format!("{} is not UTF-8", library.display()))?;
        initramfs.file(path, 0o755, &read(&library)?)?;
    }
    initramfs.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The kernel logs nothing to the console while the tests run, so that their lines are not cut; an oops raises the level
/// again by itself. After a failure the end of the kernel log is printed.
fn init(test_args: &[String]) -> String {
    let words: Vec<String> = [TEST]
        .into_iter()
        .chain(test_args.iter().map(String::as_str))
        .map(quote)
        .collect();
    let command = words.join(" ");
    format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb OOMWATCH_BIN={OOMWATCH}
export OOMWATCH_REQUIRE=1 OOMWATCH_SYSTEM=1 OOMWATCH_PATIENCE=10 OOMWATCH_STORM=60 OOMWATCH_NAMESPACES=30
mount_at() {{
    mkdir -p "$2" && mount -t "$1" ${{3:+-o "$3"}} "$1" "$2" || echo "init: cannot mount $1 at $2"
}}
mount_at proc /proc
mount_at sysfs /sys
mount_at debugfs /sys/kernel/debug
mount_at devtmpfs /dev
mount_at devpts /dev/pts
mount_at tmpfs /dev/shm
mount_at tmpfs /tmp
mount_at tmpfs /run
mount_at tracefs /sys/kernel/tracing
mount_at bpf /sys/fs/bpf
mount_at securityfs /sys/kernel/security
case "$OOMWATCH_CGROUP" in
v1)
    mount_at tmpfs /sys/fs/cgroup
    for controller in memory cpuset; do
        mount_at cgroup "/sys/fs/cgroup/$controller" "$controller"
    done
    # As systemd does: before 5.11 a limit holds for nothing but its own cgroup otherwise.
    echo 1 > /sys/fs/cgroup/memory/memory.use_hierarchy
    ;;
*)
    mount_at cgroup2 /sys/fs/cgroup
    for controller in memory pids cpu cpuset; do
        echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || echo "init: no $controller controller"
    done
    ;;
esac
[ -e /sys/devices/system/node/node1 ] || echo "init: no second node of memory"
echo 1 > /proc/sys/kernel/panic_on_oops
echo -1 > /proc/sys/kernel/panic
echo 1 > /proc/sys/kernel/printk
ip link set lo up
hostname guest
echo "init: $(uname -r)"
set --
if [ "$OOMWATCH_VM_TESTS" = short ]; then
    set -- --exact
    while read -r test; do
        set -- "$@" --skip "$test"
    done < {LEFT_OUT}
fi
cd /tmp
{command} "$@"
code=$?
if [ $code != 0 ]; then
    echo "init: end of the kernel log"
    dmesg | tail -n 100
fi
printf '\n{EXIT_CODE}%s\n' $code
sync
sleep 0.2
reboot -f
"#
    )
}

/// Quotes a word so that a shell takes it literally.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("failed to start `ldd`")?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if !output.status.success() {
        if stderr.contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        bail!("`ldd {}`: {}", program.display(), stderr.trim());
    }
    parse_ldd(&stdout)
        .with_context(|| format!("failed to read the libraries of {}", program.display()))
}

/// Lines `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`, and without a file
/// `linux-vdso.so.1 (0x…)`.
fn parse_ldd(listed: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in listed.lines().map(str::trim) {
        let (name, found) = line.split_once(" => ").unwrap_or((line, line));
        if found == "not found" {
            bail!("{name} is not installed");
        }
        let path = found.rsplit_once(" (0x").map_or(found, |(path, _)| path);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::super::boots::{BackendChoice, CgroupVersion, Tests};
    use super::super::kernels::Kernel;
    use super::*;

    #[test]
    fn libraries_are_those_with_a_file() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd1)\n\
                      \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f2)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n";
        assert_eq!(
            parse_ldd(listed).unwrap(),
            [
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
    }

    #[test]
    fn missing_library_is_an_error_that_names_it() {
        let error = parse_ldd("\tlibodd.so.1 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "libodd.so.1 is not installed");
    }

    #[test]
    fn static_or_odd_programs_have_no_libraries() {
        for listed in ["", "\tstatically linked\n", " => \n", "(0x0)\n", "x => y\n"] {
            assert_eq!(
                parse_ldd(listed).unwrap(),
                Vec::<PathBuf>::new(),
                "{listed}"
            );
        }
    }

    #[test]
    fn arguments_reach_the_test_literally() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("$(reboot) 'x'"), r"'$(reboot) '\''x'\'''");
        let init = init(&["--exact".to_owned(), "a;b".to_owned()]);
        assert!(init.contains("\n'/bin/kernel-test' '--exact' 'a;b' \"$@\"\n"));
    }

    #[test]
    fn words_need_no_quotes() {
        let plan = Plan {
            name: "6.1-v1".to_owned(),
            kernel: Kernel {
                version: "6.1.1-1".to_owned(),
                image: PathBuf::new(),
            },
            cgroup: CgroupVersion::V1,
            backend: BackendChoice::Kprobe,
            tests: Tests::Short,
        };
        assert_eq!(
            words(&plan),
            format!("OOMWATCH_CGROUP=v1 {BACKEND_VARIABLE}=kprobe OOMWATCH_VM_TESTS=short")
        );
    }

    #[test]
    fn short_set_skips_exactly_the_tests_that_are_left_out() {
        let script = init(&[]);
        let from = script.find("set --\nif").unwrap();
        let to = script.find("cd /tmp").unwrap();
        let folder = std::env::temp_dir().join(format!("xtask-init-{}", std::process::id()));
        fs::write(&folder, "a\nb_c\n").unwrap();
        let part = script[from..to].replace(LEFT_OUT, folder.to_str().unwrap());
        let arguments = |tests: &str| {
            let script = format!("OOMWATCH_VM_TESTS={tests}\n{part}echo \"$@\"");
            exec::output(Command::new("sh").args(["-c", &script])).unwrap()
        };
        assert_eq!(arguments("short"), "--exact --skip a --skip b_c\n");
        assert_eq!(arguments("all"), "\n");
        fs::remove_file(&folder).unwrap();
    }
}
