//! Decides the cause of a kill from its facts and its account. Never guesses: where a figure that is missing, or the error of
//! one, could change the answer, the cause is unknown, and the sentence says what is known.

mod finding;
mod kinds;
mod memcg;
mod processes;
mod sentence;
mod system;
#[cfg(test)]
mod tests;

use self::{
    finding::Finding,
    sentence::{Audience, Names},
};
use crate::model::{cause::Cause, kill::Scope, report::Report};

/// Adds the cause of a kill to its report, where anything of its account is known.
pub fn explain(report: &mut Report) {
    if report.kill.account.is_none() && report.explanation.is_none() {
        return;
    }
    let cause = decide(report);
    report.explanation.get_or_insert_default().cause = Some(cause);
}

/// The cause of a kill.
#[must_use]
pub fn decide(report: &Report) -> Cause {
    let Finding {
        kind,
        share_permille,
        sentence,
    } = find(report);
    let names = Names::new(report);
    let text = |audience| sentence(&names, audience);
    let sentence = text(Audience::Node);
    let pod_sentence = text(Audience::Pod);
    Cause {
        kind,
        share_permille,
        pod_sentence: (pod_sentence != sentence).then_some(pod_sentence),
        sentence,
    }
}

fn find(report: &Report) -> Finding<'_> {
    let kill = &report.kill;
    if kill
        .allocation
        .is_some_and(|allocation| allocation.order < 0)
    {
        return Finding::unknown("An operator asked the kernel to kill a process (sysrq f).");
    }
    match kill.scope {
        Scope::Unknown => Finding::unknown("It is not known what ran out of memory."),
        Scope::System => system::find(report),
        Scope::Memcg => memcg::find(report),
    }
}
