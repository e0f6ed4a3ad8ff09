//! The packages that an executable is built of, from cargo: as a `CycloneDX` document, and with the text of their licences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::VERSION;
use crate::cargo::Workspace;
use crate::exec;
use crate::tarball;

/// A package by its name and its version.
type Key = (String, String);

#[derive(Debug)]
pub(super) struct Dependencies {
    triple: &'static str,
    packages: BTreeMap<Key, Package>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Package {
    /// An SPDX expression.
    license: Option<String>,
    repository: Option<String>,
    folder: PathBuf,
    /// SHA-256 of its archive in the registry.
    checksum: Option<String>,
    needs: BTreeSet<Key>,
}

/// What an executable has beside packages; their licences are not in the registry.
const LIBRARIES: [(&str, &str); 3] = [
    (
        "the standard library of Rust",
        "The Rust Project contributors; MIT OR Apache-2.0; https://github.com/rust-lang/rust",
    ),
    (
        "musl (where the executable is for musl)",
        "Copyright 2005-2020 Rich Felker and others; MIT; https://musl.libc.org",
    ),
    (
        "the GNU C library (where the executable is for gnu)",
        "The Free Software Foundation and others; LGPL-2.1-or-later, \
         https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html; https://sourceware.org/glibc. \
         oomwatch's source is what links it again with another version.",
    ),
];

impl Dependencies {
    /// Those of the command for the target. Build dependencies and macros are not part of an executable.
    pub(super) fn load(workspace: &Workspace, triple: &'static str) -> Result<Self> {
        let cargo = |args: &[&str]| exec::output(workspace.cargo().args(args).arg("--locked"));
        let tree = cargo(&[
            "tree",
            "--package=oomwatch",
            "--edges=normal,no-proc-macro",
            "--prefix=none",
            "--format={p}",
            "--target",
            triple,
        ])?;
        let metadata = cargo(&[
            "metadata",
            "--format-version=1",
            "--filter-platform",
            triple,
        ])?;
        let lock = workspace.root.join("Cargo.lock");
        let lock = fs::read_to_string(&lock)
            .with_context(|| format!("failed to read {}", lock.display()))?;
        let packages = packages(
            &parse_tree(&tree),
            &serde_json::from_str(&metadata)?,
            &parse_lock(&lock),
        )?;
        Ok(Self { triple, packages })
    }

    /// In JSON of `CycloneDX`, without a time or a random serial number.
    pub(super) fn sbom(&self) -> Result<String> {
        let own = &(String::from("oomwatch"), VERSION.to_owned());
        let (own, others): (Vec<_>, Vec<_>) =
            self.packages.iter().partition(|(key, _)| *key == own);
        let component = |&(key, package): &(&Key, &Package)| package.component(key);
        let mut application = own.first().map(component).context("oomwatch is missing")?;
        application["type"] = json!("application");
        let dependencies = self.packages.iter().map(|(key, package)| {
            let needs: Vec<String> = package.needs.iter().map(purl).collect();
            json!({ "ref": purl(key), "dependsOn": needs })
        });
        let document = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": application,
                "properties": [{ "name": "cargo:target", "value": self.triple }],
            },
            "components": others.iter().map(component).collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
        });
        Ok(format!("{document:#}\n"))
    }

    /// Every text once, with the packages that it is for.
    pub(super) fn licenses(&self, apache: &str) -> Result<String> {
        let mut list = String::new();
        let mut texts: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
        for (key, package) in &self.packages {
            if package.checksum.is_none() {
                continue;
            }
            let name = format!("{} {}", key.0, key.1);
            let license = package.license.as_deref().unwrap_or("see its text");
            let _ = writeln!(list, "  {name}: {license}");
            for text in self.texts(package, apache).with_context(|| name.clone())? {
                let digest = tarball::digest(text.as_bytes());
                let (_, names) = texts.entry(digest).or_insert((text, Vec::new()));
                names.push(name.clone());
            }
        }
        for (name, license) in LIBRARIES {
            let _ = writeln!(list, "  {name}: {license}");
        }
        let mut texts: Vec<(String, Vec<String>)> = texts.into_values().collect();
        texts.sort_by(|(_, one), (_, other)| one.cmp(other));
        let line = "-".repeat(80);
        let texts = texts
            .iter()
            .map(|(text, names)| format!("\n{line}\n{}\n{line}\n\n{text}\n", names.join(", ")));
        Ok(format!(
            "oomwatch contains these works of others:\n\n{list}{}",
            texts.collect::<String>()
        ))
    }

    /// The texts in its package; else those of a package of the same repository; else the one that its expression names.
    fn texts(&self, package: &Package, apache: &str) -> Result<Vec<String>> {
        let own = texts_in(&package.folder)?;
        if !own.is_empty() {
            return Ok(own);
        }
        let siblings = self.packages.values().filter(|other| {
            other.repository.is_some()
                && other.repository == package.repository
                && other.license == package.license
        });
        for sibling in siblings {
            let texts = texts_in(&sibling.folder)?;
            if !texts.is_empty() {
                return Ok(texts);
            }
        }
        let license = package.license.as_deref().unwrap_or_default();
        ensure!(
            license.contains("Apache-2.0"),
            "no licence text found for `{license}`"
        );
        Ok(vec![apache.trim().to_owned()])
    }
}

