//! Bytes that no program writes give an error, never a panic and never a guess.

use oomwatch_ebpf::record::{BACKEND_FENTRY, MAX_LEVELS, NAME_LEN, NAMES_LEN};
use proptest::prelude::*;

use super::*;

const WHOLE: usize = size_of::<VictimRecord>();

/// A full record with `change` applied, resized to `length` bytes, which its header states too.
fn stretched(length: usize, change: impl FnOnce(&mut VictimRecord)) -> Vec<u8> {
    let mut record = VictimRecord::new_zeroed();
    let bytes = RecordBuilder::new().bytes();
    record.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
    record.header.length = u32::try_from(length).expect("short record");
    change(&mut record);
    let mut bytes = record.as_bytes().to_vec();
    bytes.resize(length, 0);
    bytes
}

fn decode_error(bytes: &[u8]) -> DecodeError {
    decode(bytes, PAGE).expect_err("malformed")
}

fn refused_value(change: impl FnOnce(&mut VictimRecord)) -> (&'static str, u64) {
    match decode_error(&RecordBuilder::new().set(change).bytes()) {
        DecodeError::Value { field, value } => (field, value),
        other => panic!("another error: {other}"),
    }
}

#[test]
fn truncated_record_is_refused_at_every_length() {
    let victim = RecordBuilder::new().bytes();
    let signal = signal_record();
    for (kind, bytes, needed) in [
        (KIND_VICTIM, &victim[..], VICTIM_FIXED_LENGTH),
        (KIND_SIGNAL, signal.as_bytes(), size_of::<SignalRecord>()),
    ] {
        for length in 0..needed {
            let mut bytes = bytes[..length].to_vec();
            let (kind, needed) = match length {
                0..16 => (0, size_of::<Header>()),
                _ => (kind, needed),
            };
            let expected = DecodeError::Truncated {
                kind,
                length,
                needed,
            };
            assert_eq!(decode_error(&bytes), expected);
            // The same if the length in the header agrees.
            if let Some(claimed) = bytes.get_mut(4..8) {
                claimed.copy_from_slice(&u32::try_from(length).expect("short").to_ne_bytes());
            }
            assert_eq!(decode_error(&bytes), expected);
        }
    }
}

#[test]
fn length_in_the_header_must_be_the_length_received() {
    let bytes = RecordBuilder::new().bytes();
    let length = bytes.len();
    let whole = u32::try_from(length).expect("short record");
    for claimed in [0, whole - 1, whole + 1, u32::MAX] {
        let mut bytes = bytes.clone();
        bytes[4..8].copy_from_slice(&claimed.to_ne_bytes());
        assert_eq!(
            decode_error(&bytes),
            DecodeError::Length { claimed, length }
        );
    }
    let mut longer = signal_record().as_bytes().to_vec();
    longer.push(0);
    let expected = DecodeError::Length {
        claimed: 248,
        length: 249,
    };
    assert_eq!(decode_error(&longer), expected);
}

#[test]
fn record_longer_than_the_layout_is_refused() {
    for length in [WHOLE + 1, 2 * WHOLE] {
        let claimed = u32::try_from(length).expect("short record");
        let expected = DecodeError::Length { claimed, length };
        assert_eq!(decode_error(&stretched(length, |_| {})), expected);
    }
}

#[test]
fn unknown_kind_is_refused() {
    for kind in [0, 3, u32::MAX] {
        let mut bytes = RecordBuilder::new().bytes();
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        assert_eq!(decode_error(&bytes), DecodeError::Kind(kind));
        assert_eq!(
            decode_error(&bytes).to_string(),
            format!("record of unknown kind {kind}")
        );
    }
}

#[test]
fn invalid_values_are_refused_by_field() {
    assert_eq!(refused_value(|record| record.signal = 3), ("signal", 3));
    assert_eq!(
        refused_value(|record| record.level_count = 17),
        ("level_count", MAX_LEVELS as u64 + 1)
    );
    assert_eq!(
        refused_value(|record| record.level_count = u32::MAX),
        ("level_count", u64::from(u32::MAX))
    );
    assert_eq!(
        refused_value(|record| record.missing = MISSING_TGID),
        ("missing", MISSING_TGID),
        "a kill without a process"
    );
    assert_eq!(refused_value(|record| record.backend = 3), ("backend", 3));
    let constraint = refused_value(|record| {
        record.backend = BACKEND_FENTRY;
        record.kill_number = 1;
        record.constraint = 4;
    });
    assert_eq!(constraint, ("constraint", 4));
    for relation in [0, 3, u32::MAX] {
        let record = SignalRecord {
            relation,
            ..signal_record()
        };
        let expected = DecodeError::Value {
            field: "relation",
            value: relation.into(),
        };
        assert_eq!(decode_error(record.as_bytes()), expected);
    }
}

