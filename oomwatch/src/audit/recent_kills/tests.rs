use super::*;
use crate::{model::kill::NonKillKind, testing};

fn kill(pid: u32, boot_time_ns: u64) -> Kill {
    let mut kill = testing::kill();
    (kill.victim.pid, kill.victim.tid) = (pid, pid);
    kill.boot_time_ns = Some(boot_time_ns);
    kill
}

fn rekill(pid: u32, boot_time_ns: Option<u64>) -> NonKill {
    NonKill {
        boot_time_ns,
        kind: NonKillKind::Rekill,
        pid,
        tid: pid,
        comm: None,
        cgroup: None,
    }
}

fn known(recent: &RecentKills) -> Vec<(u32, KnownAs)> {
    recent.iter().map(|known| (known.pid, known.kind)).collect()
}

#[test]
fn captured_kill_that_was_backfilled_is_recognised_once() {
    let mut recent = RecentKills::default();
    recent.backfilled(&kill(7, 100));
    assert!(recent.kill(&kill(8, 100)), "another process");
    assert!(recent.kill(&kill(7, 101 + MAX_DELAY_NS)), "much later");
    assert!(!recent.kill(&kill(7, 100 + MAX_DELAY_NS)));
    assert!(recent.kill(&kill(7, 100)), "only once");
    let expected = [8, 7, 7, 7].map(|pid| (pid, KnownAs::Kill));
    assert_eq!(known(&recent), expected);
}

#[test]
fn thread_id_suffices_to_recognise_a_kill() {
    let mut recent = RecentKills::default();
    let mut by_thread = kill(0, 5);
    by_thread.victim.tid = 9;
    recent.backfilled(&by_thread);
    assert!(
        recent.kill(&kill(0, 5)),
        "the process id is known of neither"
    );
    assert!(!recent.kill(&kill(9, 5)));
}

#[test]
fn kills_without_a_time_are_not_kept() {
    let mut recent = RecentKills::default();
    let mut timeless = kill(7, 5);
    timeless.boot_time_ns = None;
    assert!(recent.kill(&timeless));
    recent.backfilled(&timeless);
    recent.rekill(&rekill(7, None));
    assert_eq!(known(&recent), []);
}

#[test]
fn changes_restore_the_same_kills() {
    let mut recent = RecentKills::default();
    let mut saved = std::collections::BTreeMap::new();
    let mut save = |recent: &mut RecentKills| {
        for (number, known) in recent.take_changes() {
            match known {
                Some(known) => saved.insert(number, known),
                None => saved.remove(&number),
            };
        }
        let restored = RecentKills::restored(saved.clone().into_iter().rev());
        assert_eq!(known(&restored), known(recent));
        assert_eq!(restored.next_number, recent.next_number);
    };
    recent.kill(&kill(1, 10));
    recent.backfilled(&kill(2, 20));
    recent.rekill(&rekill(1, Some(30)));
    save(&mut recent);
    recent.kill(&kill(2, 21));
    save(&mut recent);
    recent.forget_before(21);
    save(&mut recent);
    assert_eq!(known(&recent), [(1, KnownAs::Rekill), (2, KnownAs::Kill)]);
    assert_eq!(recent.take_changes(), []);
}

#[test]
fn kills_are_bounded() {
    let mut recent = RecentKills::default();
    for pid in 0..u32::try_from(MAX_KILLS).expect("few") + 3 {
        assert_eq!(
            recent.complete_since(),
            u64::from(pid).saturating_sub(MAX_KILLS as u64)
        );
        recent.kill(&kill(pid + 1, u64::from(pid) + 1));
    }
    assert_eq!(recent.kills.len(), MAX_KILLS);
    assert_eq!(known(&recent)[0].0, 4);
    let restored = RecentKills::restored(recent.kills.iter().copied());
    assert_eq!(restored.complete_since(), recent.complete_since() + 1);
    let forgotten = recent.take_changes();
    assert_eq!(
        forgotten
            .iter()
            .filter(|(_, known)| known.is_none())
            .count(),
        3
    );
}
