//! Signs the checksums by ssh-keygen, which most machines have: nothing is installed to sign or to verify.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::exec;

/// Keeps a signature from being taken for one of another use of the same key, such as a commit's.
const NAMESPACE: &str = "oomwatch";

/// Writes the signature of a file to `FILE.sig`.
pub(super) fn sign(file: &Path, key: &Path) -> Result<()> {
    ensure!(
        exec::find("ssh-keygen").is_some(),
        "ssh-keygen not found (install OpenSSH's client)"
    );
    exec::run(
        Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(key)
            .arg(file),
    )
    .context("failed to sign the checksums")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn ssh_keygen_verifies_the_signature_of_this_file_alone() {
        if exec::find("ssh-keygen").is_none() {
            return;
        }
        let folder = std::env::temp_dir().join(format!("oomwatch-sign-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let key = folder.join("key");
        let mut generate = Command::new("ssh-keygen");
        generate
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key);
        exec::output(&mut generate).unwrap();
        let public = fs::read_to_string(folder.join("key.pub")).unwrap();
        fs::write(folder.join("signers"), format!("releases {public}")).unwrap();
        let sums = folder.join("SHA256SUMS");
        fs::write(&sums, "00  file\n").unwrap();
        sign(&sums, &key).unwrap();
        let verify = || {
            Command::new("ssh-keygen")
                .args(["-Y", "verify", "-n", "oomwatch", "-I", "releases"])
                .args(["-f", "signers", "-s", "SHA256SUMS.sig"])
                .current_dir(&folder)
                .stdin(File::open(&sums).unwrap())
                .output()
                .unwrap()
        };
        assert!(verify().status.success(), "{:?}", verify());
        fs::write(&sums, "01  file\n").unwrap();
        assert!(!verify().status.success());
        fs::remove_dir_all(folder).unwrap();
    }
}