impl Package {
    fn component(&self, key: &Key) -> Value {
        let mut component = json!({
            "type": "library",
            "bom-ref": purl(key),
            "name": key.0,
            "version": key.1,
            "purl": purl(key),
        });
        if let Some(license) = &self.license {
            component["licenses"] = json!([{ "expression": license }]);
        }
        if let Some(checksum) = &self.checksum {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if let Some(repository) = &self.repository {
            component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
        }
        component
    }
}

/// The package URL, which scanners know it by.
fn purl((name, version): &Key) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// Texts of licences and notices in a folder, in the order of their names.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_text = [
            "LICENSE",
            "LICENCE",
            "COPYING",
            "COPYRIGHT",
            "NOTICE",
            "UNLICENSE",
        ]
        .iter()
        .any(|begin| name.starts_with(begin));
        if is_text && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text =
                fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            Ok(text.trim().to_owned())
        })
        .collect()
}

/// `name v1.0.0 (/path) (*)`, one a line.
fn parse_tree(tree: &str) -> BTreeSet<Key> {
    let key = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.next()?.strip_prefix('v')?.to_owned()))
    };
    tree.lines().filter_map(key).collect()
}

/// Checksums of a `Cargo.lock`, whose form cargo fixes: in each package the name, the version, and later the checksum.
fn parse_lock(lock: &str) -> BTreeMap<Key, String> {
    let mut checksums = BTreeMap::new();
    let (mut name, mut version) = ("", "");
    for line in lock.lines() {
        let Some((field, value)) = line.split_once(" = ") else {
            continue;
        };
        let value = value.trim_matches('"');
        match field {
            "name" => name = value,
            "version" => version = value,
            "checksum" => {
                checksums.insert((name.to_owned(), version.to_owned()), value.to_owned());
            }
            _ => {}
        }
    }
    checksums
}

