//! Any bytes as the history database and its write-ahead log, and a database with any bytes changed: reading and writing never
//! panic or hang, an unusable file is moved away, and later kills are kept.
#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::LazyLock,
};

use libfuzzer_sys::fuzz_target;
use oomwatch::{
    model::{persist::Change, report::Report},
    store::{
        Batch, Config, FILE, Identity, OpenMode, Pending, Provenance, Store, StoreError, codec,
        read::{Item, Order, Query, ReadError, Reader},
    },
    sys::clock::ClockSample,
};

/// A fixed time, so that a run can be repeated.
static NOW: LazyLock<ClockSample> = LazyLock::new(|| ClockSample {
    boot_time_ns: 3_600_000_000_000,
    unix_ns: 1_790_000_000_000_000_000,
    ..ClockSample::now()
});

/// A database, and its file and log as they were before the checkpoint.
struct Seed {
    file: Vec<u8>,
    early: Vec<u8>,
    log: Vec<u8>,
}

static SEED: LazyLock<Seed> = LazyLock::new(|| {
    let folder = folder();
    let read = |suffix: &str| fs::read(folder.join(format!("{FILE}{suffix}"))).expect("read it");
    let (mut store, _) =
        Store::open(&config(&folder), &identity(), OpenMode::Start, *NOW).expect("open");
    store.write(&pending(0..40, true), *NOW).expect("write");
    store.write(&pending(40..43, false), *NOW).expect("write");
    let (early, log) = (read(""), read("-wal"));
    drop(store);
    let file = read("");
    fs::remove_dir_all(&folder).expect("remove it");
    Seed { file, early, log }
});

/// Written to every database.
static PENDING: LazyLock<Pending> = LazyLock::new(|| pending(100..130, true));

fuzz_target!(|input: &[u8]| {
    let Seed { file, early, log } = &*SEED;
    let (file, log) = match input {
        [0, bytes @ ..] => (bytes.to_vec(), Vec::new()),
        [1, bytes @ ..] => (early.clone(), bytes.to_vec()),
        [2, edits @ ..] => (early.clone(), edited(log, edits)),
        [3, low, high, edits @ ..] => {
            let mut file = edited(file, edits);
            file.truncate(usize::from(u16::from_le_bytes([*low, *high])) * 16);
            (file, Vec::new())
        }
        edits => (edited(file, edits), Vec::new()),
    };
    let folder = folder();
    let path = folder.join(FILE);
    fs::create_dir_all(&folder).expect("create the folder");
    fs::write(&path, &file).expect("write the file");
    if !log.is_empty() {
        fs::write(folder.join(format!("{FILE}-wal")), &log).expect("write the log");
    }
    read(&path);
    assert!(
        fs::read(&path).expect("read it") == file,
        "reading has changed the file"
    );
    write(&folder, file.is_empty());
    fs::remove_dir_all(&folder).expect("remove the folder");
});

/// Applies edits of four bytes: three for the offset, one for the value.
fn edited(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits.chunks_exact(4) {
        if let [low, middle, high, value] = *edit {
            let at = u32::from_le_bytes([low, middle, high, 0]) as usize % bytes.len();
            bytes[at] = value;
        }
    }
    bytes
}

fn read(path: &Path) -> u64 {
    let mut kills = 0;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let Ok(reader) = Reader::open(path) else {
            return 0;
        };
        kills = 0;
        let mut rows = 0;
        let _: Result<(), ReadError> = reader.read(&Query::default(), order, |item| {
            if let Item::Kill(_, coalesced) = item {
                kills += coalesced.map_or(1, |coalesced| coalesced.kills);
            }
            rows += 1;
            // A page that leads back to itself would never end.
            Ok(rows < 10_000)
        });
    }
    kills
}

fn write(folder: &Path, was_empty: bool) {
    let config = Config {
        max_bytes: 0,
        ..config(folder)
    };
    let (store, restored) =
        Store::open(&config, &identity(), OpenMode::Start, *NOW).expect("open or replace");
    if restored.provenance == Provenance::Replaced && !was_empty {
        let entries = fs::read_dir(folder).expect("list the folder");
        let moved = entries.map(|entry| entry.expect("an entry")).find(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_moved = name.contains(".damaged-") || name.contains(".version-");
            is_moved && !name.ends_with("-wal") && !name.ends_with("-shm")
        });
        let moved = moved.expect("the file was moved away");
        assert!(moved.metadata().expect("look at it").len() > 0);
    }
    let pending = &*PENDING;
    let store = replace_if(store, &config, |store| store.write(pending, *NOW).map(drop));
    let store = replace_if(store, &config, |store| {
        store.prune(&config, 0, *NOW).map(drop)
    });
    drop(store);
    // A new file has what was written to it.
    let (mut store, restored) =
        Store::open(&config, &identity(), OpenMode::Start, *NOW).expect("open or replace");
    if restored.provenance == Provenance::Replaced {
        store.write(pending, *NOW).expect("it is new");
        assert_eq!(read(&folder.join(FILE)), 30);
    }
}

fn replace_if(
    mut store: Store,
    config: &Config,
    work: impl Fn(&mut Store) -> Result<(), StoreError>,
) -> Store {
    match work(&mut store) {
        Ok(()) => store,
        Err(error @ StoreError::Damaged(_)) => {
            let mut store = store.replace(&error, config, *NOW).expect("replace it");
            work(&mut store).expect("it is new");
            store
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn kill(number: u32) -> Report {
    let mut report =
        codec::to_report(include_str!("../../tests/history/kill.json")).expect("a report");
    report.id = format!("0f1e2d3c-{number:x}-7");
    report
}

fn pending(numbers: std::ops::Range<u32>, is_delivered: bool) -> Pending {
    let kills: Vec<Report> = numbers.map(kill).collect();
    let mut batch = Batch {
        state: vec![Change {
            part: "cursor",
            key: "ring".to_owned(),
            value: Some("{}".to_owned()),
            is_new: false,
        }],
        ..Batch::default()
    };
    if is_delivered {
        batch.delivered = kills.iter().map(|report| report.id.clone()).collect();
        batch.named.clone_from(&kills);
    }
    batch.kills = kills;
    let mut pending = Pending::default();
    let _ = pending.add(1, &batch);
    pending
}

fn config(folder: &Path) -> Config {
    Config {
        folder: folder.to_owned(),
        ..Config::default()
    }
}

fn identity() -> Identity {
    let [machine, node, boot] = ["machine", "node-1", "boot"].map(str::to_owned);
    Identity::new(machine, node, boot)
}

/// In memory if possible, since the disk is not under test.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    place.join(format!("oomwatch-fuzz-{}", process::id()))
}
