//! Whenever the agent is killed, and whatever of its journal is lost: nothing is told twice, and no count is less than it was.

use proptest::prelude::*;

use super::{
    server::{Agent, Fate, Server},
    *,
};

#[derive(Clone, Debug)]
enum Step {
    Kill(Wanted),
    Save,
    Send(u8),
    Pass(u64),
    Crash,
}

/// A kill: of which pod, by which process, and whether of one more incident; of the system if so.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    pod: u8,
    pid: u32,
    is_new: bool,
    is_system: bool,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (0..3_u8, 1..14_u32, any::<bool>(), any::<bool>()).prop_map(|(pod, pid, is_new, is_system)| {
        Wanted {
            pod,
            pid,
            is_new,
            is_system,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => wanted().prop_map(Step::Kill),
        2 => Just(Step::Save),
        4 => (0..8_u8).prop_map(Step::Send),
        2 => (0..400_u64).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ]
}

fn fate(number: u8) -> Fate {
    match number {
        0 => Fate::AnswerLost,
        1 => Fate::Lost,
        2 => Fate::UnderWay,
        _ => Fate::Answered,
    }
}

/// The kill of that number, at that second.
fn made(wanted: Wanted, number: u32, incident: u32, second: u64) -> Report {
    let Wanted {
        pod,
        pid,
        is_system,
        ..
    } = wanted;
    let mut report = kill(number, &format!("i-{incident}"), second);
    report.kill.victim.pid = pid;
    report.kill.victim.tid = pid;
    let its_pod = report.pod.as_mut().expect("a pod");
    its_pod.uid = format!("uid-{pod}");
    its_pod.name = Some(format!("cart-{pod}"));
    if is_system { system(report) } else { report }
}

proptest! {
    #[test]
    fn crashes_change_no_name_and_no_count(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut agent = Agent::new(Server::default(), 0);
        let mut calm = Agent::new(Server::default(), 0);
        let (mut number, mut incident) = (0, 0);
        for step in steps {
            match step {
                Step::Kill(wanted) => {
                    number += 1;
                    incident += u32::from(wanted.is_new);
                    let report = made(wanted, number, incident, agent.now);
                    calm.now = agent.now;
                    calm.take(report.clone());
                    agent.take(report);
                }
                Step::Save => agent.save(),
                Step::Send(number) => agent.send(fate(number)),
                Step::Pass(seconds) => agent.now += seconds,
                Step::Crash => agent.crash(),
            }
        }
        agent.finish();
        calm.finish();
        prop_assert!(!agent.server.is_lowered);
        prop_assert_eq!(&agent.server, &calm.server);
        // It is all there, too: a start after that has nothing to tell.
        agent.save();
        agent.crash();
        prop_assert_eq!(agent.recorder.pending(), 0);
        prop_assert_eq!(agent.recorder.changes(), []);
    }

    #[test]
    fn lost_journal_lowers_no_count_and_loses_no_kill(
        before in prop::collection::vec((wanted(), any::<bool>()), 0..40),
        after in prop::collection::vec((wanted(), 0..3_u8), 0..40),
    ) {
        let of_pod = |(wanted, what)| (Wanted { is_system: false, is_new: true, ..wanted }, what);
        let mut first = Agent::new(Server::default(), 0);
        let mut told = Vec::new();
        let mut number = 0;
        for (wanted, is_told_again) in before.into_iter().map(of_pod) {
            number += 1;
            let report = made(wanted, number, number, first.now);
            first.take(report.clone());
            if is_told_again {
                told.push(report);
            }
        }
        first.finish();
        let again = u32::try_from(told.len()).expect("few");
        let mut second = Agent::new(first.server, first.now + 10);
        for report in told {
            second.take(report);
        }
        for (wanted, what) in after {
            let (wanted, _) = of_pod((wanted, false));
            number += 1;
            let report = made(wanted, number, number, second.now);
            second.take(report);
            match what {
                0 => {}
                1 => second.send(Fate::Answered),
                _ => second.now += 60,
            }
        }
        second.finish();
        prop_assert!(!second.server.is_lowered);
        let incidents = second.server.incidents();
        prop_assert!((number..=number + again).contains(&incidents), "{} of {}", incidents, number);
    }
}