fn packages(
    wanted: &BTreeSet<Key>,
    metadata: &Value,
    checksums: &BTreeMap<Key, String>,
) -> Result<BTreeMap<Key, Package>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut by_id: BTreeMap<String, Key> = BTreeMap::new();
    let mut packages: BTreeMap<Key, Package> = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let key = text(&package["name"]).zip(text(&package["version"]));
        let key = key.context("cargo's metadata has a package without a name")?;
        let manifest = text(&package["manifest_path"]).map(PathBuf::from);
        if !wanted.contains(&key) {
            continue;
        }
        by_id.insert(text(&package["id"]).unwrap_or_default(), key.clone());
        let found = Package {
            // The form of old packages for `OR`.
            license: text(&package["license"]).map(|license| license.replace('/', " OR ")),
            repository: text(&package["repository"]),
            folder: manifest
                .and_then(|manifest| manifest.parent().map(Path::to_owned))
                .with_context(|| format!("cargo's metadata has no folder of {}", key.0))?,
            checksum: checksums.get(&key).cloned(),
            needs: BTreeSet::new(),
        };
        packages.insert(key, found);
    }
    for node in list(&metadata["resolve"]["nodes"]) {
        let key = text(&node["id"]).and_then(|id| by_id.get(&id));
        let Some(package) = key.and_then(|key| packages.get_mut(key)) else {
            continue;
        };
        for dependency in list(&node["deps"]) {
            let is_normal = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            let key = text(&dependency["pkg"]).and_then(|id| by_id.get(&id));
            package.needs.extend(key.filter(|_| is_normal).cloned());
        }
    }
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|key| !packages.contains_key(*key))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(
        missing.is_empty(),
        "cargo's metadata does not have {}",
        missing.join(", ")
    );
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, version: &str) -> Key {
        (name.to_owned(), version.to_owned())
    }

    fn dependencies(folder: &Path) -> Dependencies {
        let tree = "oomwatch v0.1.0 (/w/oomwatch)\none v1.0.0\ntwo v2.0.0+3\ntwo v2.0.0+3 (*)\n";
        let lock = "[[package]]\nname = \"one\"\nversion = \"1.0.0\"\nchecksum = \"aa\"\n\n\
            [[package]]\nname = \"oomwatch\"\nversion = \"0.1.0\"\ndependencies = [\n \"one\",\n]\n\n\
            [[package]]\nname = \"two\"\nversion = \"2.0.0+3\"\nsource = \"registry\"\nchecksum = \"bb\"\n";
        let package = |name: &str, version: &str, license: &str| {
            json!({ "id": format!("{name}-id"), "name": name, "version": version, "license": license,
                "repository": "https://example.org/r", "manifest_path": folder.join(name).join("Cargo.toml") })
        };
        let edge = |to: &str, kind: Value| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                package("oomwatch", VERSION, "MIT OR Apache-2.0"),
                package("one", "1.0.0", "MIT/Apache-2.0"),
                package("two", "2.0.0+3", "MIT/Apache-2.0"),
                package("build", "1.0.0", "MIT"),
            ],
            "resolve": { "nodes": [
                { "id": "oomwatch-id", "deps": [edge("one-id", Value::Null), edge("build-id", json!("build"))] },
                { "id": "one-id", "deps": [edge("two-id", Value::Null), edge("oomwatch-id", json!("dev"))] },
            ] },
        });
        let mut wanted = parse_tree(tree);
        wanted.remove(&key("oomwatch", "0.1.0"));
        wanted.insert(key("oomwatch", VERSION));
        Dependencies {
            triple: "x86_64-unknown-linux-musl",
            packages: packages(&wanted, &metadata, &parse_lock(lock)).unwrap(),
        }
    }

    #[test]
    fn sbom_has_what_is_linked_and_by_what() {
        let sbom = dependencies(Path::new("/w")).sbom().unwrap();
        let sbom: Value = serde_json::from_str(&sbom).unwrap();
        assert_eq!(sbom["metadata"]["component"]["name"], "oomwatch");
        let components = sbom["components"].as_array().unwrap();
        assert_eq!(components.len(), 2);
        assert_eq!(components[0]["purl"], "pkg:cargo/one@1.0.0");
        assert_eq!(
            components[0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(components[1]["hashes"][0]["content"], "bb");
        assert_eq!(components[1]["bom-ref"], "pkg:cargo/two@2.0.0%2B3");
        assert_eq!(
            sbom["dependencies"],
            json!([
                { "ref": "pkg:cargo/one@1.0.0", "dependsOn": ["pkg:cargo/two@2.0.0%2B3"] },
                { "ref": format!("pkg:cargo/oomwatch@{VERSION}"), "dependsOn": ["pkg:cargo/one@1.0.0"] },
                { "ref": "pkg:cargo/two@2.0.0%2B3", "dependsOn": [] },
            ])
        );
    }

    #[test]
    fn each_licence_is_printed_once() {
        let folder = std::env::temp_dir().join(format!("oomwatch-licences-{}", std::process::id()));
        for name in ["oomwatch", "one", "two"] {
            fs::create_dir_all(folder.join(name).join("LICENSES")).unwrap();
        }
        fs::write(folder.join("one/LICENSE-MIT"), "Be kind.\r\n").unwrap();
        let dependencies = dependencies(&folder);
        let text = dependencies.licenses("Apache").unwrap();
        // `two` has no text: that of the same repository is its own.
        assert_eq!(text.matches("Be kind.\n").count(), 1, "{text}");
        assert!(text.contains("\none 1.0.0, two 2.0.0+3\n"), "{text}");
        fs::remove_file(folder.join("one/LICENSE-MIT")).unwrap();
        let text = dependencies.licenses("Apache").unwrap();
        assert!(text.ends_with("\n\nApache\n"), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn package_that_cargo_does_not_list_is_an_error() {
        let wanted = BTreeSet::from([key("three", "1.0.0")]);
        let error = packages(&wanted, &json!({}), &BTreeMap::new()).unwrap_err();
        assert_eq!(error.to_string(), "cargo's metadata does not have three");
    }
}
