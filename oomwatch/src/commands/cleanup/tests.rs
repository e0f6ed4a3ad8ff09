use super::*;

/// A journal's folder with these files.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("make a folder");
    for name in files {
        fs::write(folder.path().join(name), "").expect("write a file");
    }
    folder
}

fn remove_all(state_dir: &Path, journal: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    remove(Path::new("/nonexistent"), state_dir, journal, &mut removed)?;
    removed.sort();
    Ok(removed)
}

const FILES: [&str; 6] = [
    "lock",
    "oomwatch.db",
    "oomwatch.db-shm",
    "oomwatch.db-wal",
    "oomwatch.db.damaged-1764403200",
    "oomwatch.db.version-9",
];

#[test]
fn journal_goes_with_all_that_was_set_aside() {
    let folder = folder(&FILES);
    let removed = remove_all(folder.path(), true).expect("removed");
    let files = FILES.map(|name| folder.path().join(name));
    assert_eq!(removed[0], folder.path());
    assert_eq!(removed[1..], files);
    assert!(!folder.path().exists());
    assert_eq!(
        remove_all(folder.path(), true).expect("nothing there"),
        [""; 0].map(PathBuf::from)
    );
}

#[test]
fn journal_stays_unless_it_is_asked_for() {
    let folder = folder(&FILES);
    assert!(
        remove_all(folder.path(), false)
            .expect("nothing to do")
            .is_empty()
    );
    assert!(FILES.iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn what_is_not_the_journals_stays() {
    let folder = folder(&["oomwatch.db", "notes", "oomwatch.conf"]);
    let removed = remove_all(folder.path(), true).expect("removed");
    assert_eq!(removed, [folder.path().join("oomwatch.db")]);
    assert!(folder.path().join("notes").exists());
}

#[test]
fn nothing_is_removed_while_an_agent_runs() {
    let folder = folder(&FILES);
    let agent = File::open(folder.path().join("lock")).expect("open the lock");
    agent.lock().expect("lock it");
    let error = remove_all(folder.path(), true).expect_err("an agent runs");
    assert!(error.to_string().contains("an agent runs"), "{error}");
    assert!(FILES.iter().all(|name| folder.path().join(name).exists()));
    drop(agent);
    remove_all(folder.path(), true).expect("removed");
}