#[test]
fn name_lengths_that_do_not_add_up_are_refused() {
    const USED: usize = 100;
    for (victim, all, field) in [
        (u32::MAX, 100, "victim_names_length"),
        (101, 100, "victim_names_length"),
        (100, u32::MAX, "value 4294967295 in the field names_length"),
        (0, 0, "value 0 in the field names_length"),
        (60, 99, "value 99 in the field names_length"),
        (60, 101, "value 101 in the field names_length"),
    ] {
        let bytes = stretched(VICTIM_FIXED_LENGTH + USED, |record| {
            record.victim_names_length = victim;
            record.names_length = all;
        });
        let error = decode_error(&bytes).to_string();
        assert!(error.contains(field), "{victim} {all}: {error}");
    }
}

#[test]
fn names_longer_than_their_field_are_refused() {
    const ROOM: usize = NAMES_LEN + NAME_LEN;
    let lengths = |victim: usize, trigger: usize| {
        stretched(VICTIM_FIXED_LENGTH + victim + trigger, |record| {
            record.victim_names_length = u32::try_from(victim).expect("short");
            record.names_length = u32::try_from(victim + trigger).expect("short");
        })
    };
    assert!(decode(&lengths(NAMES_LEN, NAME_LEN), PAGE).is_ok());
    assert!(decode(&lengths(0, ROOM), PAGE).is_ok());
    for (victim, trigger) in [
        (ROOM + 1, 0),
        (NAMES_LEN, NAME_LEN + 1),
        (0, ROOM + 1),
        (1000, WHOLE - VICTIM_FIXED_LENGTH - 1000),
    ] {
        let error = decode_error(&lengths(victim, trigger)).to_string();
        assert!(error.contains("names_length"), "{error}");
    }
}

/// Checks what holds for every decoded record, whatever its bytes.
fn check(result: Result<Observation, DecodeError>) -> Result<(), TestCaseError> {
    let Ok(Observation::Mark(mark)) = result else {
        return Ok(());
    };
    let VictimMark {
        victim,
        trigger,
        limits,
        levels,
        missing,
        ..
    } = *mark;
    prop_assert!(limits.is_empty() || limits.len() == levels.len());
    prop_assert!(levels.len() <= MAX_LEVELS + 1);
    prop_assert!(victim.cgroup.is_some() || missing.contains(&"cgroup"));
    prop_assert!(limits.len() == levels.len() || missing.contains(&"limits"));
    let _ = victim.rss_bytes();
    let own = [victim.cgroup, victim.leaf_cgroup, trigger.cgroup];
    let of_limits = limits.into_iter().map(|limit| Some(limit.cgroup));
    for cgroup in own.into_iter().chain(of_limits).flatten() {
        prop_assert!(cgroup.path.starts_with(b"/"));
        prop_assert!(!cgroup.path.contains(&0));
    }
    Ok(())
}

/// Up to `length` bytes. Generated as words, which is eight times faster.
fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(any::<u64>(), 0..=length / 8);
    (words, 0..8usize).prop_map(move |(words, rest)| {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.resize((bytes.len() + rest).min(length), 7);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_decode_or_fail(bytes in bytes(5000)) {
        check(decode(&bytes, PAGE))?;
    }

    /// Valid header and lengths, so that the arbitrary rest gets past the first checks.
    #[test]
    fn any_record_of_its_length_decodes_or_fails(
        mut bytes in bytes(WHOLE),
        kind in 0..4u32,
        small: [u8; 5],
        fit: bool,
        missing: u16,
    ) {
        let length = bytes.len();
        bytes.resize(WHOLE, 0);
        let mut record = VictimRecord::read_from_bytes(&bytes).expect("whole");
        record.header.kind = kind;
        record.header.length = u32::try_from(length).expect("short");
        let names = u32::try_from(length.saturating_sub(VICTIM_FIXED_LENGTH)).expect("short");
        record.level_count = u32::from(small[0] % 18);
        record.signal = u32::from(small[1] % 4);
        record.memcg_distance = u32::from(small[2] % 5);
        record.flags &= u32::from(small[3]);
        record.missing = u64::from(missing & !1);
        if fit {
            record.victim_names_length = names * u32::from(small[4]) / 255;
            record.names_length = names;
        }
        check(decode(&record.as_bytes()[..length], PAGE))?;
    }

    #[test]
    fn any_change_of_a_record_decodes_or_fails(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        signal: bool,
        page_shift in 12..17_u32,
    ) {
        let mut bytes = if signal {
            signal_record().as_bytes().to_vec()
        } else {
            RecordBuilder::new().bytes()
        };
        let length = bytes.len();
        for (at, byte) in changes {
            bytes[at.index(length)] = byte;
        }
        bytes[4..8].copy_from_slice(&u32::try_from(length).expect("short").to_ne_bytes());
        check(decode(&bytes, 1u64 << page_shift))?;
    }
}
