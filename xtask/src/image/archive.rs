//! An image of one file as an archive in the OCI image layout (`image-spec`, `image-layout.md`), in memory.
//!
//! The root holds the executable and nothing else. Every owner is root and every time is 0, and nothing depends on the machine
//! or the clock, so that the same executable gives the same bytes.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Path of the executable in the image.
pub(crate) const ENTRYPOINT: &str = "/oomwatch";

/// Content of the image.
pub(crate) struct Image<'a> {
    /// The statically linked executable.
    pub(crate) executable: &'a [u8],
    /// `amd64` or `arm64`, as the OCI calls them.
    pub(crate) architecture: &'a str,
    /// Name of the image after its import, such as `registry.example/oomwatch:1`.
    pub(crate) name: &'a str,
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
    /// The archive for `ctr images import`, `podman load` and `docker load`.
    pub(crate) fn archive(&self) -> Result<Vec<u8>> {
        let files = self.root()?;
        let layer = Blob::new(LAYER, compress(&files)?);
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
        let index = self.index(&manifest);

        let mut archive = Builder::new(Vec::new());
        append(
            &mut archive,
            "oci-layout",
            0o644,
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        append(
            &mut archive,
            "index.json",
            0o644,
            index.to_string().as_bytes(),
        )?;
        let mut blobs = [&layer, &config, &manifest];
        blobs.sort_unstable_by(|one, other| one.digest.cmp(&other.digest));
        for blob in blobs {
            append(&mut archive, &blob.path(), 0o644, &blob.bytes)?;
        }
        archive.into_inner().context("failed to end the archive")
    }

    /// The root file system as an archive.
    fn root(&self) -> Result<Vec<u8>> {
        let mut files = Builder::new(Vec::new());
        let path = ENTRYPOINT.trim_start_matches('/');
        append(&mut files, path, 0o755, self.executable)?;
        files.into_inner().context("failed to end the layer")
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

    fn index(&self, manifest: &Blob) -> Value {
        let mut descriptor = manifest.descriptor();
        descriptor["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        // The first is the standard's, the second is the one that containerd uses.
        descriptor["annotations"] = json!({
            "org.opencontainers.image.ref.name": self.name,
            "io.containerd.image.name": self.name,
        });
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] })
    }
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(u64::try_from(content.len())?);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("failed to archive {path}"))
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    // 255 in the header means an unknown operating system.
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    gzip.write_all(bytes)
        .context("failed to compress the layer")?;
    gzip.finish().context("failed to compress the layer")
}

fn digest(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        digits.extend(
            [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
        );
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    const NAME: &str = "registry.example/team/oomwatch:0.1.0";

    fn archive(executable: &[u8]) -> Vec<u8> {
        Image {
            executable,
            architecture: "amd64",
            name: NAME,
            labels: &[("title", "oomwatch"), ("version", "0.1.0")],
        }
        .archive()
        .unwrap()
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
    fn same_executable_gives_the_same_bytes() {
        let executable: Vec<u8> = (0..2_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(archive(&executable), archive(&executable));
        assert_ne!(archive(&executable), archive(&executable[1..]));
    }

    #[test]
    fn digest_is_that_of_the_standard() {
        // From FIPS 180-4: the empty message and "abc".
        assert_eq!(
            digest(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
