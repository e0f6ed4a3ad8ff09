use super::*;
use crate::{
    model::kill::{Kill, Trigger},
    testing,
};

/// A header that names a process; its trigger is thread 5, named `t`.
fn header(named: u32) -> HeaderFacts {
    HeaderFacts {
        named,
        pid: named,
        trigger_comm: Some(b"t".to_vec()),
        facts: LogFacts {
            trigger_tid: Some(5),
            limit_lowered: None,
            account: None,
            ..LogFacts::scope(Scope::Memcg)
        },
    }
}

fn killed_facts(tid: u32, comm: &str) -> KilledFacts {
    KilledFacts {
        tid,
        comm: comm.as_bytes().to_vec(),
        scope: Scope::System,
    }
}

/// A kill of process 7, called `v`, by thread 5 of process 4, called `t`.
fn kill() -> Kill {
    let mut kill = testing::minimal_kill();
    kill.victim.comm = Some(b"v".to_vec());
    kill.trigger = Some(Trigger {
        pid: Some(4),
        tid: Some(5),
        comm: Some(b"t".to_vec()),
        cgroup: None,
    });
    kill
}

fn cache(headers: impl IntoIterator<Item = HeaderFacts>, now: Instant) -> FactCache {
    let mut cache = FactCache::default();
    for header in headers {
        cache.insert(LineFacts::Header(header), now);
    }
    cache
}

#[test]
fn header_is_of_the_process_that_it_names_and_of_its_trigger() {
    let thread_of_the_victim = |pid, tid| {
        let mut kill = kill();
        (kill.victim.pid, kill.victim.tid) = (pid, tid);
        kill
    };
    let triggered = |pid, tid, comm: Option<&str>| {
        let mut kill = kill();
        kill.trigger = Some(Trigger {
            pid,
            tid,
            comm: comm.map(|comm| comm.as_bytes().to_vec()),
            cgroup: None,
        });
        kill
    };
    let mut own_thread = triggered(Some(7), Some(5), Some("t"));
    own_thread.victim.tid = 8;
    let untriggered = Kill {
        trigger: None,
        ..kill()
    };
    let no_thread = HeaderFacts {
        facts: LogFacts::scope(Scope::Memcg),
        ..header(7)
    };
    let no_trigger = HeaderFacts {
        trigger_comm: None,
        ..header(7)
    };
    let process_of_a_thread = HeaderFacts {
        named: 9,
        ..header(7)
    };
    for (header, kill, is_own) in [
        (header(7), kill(), true),
        (header(8), kill(), false),
        // The task table gives the process.
        (process_of_a_thread, kill(), true),
        // Its first thread is gone.
        (header(7), thread_of_the_victim(7, 8), true),
        (header(8), thread_of_the_victim(7, 8), true),
        (header(7), thread_of_the_victim(6, 8), false),
        // `oom_kill_allocating_task`
        (header(5), own_thread, true),
        (header(5), triggered(Some(4), Some(5), Some("t")), false),
        (header(7), triggered(Some(4), Some(6), Some("t")), false),
        (header(7), triggered(Some(4), None, Some("t")), true),
        (header(7), triggered(Some(4), Some(5), Some("u")), false),
        (header(7), triggered(Some(4), Some(5), None), false),
        (header(7), untriggered.clone(), false),
        (no_thread, triggered(Some(4), Some(6), Some("t")), true),
        (no_trigger.clone(), kill(), false),
        (no_trigger, triggered(Some(4), Some(5), None), false),
    ] {
        let now = Instant::now();
        let taken = cache([header.clone()], now).take_header(&kill, now);
        let expected = is_own.then(|| header.facts.clone());
        assert_eq!(taken, expected, "{header:?} {:?}", kill.trigger);
    }
}

#[test]
fn header_is_used_once_and_the_oldest_first() {
    let now = Instant::now();
    let other = HeaderFacts {
        facts: LogFacts {
            trigger_tid: None,
            limit_lowered: None,
            account: None,
            ..LogFacts::scope(Scope::System)
        },
        ..header(7)
    };
    let mut cache = cache([header(3), header(7), other], now);
    let mut take = || cache.take_header(&kill(), now).map(|facts| facts.scope);
    assert_eq!(take(), Some(Scope::Memcg));
    assert_eq!(take(), Some(Scope::System));
    assert_eq!(take(), None);
}

#[test]
fn old_lines_are_dropped() {
    let read = Instant::now();
    for (age, is_kept) in [(KEPT, true), (KEPT + Duration::from_millis(1), false)] {
        let mut cache = cache([header(7)], read);
        cache.insert(LineFacts::Killed(killed_facts(7, "v")), read);
        let facts = cache.take_header(&kill(), read + age);
        assert_eq!(facts.is_some(), is_kept);
        let facts = cache.take_killed(&kill().victim, read + age);
        assert_eq!(facts.is_some(), is_kept);
    }
}

#[test]
fn header_of_a_process_that_was_not_killed_is_dropped() {
    let now = Instant::now();
    let mut cache = cache([header(7), header(8)], now);
    cache.insert(LineFacts::NoKill { named: 8 }, now);
    // That header is gone already; the other one stays.
    cache.insert(LineFacts::NoKill { named: 8 }, now);
    assert!(cache.take_header(&kill(), now).is_some());
}

#[test]
fn kill_line_belongs_to_the_thread_that_was_marked() {
    let victim = |pid, tid, comm: Option<&str>| Victim {
        pid,
        tid,
        comm: comm.map(|comm| comm.as_bytes().to_vec()),
        ..kill().victim
    };
    for (victim, is_own) in [
        (victim(7, 7, Some("v")), true),
        (victim(7, 7, None), true),
        (victim(7, 7, Some("w")), false),
        (victim(8, 8, Some("v")), false),
        // The line has the thread's name, which may differ from the process's.
        (victim(6, 7, Some("leader")), true),
        (victim(7, 8, Some("v")), false),
    ] {
        let now = Instant::now();
        let mut cache = FactCache::default();
        cache.insert(LineFacts::Killed(killed_facts(7, "v")), now);
        let facts = cache.take_killed(&victim, now);
        let expected = is_own.then(|| LogFacts::scope(Scope::System));
        assert_eq!(facts, expected, "{victim:?}");
        assert_eq!(cache.take_killed(&victim, now), None, "only once");
    }
}

#[test]
fn cache_is_bounded() {
    let now = Instant::now();
    let mut cache = FactCache::default();
    for number in 0..10_000 {
        cache.insert(LineFacts::Header(header(number)), now);
        cache.insert(LineFacts::Killed(killed_facts(number, "v")), now);
    }
    assert_eq!(cache.headers.len(), MAX_HEADERS);
    assert_eq!(cache.kills.len(), MAX_KILLS);
    let mut last = kill();
    (last.victim.pid, last.victim.tid) = (9_999, 9_999);
    assert!(cache.take_header(&last, now).is_some());
    assert!(cache.take_killed(&last.victim, now).is_some());
}
