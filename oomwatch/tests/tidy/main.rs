//! The layout of the sources, checked by reading them: which files import which, what is pure, where `unsafe` and the heavy
//! crates are, how long a file is. Only syntax is known: a method call on a type of another file is not seen, the path that
//! names the type is.
//!
//! The tables are here; paths in them are below `oomwatch/src`, and `a/b` stands for `a/b.rs` and for all of `a/b/`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test: the helpers outside of its functions may fail too"
)]

mod crates;
mod cycles;
mod imports;
mod reader;
mod source;
mod syntax;
mod text;
mod tokens;
mod tree;

use std::{env, path::PathBuf, sync::LazyLock};

use source::{Source, Violation};
use tree::Tree;

/// What each folder may import, besides itself. Everything but the files of [`imports::ROOTS`] is in one of these folders.
const LAYERS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("model", &["sys"]),
    ("capture", &["model", "sys"]),
    ("identify", &["model", "sys"]),
    ("audit", &["capture", "model", "sys"]),
    ("store", &["model", "sys"]),
    ("deliver", &["identify", "store", "model", "sys"]),
    (
        "commands",
        &[
            "deliver", "store", "audit", "identify", "capture", "model", "sys",
        ],
    ),
    (
        "cli",
        &[
            "commands", "deliver", "store", "audit", "identify", "capture", "model", "sys",
        ],
    ),
    ("main.rs", &["cli", "commands"]),
    ("lib.rs", &[]),
];

/// Crates that are used in some places only, and these places.
const CRATES: &[(&[&str], &[&str])] = &[
    (&["clap", "clap_complete", "clap_mangen"], &["cli"]),
    (&["aya"], &["capture/bpf", "capture/ring"]),
    (&["kube"], &["commands", "deliver/events", "identify"]),
    (&["k8s_openapi"], &["deliver/events", "identify"]),
    (&["hyper", "hyper_util"], &["deliver/http", "identify"]),
    (&["prost", "tonic", "tonic_prost"], &["identify"]),
    (&["rusqlite"], &["store"]),
    (
        &["tokio"],
        &[
            "audit", "capture", "commands", "deliver", "identify", "main.rs", "store",
        ],
    ),
];

/// No clock, no file, no async: a function of what it is given.
const PURE: &[&str] = &[
    "capture/counters",
    "capture/decode",
    "capture/incident",
    "capture/kmsg",
    "deliver/events",
    "model",
];

/// The edges of what is pure: they read, send or wait.
const IMPURE: &[&str] = &[
    "capture/counters/tree",
    "capture/kmsg/reader",
    "capture/kmsg/snapshot",
    "capture/kmsg/snapshot_clock",
    "capture/kmsg/tail",
    "deliver/events/api",
    "deliver/events/sender",
    "deliver/events/record",
];

/// What pure code does not name: these paths and all below them. (`async` and `.await` neither.)
const NOT_PURE: &[&str] = &[
    "aya",
    "hyper",
    "hyper_util",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "k8s_openapi",
    "kube",
    "rusqlite",
    "rustix",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "tokio",
    "tonic",
];

const UNSAFE: &[&str] = &["capture/bpf", "capture/ring", "sys"];

const MAX_LINES: usize = 500;
/// Where [`MAX_LINES`] holds, below the repository.
const SHORT: &[&str] = &[
    "oomwatch-ebpf/src",
    "oomwatch/src",
    "oomwatch/tests",
    "xtask/src",
];

/// The folder of the package.
fn package() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// Parsed once: that takes longer than all that is done with it.
static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let sources = source::read(&package().join("src"), &["rs"]);
    assert!(!sources.is_empty(), "no sources found");
    Tree::new(&sources)
});

fn repository() -> Vec<Source> {
    let extensions = ["md", "rs", "toml", "yaml"];
    let sources = source::read(&package().join(".."), &extensions);
    assert!(!sources.is_empty(), "no sources found");
    sources
}

/// Fails if there are violations. `folder` is where their paths begin.
#[track_caller]
fn hold(folder: &str, mut violations: Vec<Violation>) {
    violations.sort();
    let lines: Vec<String> = violations
        .iter()
        .map(|violation| format!("{folder}{violation}"))
        .collect();
    assert!(
        lines.is_empty(),
        "{} to tidy up:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

#[test]
fn files_are_in_the_folders_of_the_layers() {
    hold("oomwatch/src/", imports::places(&TREE, LAYERS));
}

#[test]
fn imports_go_downwards() {
    hold("oomwatch/src/", imports::upward(&TREE, LAYERS));
}

#[test]
fn no_files_import_each_other() {
    hold("oomwatch/src/", cycles::cycles(&TREE));
}

#[test]
fn crates_are_used_where_they_belong() {
    hold("oomwatch/src/", crates::misplaced(&TREE, CRATES));
}

#[test]
fn pure_code_has_no_clock_no_file_and_no_async() {
    hold(
        "oomwatch/src/",
        crates::impure(&TREE, PURE, IMPURE, NOT_PURE),
    );
}

#[test]
fn unsafe_code_is_in_few_places() {
    hold("oomwatch/src/", text::unsafe_code(&TREE, UNSAFE));
}

#[test]
fn tables_name_what_there_is() {
    let places = CRATES.iter().flat_map(|row| row.1);
    let entries = places.chain(PURE).chain(IMPURE).chain(UNSAFE);
    let exists = |entry| {
        TREE.files
            .iter()
            .any(|file| source::within(&file.path, entry))
    };
    let stale: Vec<&&str> = entries.filter(|entry| !exists(entry)).collect();
    assert!(
        stale.is_empty(),
        "tests/tidy/main.rs: no file below oomwatch/src is {stale:?}; correct the tables"
    );
}

#[test]
fn files_are_short() {
    hold("", text::long(&repository(), SHORT, MAX_LINES));
}
