use proptest::prelude::*;

use super::*;

#[test]
fn name_says_abi_and_time() {
    let name = Name {
        since_boot_time_ns: 0x001a_2b3c,
        abi_version: 2,
    };
    assert_eq!(name.to_string(), "2-00000000001a2b3c");
    assert_eq!("2-00000000001a2b3c".parse(), Ok(name));
}

#[test]
fn what_is_no_name_of_ours_is_told_apart() {
    for text in [
        "",
        "-",
        "2",
        "2-",
        "2-1a",
        "2-00000000001A2B3C",
        "02-00000000001a2b3c",
        "+2-00000000001a2b3c",
        "2-+000000001a2b3cd",
        "2.00000000001a2b3c",
        "2-00000000001a2b3c-",
        "2-000000000000000000001a2b3c",
        "4294967296-00000000001a2b3c",
        "maps",
    ] {
        assert_eq!(text.parse::<Name>(), Err(NoName), "{text:?}");
    }
}

#[test]
fn names_are_in_the_order_of_time() {
    let [older, newer] = [(3, 1), (2, 2)].map(|(abi_version, since_boot_time_ns)| Name {
        since_boot_time_ns,
        abi_version,
    });
    assert!(older < newer);
}

#[test]
fn folder_of_another_file_system_is_no_bpffs() {
    let folder = tempfile::tempdir().expect("make a folder");
    for path in [folder.path(), Path::new("/nonexistent")] {
        let error = Pins::open(path).expect_err("no bpffs");
        assert!(matches!(error, PinError::NoBpffs(_)), "{error:?}");
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
        assert!(Pins::find(path).expect("nothing to find").is_none());
    }
}

proptest! {
    #[test]
    fn names_are_read_as_they_are_written(since_boot_time_ns: u64, abi_version: u32) {
        let name = Name { since_boot_time_ns, abi_version };
        prop_assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn any_text_is_answered(text: String) {
        let _ = text.parse::<Name>();
    }
}
