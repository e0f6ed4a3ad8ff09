//! Reads an executable's ELF headers: its machine, and whether it starts without a loader.
//!
//! In an image without a C library every other executable fails with `no such file or directory`.

use anyhow::{Context as _, Result, ensure};

/// `EM_X86_64` of `elf.h`.
pub(crate) const X86_64: u16 = 62;
/// `EM_AARCH64` of `elf.h`.
pub(crate) const AARCH64: u16 = 183;
/// `PT_INTERP` of `elf.h`: the segment that names the loader.
const INTERPRETER: u32 = 3;

/// Fails unless the file is for this machine and statically linked.
pub(crate) fn ensure_static(file: &[u8], machine: u16) -> Result<()> {
    // Magic, 64 bits, little endian.
    ensure!(
        file.starts_with(b"\x7fELF\x02\x01"),
        "not a 64-bit little-endian ELF file"
    );
    let half = |at: usize| read(file, at).map(u16::from_le_bytes);
    let found = half(18)?;
    ensure!(
        found == machine,
        "it is for the ELF machine {found}, not {machine}"
    );
    let start = usize::try_from(u64::from_le_bytes(read(file, 32)?))?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..count {
        let at = start.checked_add(index * size).context(TRUNCATED)?;
        let kind = u32::from_le_bytes(read(file, at)?);
        ensure!(
            kind != INTERPRETER,
            "it is linked dynamically, which needs a C library"
        );
    }
    Ok(())
}

const TRUNCATED: &str = "the file ends within its headers";

fn read<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N]> {
    file.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .context(TRUNCATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these segments.
    fn file(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(segments.len()).unwrap();
        for kind in segments {
            file.extend(kind.to_le_bytes());
            file.resize(file.len() + 52, 0);
        }
        file
    }

    #[test]
    fn file_without_a_loader_is_static() {
        assert!(ensure_static(&file(X86_64, &[1, 2, 7]), X86_64).is_ok());
        assert!(ensure_static(&file(AARCH64, &[]), AARCH64).is_ok());
    }

    #[test]
    fn dynamic_foreign_and_truncated_files_are_errors() {
        let error = |file: &[u8]| ensure_static(file, X86_64).unwrap_err().to_string();
        assert!(error(&file(X86_64, &[6, 3])).contains("dynamically"));
        assert!(error(&file(AARCH64, &[])).contains("machine 183, not 62"));
        for odd in [&b""[..], b"\x7fELF", b"\x7fELF\x01\x01", b"#!/bin/sh\n"] {
            assert!(error(odd).contains("not a 64-bit"), "{odd:?}");
        }
        let whole = file(X86_64, &[1]);
        for cut in 6..68 {
            assert!(error(&whole[..cut]).contains(TRUNCATED), "{cut}");
        }
        let mut far = whole;
        far[32..40].fill(0xFF);
        assert!(error(&far).contains(TRUNCATED));
    }

    #[test]
    fn our_own_executable_is_of_this_machine() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let machine = if cfg!(target_arch = "x86_64") {
            X86_64
        } else {
            AARCH64
        };
        // Linked as the toolchain does it by default, statically or not.
        let dynamic = ensure_static(&own, machine).err().map(|e| e.to_string());
        assert!(dynamic.is_none_or(|why| why.contains("dynamically")));
    }
}
