//! A cause before it is put into words, and what the decisions share.

use super::sentence::{Audience, Names};
use crate::model::{
    account::{Account, Memory, MemoryOf},
    cause::CauseKind,
    report::Report,
};

/// What holds this much of the memory is its cause: nothing else can have held more.
const HALF_PERMILLE: u64 = 500;

/// Puts a cause into words for an audience.
pub(super) type Sentence<'a> = Box<dyn Fn(&Names<'a>, Audience) -> String + 'a>;

/// A cause before it is put into words.
pub(super) struct Finding<'a> {
    pub(super) kind: CauseKind,
    pub(super) share_permille: Option<u16>,
    pub(super) sentence: Sentence<'a>,
}

impl<'a> Finding<'a> {
    pub(super) fn new(
        kind: CauseKind,
        share_permille: Option<u16>,
        sentence: impl Fn(&Names<'a>, Audience) -> String + 'a,
    ) -> Self {
        Self {
            kind,
            share_permille,
            sentence: Box::new(sentence),
        }
    }

    pub(super) fn unknown(sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self::new(CauseKind::Unknown, None, move |_, _| sentence.clone())
    }
}

/// The part of `whole` that `part` is, in thousandths, at most 1000.
pub(super) fn permille(part: u64, whole: u64) -> Option<u16> {
    let permille = u128::from(part)
        .saturating_mul(1000)
        .checked_div(u128::from(whole))?;
    u16::try_from(permille.min(1000)).ok()
}

/// Whether `part` is at least half of `whole`.
pub(super) fn is_half(part: u64, whole: u64) -> bool {
    whole > 0 && u128::from(part) * 1000 >= u128::from(whole) * u128::from(HALF_PERMILLE)
}

pub(super) fn account(report: &Report) -> Option<&Account> {
    report.kill.account.as_deref()
}

/// The memory of what ran out.
pub(super) fn memory(report: &Report, of: MemoryOf) -> Option<Memory> {
    account(report)?.memory.filter(|memory| memory.of == of)
}
