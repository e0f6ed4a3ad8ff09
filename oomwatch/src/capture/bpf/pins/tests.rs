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
