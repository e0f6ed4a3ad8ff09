//! Whatever happens to an outbox, each incident has one end.

use proptest::prelude::*;

use super::*;

/// What may happen to an outbox.
#[derive(Clone, Debug)]
enum Step {
    Incident(usize, bool),
    Pass(u64),
    Send,
    Answer(usize, u8),
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_usize, any::<bool>()).prop_map(|(name, held)| Step::Incident(name, held)),
        (0..900_u64).prop_map(Step::Pass),
        Just(Step::Send),
        (0..6_usize, 0..8_u8).prop_map(|(name, answer)| Step::Answer(name, answer)),
        (0..6_usize).prop_map(Step::Release),
    ]
}

fn any_answer(number: u8) -> Answer {
    match number {
        0 => Answer::Accepted,
        1 => Answer::AlreadyExists,
        2 => Answer::NoSuchEvent,
        3 => Answer::Refused(Refusal::Invalid),
        4 => Answer::Refused(Refusal::NoNamespace),
        5 => later(Cause::Unreachable),
        6 => later(Cause::Forbidden),
        _ => later(Cause::TooMany),
    }
}

proptest! {
    // C58, and more: whatever the server does.
    #[test]
    fn every_incident_has_one_end_or_is_still_to_be_told(
        steps in prop::collection::vec(step(), 0..200),
        random in 0.0..1.0,
    ) {
        let mut post = Post::new();
        let mut counts = [0; 6];
        let (mut put, mut settled) = (0_u64, 0_u64);
        let mut under_way = [false; 6];
        for step in steps {
            match step {
                Step::Incident(number, held) => {
                    counts[number] += 1;
                    put += 1;
                    let verdict = if held { Verdict::Hold } else { Verdict::Write };
                    post.incident(event(&name(number), counts[number]), verdict, 10);
                }
                Step::Pass(seconds) => post.now += seconds,
                Step::Send => {
                    if let Some((_, sent, count)) = post.sent() {
                        let number = (0..6).find(|&number| name(number) == sent).expect("one of them");
                        prop_assert!(!under_way[number], "two requests for {}", sent);
                        prop_assert_eq!(count, counts[number]);
                        under_way[number] = true;
                    }
                }
                Step::Answer(number, answer) => {
                    let now_ns = post.now_ns();
                    let metadata = event(&name(number), 1).metadata;
                    post.outbox.answered(&metadata, &any_answer(answer), now_ns, random);
                    under_way[number] = false;
                }
                Step::Release(number) => {
                    let now_ns = post.now_ns();
                    post.outbox.release(&event(&name(number), 1).metadata, now_ns);
                }
            }
            settled += post.settled().iter().map(|(_, incidents)| u64::from(*incidents)).sum::<u64>();
            prop_assert_eq!(settled + post.outbox.pending(), put);
        }
        // Once the server answers, all is told.
        for (number, &sent) in under_way.iter().enumerate() {
            if sent {
                post.answer(&name(number), &Answer::Accepted);
            }
            let now_ns = post.now_ns();
            post.outbox.release(&event(&name(number), 1).metadata, now_ns);
        }
        for _ in 0..1000 {
            match post.next() {
                Next::Send(request) => post.answer(&request.event.metadata.name, &Answer::Accepted),
                Next::Wait(None) => break,
                Next::Wait(Some(until)) => post.now = until.div_ceil(SECOND_NS).max(post.now + 1),
            }
        }
        settled += post.settled().iter().map(|(_, incidents)| u64::from(*incidents)).sum::<u64>();
        prop_assert_eq!((settled, post.outbox.pending()), (put, 0));
    }
}
