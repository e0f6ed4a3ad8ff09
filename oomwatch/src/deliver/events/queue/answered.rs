//! What an answer of the API server does to the outbox.

use super::{Outbox, Undelivered};
use crate::deliver::events::{
    answer::{Answer, Refusal},
    event_counter::{ConflictResolution, Ownership},
    notice::{DeliveryStat, Outcome},
    object::Metadata,
    pending_event::Sent,
    retry,
};

/// What an answer tells beyond its own request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::deliver::events) struct Answered {
    /// The server has all of the object now.
    pub(in crate::deliver::events) is_done: bool,
    pub(in crate::deliver::events) lesson: Option<ConflictResolution>,
}

impl Outbox {
    /// Takes the answer to a request. `random` is at least 0 and less than 1.
    pub(in crate::deliver::events) fn answered(
        &mut self,
        name: &Metadata,
        answer: &Answer,
        now_ns: u64,
        random: f64,
    ) -> Answered {
        let Some(letter) = self.letters.get_mut(&name.key()) else {
            return Answered::default();
        };
        let Some(Sent { count, waiting }) = letter.sent.take() else {
            return Answered::default();
        };
        let object = letter.object;
        let (mut settled, mut outage, mut lesson) = (None, false, None);
        match answer {
            Answer::Accepted => {
                letter.exists = true;
                if letter.origin == Ownership::Unknown {
                    letter.origin = Ownership::Ours;
                    lesson = Some(ConflictResolution::Ours);
                }
                settled = Some((Outcome::Accepted, waiting));
            }
            Answer::AlreadyExists if letter.origin == Ownership::Unknown => {
                let next = self.leave_to_others(name, Sent { count, waiting }, now_ns);
                self.outage_is_over(now_ns);
                return Answered {
                    is_done: true,
                    lesson: next.map(ConflictResolution::Others),
                };
            }
            // The first of a series is all there: any more may not be.
            Answer::AlreadyExists if count == 1 => {
                letter.exists = true;
                settled = Some((Outcome::Accepted, waiting));
            }
            Answer::AlreadyExists => {
                letter.exists = true;
                letter.again(waiting, now_ns, random);
            }
            Answer::NoSuchEvent => {
                letter.exists = false;
                letter.again(waiting, now_ns, random);
            }
            Answer::Refused(refusal) => {
                let outcome = match refusal {
                    Refusal::Invalid => Outcome::Refused,
                    Refusal::NoNamespace => Outcome::NoNamespace,
                };
                settled = Some((outcome, waiting));
            }
            Answer::Later { cause, after } => {
                outage = cause.is_outage();
                letter.failures = letter.failures.saturating_add(1);
                letter.outage = outage;
                letter.put_back(waiting);
                letter.due_ns = Some(retry::due_ns(now_ns, letter.failures, *after, random));
                let cause = *cause;
                self.notices.push(DeliveryStat::Delayed { object, cause });
                match self.closing {
                    Some(Undelivered::Abandoned) => {
                        settled = Some((Outcome::Abandoned, letter.waiting.take()));
                    }
                    Some(Undelivered::Kept) => letter.due_ns = None,
                    None => {}
                }
            }
        }
        let is_done = settled.is_some() && letter.waiting.is_empty();
        if settled.is_some() {
            letter.failures = 0;
            letter.outage = false;
            letter.due_ns = None;
            letter.make_due(now_ns, self.closing);
        }
        if let Some((outcome, waiting)) = settled {
            self.settle_runs(object, outcome, waiting.into_runs(), now_ns);
        }
        if !outage {
            self.outage_is_over(now_ns);
        }
        Answered { is_done, lesson }
    }

    /// An object has the first incident, and nobody knows which others: they get another one, whose name this gives.
    fn leave_to_others(&mut self, name: &Metadata, sent: Sent, now_ns: u64) -> Option<Metadata> {
        let mut letter = self.letters.remove(&name.key())?;
        let Sent { count, mut waiting } = sent;
        // Else the first has had its end before.
        if waiting.incidents() == count
            && let Some(first) = waiting.take_first()
        {
            let runs = std::iter::once(first);
            self.settle_runs(letter.object, Outcome::Accepted, runs, now_ns);
        }
        letter.put_back(waiting);
        letter.event.count = letter.event.count.saturating_sub(1);
        letter.event.metadata = letter.event.next_name();
        letter.failures = 0;
        letter.outage = false;
        letter.last_sent_ns = None;
        letter.make_due(now_ns, self.closing);
        let next = letter.event.metadata.clone();
        if !letter.waiting.is_empty() {
            self.letters.insert(next.key(), letter);
        }
        Some(next)
    }

    /// Whatever waits because the server could not answer need wait no longer.
    fn outage_is_over(&mut self, now_ns: u64) {
        let letters = self.letters.values_unsaved_mut();
        for letter in letters.filter(|letter| letter.outage) {
            letter.outage = false;
            letter.due_ns = letter.due_ns.map(|due| due.min(now_ns));
        }
    }
}
