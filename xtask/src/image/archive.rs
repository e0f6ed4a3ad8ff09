//! An image of one file as an archive in the OCI image layout (`image-spec`, `image-layout.md`), in memory.
//!
//! The root holds the executable and nothing else. Every owner is root and every time is 0, and nothing depends on the machine
//! or the clock, so that the same executable gives the same bytes.

use anyhow::Result;
use serde_json::{Value, json};

use crate::tarball::{self, Entry, digest};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Path of the executable in the image.
pub(crate) const ENTRYPOINT: &str = "/oomwatch";

/// An image for one architecture.
pub(crate) struct Image<'a> {
    /// Its files, with the statically linked executable at [`ENTRYPOINT`].
    pub(crate) files: &'a [Entry],
    /// `amd64` or `arm64`, as the OCI calls them.
    pub(crate) architecture: &'a str,
    /// Labels `org.opencontainers.image.*`, by the last word of their names.
    pub(crate) labels: &'a [(&'a str, &'a str)],
}

/// Bytes that are addressed by their digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self {
            media_type,
            digest: digest(&bytes),
            bytes,
        }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }
}

impl Image<'_> {
    /// The blobs of its manifest, which is the last of them.
    fn blobs(&self) -> Result<[Blob; 3]> {
        let files = tarball::tar(self.files, 0)?;
        let layer = Blob::new(LAYER, tarball::gzip(&files)?);
        let config = Blob::json(CONFIG, &self.config(&digest(&files)));
        let manifest = Blob::json(
            MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config.descriptor(),
                "layers": [layer.descriptor()],
            }),
        );
        Ok([layer, config, manifest])
    }

    fn config(&self, files: &str) -> Value {
        let labels: Value = self
            .labels
            .iter()
            .map(|(name, value)| (format!("org.opencontainers.image.{name}"), *value))
            .collect();
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                // Any other user would have no effective capability.
                "User": "0",
                "Entrypoint": [ENTRYPOINT],
                "Labels": labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{files}")] },
        })
    }
}

