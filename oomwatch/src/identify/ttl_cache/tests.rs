use proptest::prelude::*;

use super::*;

#[test]
fn removed_entries_are_kept_for_minutes() {
    let start = Instant::now();
    let mut cache = TtlCache::default();
    cache.insert("", "a".to_owned(), 1);
    cache.remove("a", start);
    assert!(!cache.is_live("a"));
    cache.remove("b", start + REMOVED_TTL);
    assert_eq!(cache.get("a"), Some(&1));
    cache.remove("b", start + REMOVED_TTL + Duration::from_secs(1));
    assert_eq!(cache.get("a"), None);
}

#[test]
fn restored_entries_are_kept_until_a_listing_and_are_removed_by_it() {
    let start = Instant::now();
    let later = start + RESTORED_TTL / 2;
    let mut cache = TtlCache::default();
    cache.insert_restored("", "a", 1, start);
    cache.insert_restored("", "b", 1, start);
    cache.expire(later);
    assert_eq!(cache.get("a"), Some(&1));
    cache.begin_listing();
    cache.insert("", "b".to_owned(), 2);
    cache.insert_restored("", "b", 1, later);
    cache.end_listing(later);
    assert_eq!(cache.get("b"), Some(&2));
    assert!(cache.is_live("b") && !cache.is_live("a"));
    cache.expire(later + REMOVED_TTL);
    assert_eq!(cache.get("a"), Some(&1));
    cache.expire(later + REMOVED_TTL + Duration::from_secs(1));
    assert_eq!(cache.get("a"), None);
}

#[test]
fn entry_inserted_after_its_removal_stays() {
    let start = Instant::now();
    let mut cache = TtlCache::default();
    cache.insert("", "a".to_owned(), 1);
    cache.remove("a", start);
    cache.insert("", "a".to_owned(), 2);
    cache.remove("b", start + REMOVED_TTL * 2);
    assert!(cache.is_live("a"));
    assert_eq!(cache.get("a"), Some(&2));
}

#[test]
fn entries_missing_in_a_listing_are_removed() {
    let now = Instant::now();
    let mut cache = TtlCache::default();
    cache.insert("", "a".to_owned(), 1);
    cache.insert("", "b".to_owned(), 1);
    cache.begin_listing();
    cache.insert("", "b".to_owned(), 2);
    cache.insert("", "c".to_owned(), 2);
    cache.end_listing(now);
    let mut live: Vec<_> = cache.live().collect();
    live.sort_unstable();
    assert_eq!(live, [("b", &2), ("c", &2)]);
    assert_eq!(cache.get("a"), Some(&1));
}

#[test]
fn sizes_are_bounded_in_total() {
    const PART: usize = BYTES_MAX / 4;
    let start = Instant::now();
    let mut cache = TtlCache::default();
    for key in ["a", "b", "c", "d"] {
        assert!(cache.insert_sized("", key.to_owned(), 1, PART), "{key}");
    }
    assert!(!cache.insert_sized("", "e".to_owned(), 1, 1));
    assert!(!cache.insert_sized("", "a".to_owned(), 2, PART + 1));
    assert_eq!(cache.get("a"), Some(&1));
    assert!(cache.insert_sized("", "a".to_owned(), 2, PART - 1));
    assert!(cache.insert_sized("", "e".to_owned(), 1, 1));
    assert!(cache.insert("", "small".to_owned(), 1));
    cache.remove("b", start);
    assert!(!cache.insert_sized("", "f".to_owned(), 1, 1));
    cache.expire(start + REMOVED_TTL * 2);
    assert!(cache.insert_sized("", "f".to_owned(), 1, PART));
    assert!(!cache.insert_sized("", "g".to_owned(), 1, usize::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn cache_is_bounded_after_any_steps(
        steps in proptest::collection::vec((0..5u8, 0..20_000u32), 4..16),
    ) {
        let mut now = Instant::now();
        let mut cache = TtlCache::default();
        for (kind, number) in steps {
            now += Duration::from_millis(u64::from(number));
            match kind {
                0 => for key in number..number + 4000 {
                    cache.insert("", key.to_string(), key);
                },
                1 => for key in number..number + 4000 {
                    cache.remove(&key.to_string(), now);
                },
                2 => cache.begin_listing(),
                3 => for key in number..number + 1000 {
                    cache.insert_sized("", key.to_string(), key, 40 * number as usize);
                },
                _ => cache.end_listing(now),
            }
            prop_assert!(cache.entries.len() <= LIVE_MAX + REMOVED_MAX);
            prop_assert!(cache.removals.len() <= REMOVED_MAX);
            let bytes: usize = cache.entries.values().map(|entry| entry.bytes).sum();
            prop_assert_eq!(cache.usage.total().bytes, bytes);
                let removed = cache.entries.values().filter(|entry| matches!(entry.presence, Presence::Removed(_)));
                prop_assert_eq!(cache.usage.total().removed, removed.count());
                prop_assert_eq!(cache.usage.total().entries, cache.entries.len());
            prop_assert!(bytes <= BYTES_MAX);
        }
    }
}

#[test]
fn namespace_with_many_large_entries_gives_way_to_another() {
    const LARGE: usize = 40 << 10;
    let mut cache = TtlCache::default();
    let mut number = 0;
    while cache.insert_sized("greedy", format!("greedy-{number}"), number, LARGE) {
        number += 1;
    }
    assert!(cache.insert_sized("modest", "modest".to_owned(), 1, LARGE));
    assert!(cache.is_live("modest"));
    // What was there is not pushed out again.
    assert!(!cache.insert_sized("greedy", "one-more".to_owned(), 1, LARGE));
    assert!(cache.is_live("modest"));
    // Half each at last.
    let mut modest: i32 = 1;
    while cache.insert_sized("modest", format!("modest-{modest}"), 1, LARGE) {
        modest += 1;
    }
    assert!(modest.abs_diff(number / 2) <= 2, "{modest} of {number}");
}

#[test]
fn namespace_with_many_entries_gives_way_to_another() {
    let now = Instant::now();
    let mut cache = TtlCache::default();
    for number in 0..LIVE_MAX + REMOVED_MAX {
        assert!(cache.insert("greedy", number.to_string(), 1));
    }
    assert!(!cache.insert("greedy", "one-more".to_owned(), 1));
    assert!(cache.insert("modest", "modest".to_owned(), 1));
    assert!(cache.is_live("modest"));
    cache.remove("modest", now);
    for number in 0..LIVE_MAX {
        cache.remove(&number.to_string(), now);
    }
    assert_eq!(cache.removals.len(), REMOVED_MAX);
    assert_eq!(cache.get("modest"), Some(&1));
}
