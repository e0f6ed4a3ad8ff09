//! The accounts of incidents, which the programs write to a ring of their own before the kills. A kill that is read finds its
//! account there already; an account that a full ring has rejected is absent, and no kill waits for it.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use tracing::error;

use crate::{
    capture::{
        decode::{AccountLayout, IncidentAccount, decode_account},
        ring::Ring,
    },
    model::account::Account,
};

/// Number of accounts that are remembered. Incidents do not overlap, so the kills of one follow each other.
const REMEMBERED: usize = 4;

/// The ring of accounts of one generation.
pub(super) struct Accounts {
    ring: Ring,
    layout: AccountLayout,
    recent: RecentAccounts,
}

impl Accounts {
    pub(super) fn new(ring: Ring, layout: AccountLayout) -> Self {
        Self {
            ring,
            layout,
            recent: RecentAccounts::default(),
        }
    }

    /// The account of a kill, whose record is at this position in the ring of kills.
    pub(super) fn find(&mut self, boot_time_ns: u64, position: u64) -> Option<Arc<Account>> {
        let Self {
            ring,
            layout,
            recent,
        } = self;
        if !recent.has_reached(boot_time_ns) {
            let _ = ring.drain(|begin, bytes| {
                match decode_account(bytes, layout) {
                    Ok(account) => recent.insert(begin, account),
                    Err(error) => error!(
                        %error,
                        "failed to decode the account of a kill, which is lost (the programs may be of another version)"
                    ),
                }
                if recent.has_reached(boot_time_ns) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        }
        recent.find(boot_time_ns, position)
    }

    /// Releases the accounts of the kills before a position in the ring of kills.
    pub(super) fn release(&mut self, position: u64) {
        let read = self.ring.position();
        self.ring
            .release(self.recent.release(position).unwrap_or(read));
    }
}

/// The accounts that were read last, and which of them kills need that are not stored yet. Pure.
#[derive(Debug, Default)]
struct RecentAccounts {
    recent: VecDeque<RecentAccount>,
    /// Kills with an account, in the order of their records.
    unreleased: VecDeque<Use>,
}

#[derive(Debug)]
struct RecentAccount {
    boot_time_ns: u64,
    /// Where its record begins.
    begin: u64,
    account: Arc<Account>,
}

/// A kill that has an account: where the record of each begins, in its ring.
#[derive(Clone, Copy, Debug)]
struct Use {
    kill: u64,
    account: u64,
}

impl RecentAccounts {
    /// Whether the account of this time was read, if there is one.
    fn has_reached(&self, boot_time_ns: u64) -> bool {
        self.recent
            .back()
            .is_some_and(|last| last.boot_time_ns >= boot_time_ns)
    }

    fn insert(
        &mut self,
        begin: u64,
        IncidentAccount {
            boot_time_ns,
            account,
        }: IncidentAccount,
    ) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(RecentAccount {
            boot_time_ns,
            begin,
            account: Arc::new(account),
        });
    }

    fn find(&mut self, boot_time_ns: u64, kill: u64) -> Option<Arc<Account>> {
        let found = self
            .recent
            .iter()
            .find(|recent| recent.boot_time_ns == boot_time_ns)?;
        self.unreleased.push_back(Use {
            kill,
            account: found.begin,
        });
        (!found.account.is_empty()).then(|| Arc::clone(&found.account))
    }

    /// Forgets the kills before a position. Returns where the first account begins that is still needed.
    fn release(&mut self, position: u64) -> Option<u64> {
        while self
            .unreleased
            .front()
            .is_some_and(|first| first.kill < position)
        {
            self.unreleased.pop_front();
        }
        self.unreleased.front().map(|first| first.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::account;

    fn read(times: &[u64]) -> RecentAccounts {
        let mut recent = RecentAccounts::default();
        for &boot_time_ns in times {
            recent.insert(
                boot_time_ns * 100,
                IncidentAccount {
                    boot_time_ns,
                    account: account(),
                },
            );
        }
        recent
    }

    #[test]
    fn members_of_a_group_share_their_account() {
        let mut recent = read(&[5]);
        let [first, second] = [1, 2].map(|kill| recent.find(5, kill).expect("an account"));
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn kill_without_an_account_gets_no_other() {
        let mut recent = read(&[5, 7]);
        assert!(recent.has_reached(6));
        assert_eq!(recent.find(6, 1), None);
        assert!(recent.find(7, 2).is_some());
        assert!(!recent.has_reached(8));
        assert_eq!(RecentAccounts::default().find(0, 1), None);
    }

    #[test]
    fn remembered_accounts_are_bounded() {
        let times: Vec<_> = (1..=9).collect();
        let recent = read(&times);
        assert_eq!(recent.recent.len(), REMEMBERED);
        assert!(recent.has_reached(9));
    }

    #[test]
    fn account_is_released_after_the_last_kill_that_needs_it() {
        let mut recent = read(&[5, 7]);
        for (time, kill) in [(5, 10), (5, 20), (7, 30)] {
            recent.find(time, kill);
        }
        for (position, expected) in [
            (10, Some(500)),
            (20, Some(500)),
            (21, Some(700)),
            (30, Some(700)),
            (31, None),
        ] {
            assert_eq!(recent.release(position), expected, "{position}");
        }
    }

    #[test]
    fn empty_account_is_none() {
        let mut recent = RecentAccounts::default();
        recent.insert(
            0,
            IncidentAccount {
                boot_time_ns: 1,
                account: Account::default(),
            },
        );
        assert_eq!(recent.find(1, 0), None);
    }
}