/// The archive for `ctr images import`, `podman load` and `docker load`. Images for several architectures are one image by an
/// index of its own, which a registry keeps.
///
/// `name` is that of the image after its import, such as `registry.example/oomwatch:1`.
pub(crate) fn archive(name: &str, images: &[Image<'_>]) -> Result<Vec<u8>> {
    let mut blobs = Vec::new();
    let mut manifests = Vec::new();
    for image in images {
        let [layer, config, manifest] = image.blobs()?;
        let mut descriptor = manifest.descriptor();
        descriptor["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
        manifests.push(descriptor);
        blobs.extend([layer, config, manifest]);
    }
    if manifests.len() > 1 {
        let index = Blob::json(INDEX, &index(&manifests));
        manifests = vec![index.descriptor()];
        blobs.push(index);
    }
    for descriptor in &mut manifests {
        // The first is the standard's, the second is the one that containerd uses.
        descriptor["annotations"] = json!({
            "org.opencontainers.image.ref.name": name,
            "io.containerd.image.name": name,
        });
    }
    blobs.sort_unstable_by(|one, other| one.digest.cmp(&other.digest));
    blobs.dedup_by(|one, other| one.digest == other.digest);
    let layout = &br#"{"imageLayoutVersion":"1.0.0"}"#[..];
    let mut entries = vec![
        Entry::new("oci-layout", layout),
        Entry::new("index.json", index(&manifests).to_string()),
    ];
    entries.extend(
        blobs
            .into_iter()
            .map(|blob| Entry::new(blob.path(), blob.bytes)),
    );
    tarball::tar(&entries, 0)
}

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    const NAME: &str = "registry.example/team/oomwatch:0.1.0";

    fn archive(executable: &[u8]) -> Vec<u8> {
        archive_of(&[("amd64", executable)])
    }

    fn archive_of(executables: &[(&str, &[u8])]) -> Vec<u8> {
        let root = |executable: &[u8]| [Entry::executable("oomwatch", executable)];
        let roots: Vec<[Entry; 1]> = executables.iter().map(|(_, e)| root(e)).collect();
        let images: Vec<Image<'_>> = executables
            .iter()
            .zip(&roots)
            .map(|(&(architecture, _), files)| Image {
                files,
                architecture,
                labels: &[("title", "oomwatch"), ("version", "0.1.0")],
            })
            .collect();
        super::archive(NAME, &images).unwrap()
    }

    /// Path to mode, owner, time and content, parsed as the format specifies.
    fn files(archive: &[u8]) -> BTreeMap<String, ([u64; 4], Vec<u8>)> {
        let read = |mut entry: tar::Entry<'_, &[u8]>| {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            let facts = [
                u64::from(header.mode().unwrap()),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
            ];
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            (path, (facts, content))
        };
        let mut archive = Archive::new(archive);
        let entries = archive.entries().unwrap();
        entries.map(|entry| read(entry.unwrap())).collect()
    }

    /// The blob of a descriptor, with size and digest checked.
    fn blob(files: &BTreeMap<String, ([u64; 4], Vec<u8>)>, descriptor: &Value) -> Vec<u8> {
        let named = descriptor["digest"].as_str().unwrap();
        let hex = named.strip_prefix("sha256:").unwrap();
        let (_, bytes) = &files[&format!("blobs/sha256/{hex}")];
        assert_eq!(digest(bytes), hex);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    }

    #[test]
    fn digests_lead_from_the_index_to_the_executable() {
        let files_of_image = files(&archive(b"\x7fELF"));
        assert_eq!(files_of_image.len(), 5);
        for (facts, _) in files_of_image.values() {
            assert_eq!(*facts, [0o644, 0, 0, 0]);
        }
        let (_, layout) = &files_of_image["oci-layout"];
        assert_eq!(layout, br#"{"imageLayoutVersion":"1.0.0"}"#);
        let (_, index) = &files_of_image["index.json"];
        let index: Value = serde_json::from_slice(index).unwrap();
        let descriptor = &index["manifests"][0];
        assert_eq!(descriptor["annotations"]["io.containerd.image.name"], NAME);
        let manifest: Value = serde_json::from_slice(&blob(&files_of_image, descriptor)).unwrap();
        assert_eq!(manifest["mediaType"], descriptor["mediaType"]);

        let config = blob(&files_of_image, &manifest["config"]);
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/oomwatch"]));
        assert_eq!(config["config"]["User"], "0");
        assert_eq!(
            config["config"]["Labels"]["org.opencontainers.image.version"],
            "0.1.0"
        );

        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        let layer = blob(&files_of_image, &manifest["layers"][0]);
        let mut unpacked = Vec::new();
        GzDecoder::new(&layer[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", digest(&unpacked))
        );
        let root = files(&unpacked);
        assert_eq!(root.len(), 1);
        assert_eq!(root["oomwatch"], ([0o755, 0, 0, 0], b"\x7fELF".to_vec()));
    }

    #[test]
    fn architectures_are_one_image_by_an_index_of_its_own() {
        let files = files(&archive_of(&[("amd64", b"one"), ("arm64", b"two")]));
        let (_, index) = &files["index.json"];
        let index: Value = serde_json::from_slice(index).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        let descriptor = &index["manifests"][0];
        assert_eq!(descriptor["mediaType"], INDEX);
        assert_eq!(descriptor["annotations"]["io.containerd.image.name"], NAME);
        let image: Value = serde_json::from_slice(&blob(&files, descriptor)).unwrap();
        let manifests = image["manifests"].as_array().unwrap();
        let mut configs = manifests.iter().map(|manifest| {
            assert!(manifest.get("annotations").is_none(), "{manifest}");
            let content: Value = serde_json::from_slice(&blob(&files, manifest)).unwrap();
            let config: Value = serde_json::from_slice(&blob(&files, &content["config"])).unwrap();
            assert_eq!(manifest["platform"]["architecture"], config["architecture"]);
            config["architecture"].as_str().unwrap().to_owned()
        });
        assert!(configs.by_ref().eq(["amd64", "arm64"]));
        // Three of each image, the index, and the two files of the layout.
        assert_eq!(files.len(), 9);
    }

    #[test]
    fn same_executable_gives_the_same_bytes() {
        let executable: Vec<u8> = (0..2_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(archive(&executable), archive(&executable));
        assert_ne!(archive(&executable), archive(&executable[1..]));
    }
}
