//! Whatever the order of kills, responses, outages and restarts: no Event is created twice, and no count decreases.

use proptest::prelude::*;

use super::{
    server::{Agent, Fate, Server},
    *,
};

#[derive(Clone, Debug)]
enum Step {
    Kill(Wanted),
    Save,
    Send(Fate),
    /// The response to one of the requests in flight.
    Respond(usize),
    /// From now on the server can be reached, or cannot.
    Reachable(bool),
    Pass(u64),
    Crash,
    Shutdown,
}

/// A kill to make: its pod and process, whether it starts a new incident, and whether the system ran out of memory.
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
        4 => fate().prop_map(Step::Send),
        2 => any::<usize>().prop_map(Step::Respond),
        1 => any::<bool>().prop_map(Step::Reachable),
        2 => (0..400_u64).prop_map(Step::Pass),
        1 => Just(Step::Crash),
        1 => Just(Step::Shutdown),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::ResponseLost),
        1 => Just(Fate::Lost),
        2 => Just(Fate::InFlight),
        4 => Just(Fate::Responded),
    ]
}

/// Kill number `number`, at that second.
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
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn outages_and_restarts_change_no_name_and_no_count(
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
                    calm.record(report.clone());
                    agent.record(report);
                }
                Step::Save => agent.save(),
                Step::Send(fate) => agent.send(fate),
                Step::Respond(index) => agent.respond(index),
                Step::Reachable(is_reachable) => agent.server.is_reachable = is_reachable,
                Step::Pass(seconds) => agent.now += seconds,
                Step::Crash => agent.crash(),
                Step::Shutdown => agent.shut_down(),
            }
        }
        agent.server.is_reachable = true;
        agent.finish();
        calm.finish();
        prop_assert!(!agent.server.is_lowered);
        prop_assert_eq!(&agent.server, &calm.server);
        // Everything is delivered, and a restart has nothing to send.
        agent.save();
        agent.crash();
        prop_assert_eq!(agent.recorder.pending(), 0);
        prop_assert_eq!(agent.recorder.changes(), []);
    }

    #[test]
    fn lost_history_decreases_no_count_and_loses_no_kill(
        before in prop::collection::vec((wanted(), any::<bool>()), 0..40),
        after in prop::collection::vec((wanted(), 0..3_u8), 0..40),
    ) {
        let of_pod = |(wanted, what)| (Wanted { is_system: false, is_new: true, ..wanted }, what);
        let mut first = Agent::new(Server::default(), 0);
        let mut repeated = Vec::new();
        let mut number = 0;
        for (wanted, is_recorded_again) in before.into_iter().map(of_pod) {
            number += 1;
            let report = made(wanted, number, number, first.now);
            first.record(report.clone());
            if is_recorded_again {
                repeated.push(report);
            }
        }
        first.finish();
        let again = u32::try_from(repeated.len()).expect("few");
        let mut second = Agent::new(first.server, first.now + 10);
        for report in repeated {
            second.record(report);
        }
        for (wanted, what) in after {
            let (wanted, _) = of_pod((wanted, false));
            number += 1;
            let report = made(wanted, number, number, second.now);
            second.record(report);
            match what {
                0 => {}
                1 => second.send(Fate::Responded),
                _ => second.now += 60,
            }
        }
        second.finish();
        prop_assert!(!second.server.is_lowered);
        let incidents = second.server.incidents();
        prop_assert!((number..=number + again).contains(&incidents), "{} of {}", incidents, number);
    }
}
