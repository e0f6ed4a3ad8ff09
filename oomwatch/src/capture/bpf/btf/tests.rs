use proptest::{prelude::*, sample::Index};

use super::{Btf, BtfError, Kind, TypeId, TypedOffset, build::Builder};
use crate::capture::bpf::offsets::{self, kernel};

/// Header, string section and type section of the smallest useful file.
fn small() -> Vec<u8> {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    file.structure("task_struct", 8, &[("pid", int, 0), ("tgid", int, 4)]);
    file.finish()
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn start(btf: &Btf<'_>, name: &str) -> TypedOffset {
    let [found] = btf.types([(Kind::Struct, name)]);
    TypedOffset::start(found.unwrap())
}

fn offset(btf: &Btf<'_>, name: &str, path: &str) -> Option<u32> {
    btf.member(start(btf, name), path).map(|place| place.offset)
}

#[test]
fn every_cut_of_a_file_is_an_error() {
    let bytes = small();
    assert!(Btf::parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(Btf::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn malformed_files_give_distinct_errors() {
    type Damage = fn(&mut Vec<u8>);
    // 24 bytes of header, 16 of `int`, 36 of the structure, 29 of strings.
    let table: [(Damage, BtfError); 20] = [
        (Vec::clear, BtfError::Short),
        (|b| b.truncate(1), BtfError::Short),
        (|b| b.truncate(23), BtfError::Short),
        (|b| b[0] = 0x7f, BtfError::Magic { magic: 0xeb7f }),
        (|b| b[..2].reverse(), BtfError::Swapped),
        (
            |b| b[2] = 2,
            BtfError::Version {
                version: 2,
                flags: 0,
            },
        ),
        (
            |b| b[3] = 1,
            BtfError::Version {
                version: 1,
                flags: 1,
            },
        ),
        (|b| put(b, 4, 23), BtfError::Section { section: "header" }),
        (
            |b| put(b, 4, u32::MAX),
            BtfError::Section { section: "header" },
        ),
        (
            |b| put(b, 8, u32::MAX),
            BtfError::Section { section: "type" },
        ),
        (
            |b| put(b, 12, u32::MAX),
            BtfError::Section { section: "type" },
        ),
        (
            |b| put(b, 16, u32::MAX),
            BtfError::Section { section: "string" },
        ),
        (|b| put(b, 20, 0), BtfError::Strings),
        (|b| *b.last_mut().unwrap() = 1, BtfError::Strings),
        (|b| put(b, 12, 51), BtfError::Type { id: 2 }),
        (|b| put(b, 44, 4 << 24 | 3), BtfError::Type { id: 2 }),
        (|b| put(b, 44, 20 << 24), BtfError::Kind { id: 2, kind: 20 }),
        (|b| put(b, 44, 0), BtfError::Kind { id: 2, kind: 0 }),
        (|b| put(b, 64, 29), BtfError::Name { id: 2, offset: 29 }),
        (
            |b| put(b, 68, 3),
            BtfError::Reference {
                id: 2,
                reference: 3,
            },
        ),
    ];
    for (row, (damage, expected)) in table.into_iter().enumerate() {
        let mut bytes = small();
        damage(&mut bytes);
        assert_eq!(Btf::parse(&bytes).err(), Some(expected), "row {row}");
    }
}

#[test]
fn references_of_every_kind_are_checked() {
    let far = 99;
    for kind in [2, 8, 9, 10, 11, 12, 18] {
        let mut file = Builder::new();
        file.modifier(kind, far);
        assert_eq!(
            Btf::parse(&file.finish()).err(),
            Some(BtfError::Reference {
                id: 1,
                reference: far
            }),
            "{kind}"
        );
    }
    let table: [(u32, &[u32]); 8] = [
        (3 << 24, &[far, 0, 1]),
        (3 << 24, &[0, far, 1]),
        (5 << 24 | 1, &[0, far, 0]),
        (13 << 24 | 2, &[0, 0, 0, far]),
        (14 << 24, &[0]),
        (15 << 24 | 1, &[far, 0, 0]),
        (17 << 24, &[0]),
        (13 << 24, &[]),
    ];
    for (info, body) in table {
        let mut file = Builder::new();
        file.raw(0, info, far, body);
        assert_eq!(
            Btf::parse(&file.finish()).err(),
            Some(BtfError::Reference {
                id: 1,
                reference: far
            }),
            "{info:#x}"
        );
    }
}

#[test]
fn all_kinds_are_skipped() {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    for kind in [2, 7, 8, 9, 10, 11, 12, 16, 18] {
        file.modifier(kind, int);
    }
    file.array(int, 3);
    file.union("u", 4, &[("a", int, 0)]);
    file.enumeration("e", &[("A", 1), ("B", 2)]);
    file.prototype(&[int, int]);
    file.raw(0, 14 << 24, int, &[0]);
    file.raw(0, 15 << 24 | 2, 8, &[int, 0, 4, int, 4, 4]);
    file.raw(0, 17 << 24, int, &[u32::MAX]);
    file.raw(0, 19 << 24 | 1, 8, &[0, 1, 2]);
    file.structure("last", 4, &[("member", int, 0)]);
    let bytes = file.finish();
    assert_eq!(
        offset(&Btf::parse(&bytes).unwrap(), "last", "member"),
        Some(0)
    );
}

#[test]
fn an_unknown_kind_is_skipped_by_its_layout() {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    file.raw(0, 20 << 24 | 2, 0, &[1, 2, 3]);
    file.structure("last", 4, &[("member", int, 0)]);
    assert_eq!(
        Btf::parse(&file.finish()).err(),
        Some(BtfError::Kind { id: 2, kind: 20 })
    );
    for _ in 0..20 {
        file.layout(0, 0);
    }
    file.layout(4, 4);
    let mut bytes = file.finish();
    assert_eq!(
        offset(&Btf::parse(&bytes).unwrap(), "last", "member"),
        Some(0)
    );
    put(&mut bytes, 28, 3);
    assert_eq!(
        Btf::parse(&bytes).err(),
        Some(BtfError::Section { section: "layout" })
    );
}

#[test]
fn members_are_found_by_path_through_unnamed_ones_and_modifiers() {
    let mut file = Builder::new();
    let long = file.int("long", 8);
    let atomic = file.structure("", 8, &[("counter", long, 0)]);
    let atomic = file.typedef("atomic_long_t", atomic);
    let counter = file.structure(
        "page_counter",
        24,
        &[("usage", atomic, 0), ("max", long, 16)],
    );
    let tagged = file.modifier(18, counter);
    let constant = file.modifier(10, tagged);
    let volatile = file.modifier(9, constant);
    let innermost = file.union("", 24, &[("swap", counter, 0), ("memsw", counter, 0)]);
    let inner = file.structure("", 32, &[("", innermost, 8)]);
    file.structure(
        "mem_cgroup",
        128,
        &[("css", long, 0), ("memory", volatile, 16), ("", inner, 64)],
    );
    let bytes = file.finish();
    let btf = Btf::parse(&bytes).unwrap();
    for (path, expected) in [
        ("css", Some(0)),
        ("memory.usage", Some(16)),
        ("memory.max", Some(32)),
        ("memory.usage.counter", Some(16)),
        ("swap.max", Some(88)),
        ("memsw.max", Some(88)),
        ("max", None),
        ("swa", None),
        ("swapp", None),
        ("css.usage", None),
        ("memory.usage.nothing", None),
        ("memory.", None),
    ] {
        assert_eq!(offset(&btf, "mem_cgroup", path), expected, "{path}");
    }
    let usage = btf
        .member(start(&btf, "mem_cgroup"), "memory.usage")
        .unwrap();
    assert_eq!(btf.size(usage.type_id), Some(8));
}

#[test]
fn bitfields_have_no_offset() {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    let [plain, bits, behind, odd] = ["plain", "bits", "behind", "odd"].map(|name| file.name(name));
    let name = file.name("flagged");
    file.raw(
        name,
        1 << 31 | 4 << 24 | 3,
        16,
        &[plain, int, 32, bits, int, 8 << 24 | 64, behind, int, 96],
    );
    let name = file.name("old");
    file.raw(name, 4 << 24 | 2, 8, &[plain, int, 32, odd, int, 3]);
    let bytes = file.finish();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(offset(&btf, "flagged", "plain"), Some(4));
    assert_eq!(offset(&btf, "flagged", "bits"), None);
    assert_eq!(offset(&btf, "flagged", "behind"), Some(12));
    assert_eq!(offset(&btf, "old", "plain"), Some(4));
    assert_eq!(offset(&btf, "old", "odd"), None);
}

#[test]
fn of_several_structures_the_largest_is_taken() {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    let name = file.name("cgroup");
    file.raw(name, 7 << 24, 0, &[]);
    file.union("cgroup", 4, &[("a", int, 0), ("b", int, 0), ("c", int, 0)]);
    file.structure("cgroup", 0, &[]);
    let full = file.structure("cgroup", 8, &[("kn", int, 0), ("level", int, 4)]);
    file.structure("cgroup", 8, &[("kn", int, 4), ("level", int, 0)]);
    file.structure("cgroup", 4, &[("a", int, 0), ("b", int, 0), ("c", int, 0)]);
    file.typedef("cgroup", int);
    let bytes = file.finish();
    assert_eq!(
        Btf::parse(&bytes)
            .unwrap()
            .types([(Kind::Struct, "cgroup")]),
        [Some(TypeId(full))]
    );
    assert_eq!(
        Btf::parse(&bytes)
            .unwrap()
            .types([(Kind::Struct, "cgrou"), (Kind::Enum, "cgroup")]),
        [None; 2]
    );
}

#[test]
fn arrays_have_elements_and_sizes() {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    let row = file.array(int, 3);
    let rows = file.array(row, 2);
    let none = file.array(int, 0);
    let huge = file.array(rows, u32::MAX);
    let pointer = file.ptr(0);
    let bytes = file.finish();
    let btf = Btf::parse(&bytes).unwrap();
    let at = |id, number| {
        btf.element(TypedOffset::start(TypeId(id)), number)
            .map(|place| place.offset)
    };
    assert_eq!(
        (at(row, 0), at(row, 2), at(row, 3)),
        (Some(0), Some(8), None)
    );
    assert_eq!(
        (at(rows, 1), at(rows, 2), at(none, 0)),
        (Some(12), None, None)
    );
    assert_eq!(
        (at(huge, 1), at(huge, u32::MAX - 1), at(int, 0)),
        (Some(24), None, None)
    );
    let size = |id| btf.size(TypeId(id));
    assert_eq!(
        (size(rows), size(none), size(huge), size(pointer)),
        (Some(24), Some(0), None, Some(8))
    );
    assert_eq!((size(0), size(99)), (None, None));
}

#[test]
fn enumerators_are_found_in_any_enumeration() {
    let mut file = Builder::new();
    file.enumeration(
        "",
        &[("MM_FILEPAGES", 0), ("MM_ANONPAGES", 1), ("TOP", u32::MAX)],
    );
    file.enumeration("cgroup_subsys_id", &[("memory_cgrp_id", 4)]);
    let [negative, twice, same, wide, wider] =
        ["NEGATIVE", "TWICE", "MM_ANONPAGES", "WIDE", "WIDER"].map(|name| file.name(name));
    file.raw(
        0,
        1 << 31 | 6 << 24 | 3,
        4,
        &[negative, u32::MAX, twice, 1, same, 1],
    );
    file.raw(
        0,
        19 << 24 | 3,
        8,
        &[wide, 1, 2, wider, 0, u32::MAX, twice, 2, 0],
    );
    let bytes = file.finish();
    assert_eq!(
        Btf::parse(&bytes).unwrap().enumerators([
            "MM_FILEPAGES",
            "MM_ANONPAGES",
            "TOP",
            "memory_cgrp_id",
            "NEGATIVE",
            "WIDE",
            "WIDER",
            "TWICE",
            "NONE",
        ]),
        [
            Some(0),
            Some(1),
            Some(0xffff_ffff),
            Some(4),
            Some(-1),
            Some(0x2_0000_0001),
            None,
            None,
            None
        ]
    );
}

#[test]
fn look_ups_in_cycles_end() {
    let mut file = Builder::new();
    let itself = file.next();
    file.typedef("task_struct", itself);
    let array = file.next();
    file.array(array, 2);
    // Each of its 500 members leads to 500 more: an unbounded search would not end.
    let deep = file.next();
    let mut members = vec![("", deep, 0); 500];
    members.push(("pid", itself, 0));
    file.structure("task_struct", 8, &members);
    let pointer = file.next();
    file.ptr(pointer);
    let bytes = file.finish();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.size(TypeId(itself)), None);
    assert_eq!(btf.size(TypeId(array)), None);
    assert_eq!(btf.member(TypedOffset::start(TypeId(deep)), "tgid"), None);
    assert_eq!(btf.pointee(TypeId(pointer)), Some(TypeId(pointer)));
    assert!(offsets::find(&btf).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(btf) = Btf::parse(&bytes) {
            let _ = offsets::find(&btf);
        }
    }

    #[test]
    fn random_sections_never_panic(words in prop::collection::vec(0_u32..40, 0..128), kinds in any::<u64>()) {
        let mut file = Builder::new();
        file.name("task_struct");
        for (number, words) in words.chunks(3).enumerate() {
            let kind = kinds >> (number % 59) & 0x1f;
            file.raw(words[0], u32::try_from(kind).unwrap() << 24, *words.last().unwrap(), words);
        }
        if let Ok(btf) = Btf::parse(&file.finish()) {
            let _ = offsets::find(&btf);
        }
    }

    #[test]
    fn damaged_kernels_never_panic(damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8)) {
        let mut bytes = kernel::bytes(kernel::NEW);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            let _ = offsets::find(&btf);
        }
    }
}
