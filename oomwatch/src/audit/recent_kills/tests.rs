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

fn told(recent: &Recent) -> Vec<(u32, Told)> {
    recent.iter().map(|known| (known.pid, known.told)).collect()
}

#[test]
fn kill_that_was_told_from_the_log_is_not_told_again() {
    let mut recent = Recent::default();
    recent.filled(&kill(7, 100));
    assert!(recent.kill(&kill(8, 100)), "another process");
    assert!(recent.kill(&kill(7, 101 + LATE_NS)), "much later");
    assert!(!recent.kill(&kill(7, 100 + LATE_NS)));
    assert!(recent.kill(&kill(7, 100)), "only once");
    let expected = [8, 7, 7, 7].map(|pid| (pid, Told::Kill));
    assert_eq!(told(&recent), expected);
}

#[test]
fn thread_is_enough_to_know_a_process_by() {
    let mut recent = Recent::default();
    let mut by_thread = kill(0, 5);
    by_thread.victim.tid = 9;
    recent.filled(&by_thread);
    assert!(recent.kill(&kill(0, 5)), "of neither is the process known");
    assert!(!recent.kill(&kill(9, 5)));
}

#[test]
fn what_has_no_time_is_left_out() {
    let mut recent = Recent::default();
    let mut timeless = kill(7, 5);
    timeless.boot_time_ns = None;
    assert!(recent.kill(&timeless));
    recent.filled(&timeless);
    recent.rekill(&rekill(7, None));
    assert_eq!(told(&recent), []);
}

#[test]
fn changes_make_the_same_of_what_was_saved() {
    let mut recent = Recent::default();
    let mut saved = std::collections::BTreeMap::new();
    let mut save = |recent: &mut Recent| {
        for (number, known) in recent.take_changes() {
            match known {
                Some(known) => saved.insert(number, known),
                None => saved.remove(&number),
            };
        }
        let restored = Recent::restored(saved.clone().into_iter().rev());
        assert_eq!(told(&restored), told(recent));
        assert_eq!(restored.next, recent.next);
    };
    recent.kill(&kill(1, 10));
    recent.filled(&kill(2, 20));
    recent.rekill(&rekill(1, Some(30)));
    save(&mut recent);
    recent.kill(&kill(2, 21));
    save(&mut recent);
    recent.forget_before(21);
    save(&mut recent);
    assert_eq!(told(&recent), [(1, Told::Rekill), (2, Told::Kill)]);
    assert_eq!(recent.take_changes(), []);
}

#[test]
fn kills_are_bounded() {
    let mut recent = Recent::default();
    for pid in 0..u32::try_from(MOST).expect("few") + 3 {
        assert_eq!(
            recent.whole_since(),
            u64::from(pid).saturating_sub(MOST as u64)
        );
        recent.kill(&kill(pid + 1, u64::from(pid) + 1));
    }
    assert_eq!(recent.kills.len(), MOST);
    assert_eq!(told(&recent)[0].0, 4);
    let restored = Recent::restored(recent.kills.iter().copied());
    assert_eq!(restored.whole_since(), recent.whole_since() + 1);
    let forgotten = recent.take_changes();
    assert_eq!(
        forgotten
            .iter()
            .filter(|(_, known)| known.is_none())
            .count(),
        3
    );
}
