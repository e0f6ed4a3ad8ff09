use super::*;

#[test]
fn folder_of_another_file_system_is_no_bpffs() {
    let folder = tempfile::tempdir().expect("make a folder");
    for path in [folder.path(), Path::new("/nonexistent")] {
        let error = Pins::open(path).expect_err("no bpffs");
        assert!(matches!(error, PinError::NoBpffs(_)), "{error:?}");
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
        assert!(Pins::find(path).expect("no error").is_none());
    }
}

#[test]
fn pins_are_gone_with_their_folder() {
    let root = tempfile::tempdir().expect("make a folder");
    let folder = root.path().join("oomwatch");
    make_folder(&folder).expect("make a folder");
    let pins = Pins::lock(&folder).expect("lock it").expect("a folder");
    assert!(!pins.is_gone());
    fs::remove_dir(&folder).expect("remove it");
    assert!(pins.is_gone());
    // As another file system would have it, for example below a mount point.
    make_folder(&folder).expect("make a folder");
    assert!(pins.is_gone());
}
