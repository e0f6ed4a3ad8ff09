//! Enforces the size and age bounds of the history: deletes the oldest delivered kills, in small steps. Undelivered kills and
//! the state are never deleted.

use rusqlite::params;

use super::{Config, accounts, error::StoreError};
use crate::{
    store::database::{Store, begin},
    sys::clock::ClockSample,
};

/// Rows deleted per step, unless the last batch wrote more than half of that.
const STEP: i64 = 512;
/// Free pages that stay in the file: 1 MiB.
const MAX_FREE_PAGES: i64 = 256;

impl Store {
    /// Deletes some rows beyond the bounds: up to 512, or up to twice as many as the last batch wrote. Returns whether to call
    /// this again.
    pub fn prune(
        &mut self,
        config: &Config,
        written: usize,
        now: ClockSample,
    ) -> Result<bool, StoreError> {
        let step = STEP.max(i64::try_from(written).unwrap_or(STEP).saturating_mul(2));
        let is_too_large = self.bytes()? > config.max_bytes;
        let max_age = i64::try_from(config.max_age.as_nanos()).unwrap_or(i64::MAX);
        let oldest_ns = self.now_ns(now).saturating_sub(max_age);
        let cut_ns = if is_too_large { i64::MAX } else { oldest_ns };
        if !self.has_older_than(cut_ns)? {
            return Ok(false);
        }
        let transaction = begin(self.connection())?;
        if is_too_large && accounts::prune(&transaction, 0)? > 0 {
            transaction.commit()?;
            self.release_free_pages()?;
            return Ok(true);
        }
        let removed = transaction
            .prepare_cached(
                "DELETE FROM kills WHERE number IN (
                     SELECT number FROM (
                         SELECT number, written_ns FROM kills WHERE state = 2 ORDER BY number LIMIT ?1
                     ) WHERE written_ns < ?2
                 )",
            )?
            .execute(params![step, cut_ns])?;
        transaction.commit()?;
        self.release_free_pages()?;
        Ok(removed > 0)
    }

    /// Size of the file in bytes, free pages not counted.
    pub fn bytes(&mut self) -> Result<u64, StoreError> {
        let connection = self.connection();
        let number =
            |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        let bytes = pages.saturating_mul(number("page_size")?);
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    fn has_older_than(&mut self, cut_ns: i64) -> Result<bool, StoreError> {
        let mut find = self.connection().prepare_cached(
            "SELECT coalesce((SELECT written_ns FROM kills WHERE state = 2 ORDER BY number LIMIT 1) < ?1, 0)",
        )?;
        Ok(find.query_row([cut_ns], |row| row.get(0))?)
    }

    /// Returns free pages to the file system, except [`MAX_FREE_PAGES`] that are soon reused.
    fn release_free_pages(&mut self) -> Result<(), StoreError> {
        let connection = self.connection();
        let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let spare = free.saturating_sub(MAX_FREE_PAGES);
        if spare > 0 {
            // Each row of the result frees one page.
            let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({spare})"))?;
            let mut steps = vacuum.query([])?;
            while steps.next()?.is_some() {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
