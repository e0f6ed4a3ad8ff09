//! Names of root's Podman containers, from the files of its storage (containers/storage, `containers.go`).
//!
//! Podman has no daemon. A container that is removed as it ends (`podman run --rm`, and so each of Quadlet's) is gone before
//! a Podman has started to answer at the socket; these files are read at once.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::identify::objects::RuntimeContainer;

/// The usual folders of the storage, relative to `/`; the second one is that of hosts that keep no container over a boot.
const FOLDERS: [&str; 2] = ["var/lib/containers/storage", "run/containers/storage"];
/// In the folder `DRIVER-containers` of the storage. Newer versions have those of `--rm` in the first one.
const FILES: [&str; 2] = ["volatile-containers.json", "containers.json"];
/// Most bytes read of a file; a container has six hundred.
const BYTES_MAX: u64 = 4 << 20;

/// Looks up a container by its id below `root`, which is `/` except in tests.
pub(super) fn find(root: &Path, id: &str) -> Option<RuntimeContainer> {
    FOLDERS
        .iter()
        .flat_map(|folder| drivers(&root.join(folder)))
        .flat_map(|driver| FILES.map(|file| driver.join(file)))
        .find_map(|file| find_in(&file, id))
}

fn drivers(storage: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(storage).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .ends_with(b"-containers")
        })
        .map(|entry| entry.path())
        .collect()
}

fn find_in(file: &Path, id: &str) -> Option<RuntimeContainer> {
    let mut text = Vec::new();
    File::open(file)
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text))
        .ok()?;
    let containers: Vec<Stored> = serde_json::from_slice(&text).ok()?;
    let found = containers.into_iter().find(|stored| stored.id == id)?;
    let image = serde_json::from_str(&found.metadata)
        .ok()
        .and_then(|Metadata { image_name }| image_name);
    Some(RuntimeContainer {
        name: found.names.into_iter().next()?,
        pod: None,
        image: image.filter(|image| !image.is_empty()),
        init_pid: None,
        exit_code: None,
    })
}

#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON of Podman's own.
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    image_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Podman 4.3 writes it, without the fields that are not read.
    const CONTAINERS: &str = r#"[
        {"id":"d446","names":["web"],"image":"2ec8","metadata":"{\"image-name\":\"localhost/box:latest\",\"name\":\"web\"}","flags":{}},
        {"id":"5e6a","names":["odd"],"metadata":"?"},
        {"id":"0000"}
    ]"#;

    fn container(name: &str, image: Option<&str>) -> RuntimeContainer {
        RuntimeContainer {
            name: name.to_owned(),
            pod: None,
            image: image.map(str::to_owned),
            init_pid: None,
            exit_code: None,
        }
    }

    #[test]
    fn container_is_named_from_the_file_of_any_driver() {
        let root = tempfile::tempdir().expect("make a folder");
        let find = |id| find(root.path(), id);
        assert_eq!(find("d446"), None);
        for (folder, file, content) in [
            (
                "var/lib/containers/storage/overlay-containers",
                "containers.json",
                CONTAINERS,
            ),
            (
                "var/lib/containers/storage/vfs-containers",
                "containers.json",
                "[{",
            ),
            (
                "run/containers/storage/overlay-containers",
                "volatile-containers.json",
                r#"[{"id":"a1b2","names":["once"]}]"#,
            ),
        ] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).expect("make a folder");
            fs::write(folder.join(file), content).expect("write a file");
        }
        let web = container("web", Some("localhost/box:latest"));
        assert_eq!(find("d446"), Some(web));
        assert_eq!(find("5e6a"), Some(container("odd", None)));
        assert_eq!(find("a1b2"), Some(container("once", None)));
        assert_eq!(find("0000"), None, "without a name");
        assert_eq!(find("d44"), None);
    }
}
