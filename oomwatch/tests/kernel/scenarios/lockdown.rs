//! The kernel's lockdown for confidentiality: BPF may not read the kernel's memory any more, until the next boot. So this comes
//! last, and only on a machine that is there for these tests alone.

use std::{fs, io, path::Path, ptr};

use super::{MIB, system};
use oomwatch::model::backend::Backend;

use crate::{
    Scenario, Skip,
    backends::{Backends, try_backend},
    expected::Expected,
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] =
    &[Scenario::new("locked_down_kernel_is_read_by_its_log", locked_down).needing(lockdown)];

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const LEVEL: &str = "confidentiality";

fn lockdown(machine: &Machine) -> Result<(), Skip> {
    system::guest(machine)?;
    if !machine.may_lock_down {
        return Err(Skip("asked to leave lockdown alone".to_owned()));
    }
    let skip = |error: io::Error| Skip(format!("look for lockdown: {error}"));
    if !fs::exists(LOCKDOWN).map_err(skip)? {
        mount_securityfs().map_err(skip)?;
    }
    let levels = fs::read_to_string(LOCKDOWN).map_err(skip)?;
    if !levels.contains(LEVEL) {
        return Err(Skip(format!("no level of lockdown is called so: {levels}")));
    }
    try_backend(machine, Backend::Kmsg).map_err(Skip)
}

/// A guest's own init may not have done so.
fn mount_securityfs() -> io::Result<()> {
    let folder = Path::new(LOCKDOWN).parent().expect("a folder");
    assert_eq!(folder, Path::new("/sys/kernel/security"));
    // SAFETY: names that end with a NUL.
    let mounted = unsafe {
        libc::mount(
            c"securityfs".as_ptr(),
            c"/sys/kernel/security".as_ptr(),
            c"securityfs".as_ptr(),
            0,
            ptr::null(),
        )
    };
    match mounted {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn locked_down(machine: &Machine) {
    let scene = machine.scene("lockdown");
    scene.limit(16 * MIB);
    let levels = fs::read_to_string(LOCKDOWN).expect("read the level of lockdown");
    if !levels.contains(&format!("[{LEVEL}]")) {
        fs::write(LOCKDOWN, LEVEL).expect("lock the kernel down");
    }
    let watches = Backend::ALL.map(|backend| {
        let watch = match backend {
            // The one that is expected to be taken without a choice.
            Backend::Kmsg => Watch::new(machine, &["-o", "json", "--backend", "auto"]),
            backend => Watch::on(machine, backend),
        };
        (backend, watch)
    });
    let mut backends = Backends::start_as(machine, watches);
    let victim = Hog::plain().start(&scene, machine.patience).killed();
    backends.saw("lockdown-confidentiality", [Expected::new(&victim, &scene)]);
    backends.end();
}
