//! The table `accounts`: one row an incident, for the newest of them.

use rusqlite::{Transaction, params};

use super::row::Row;

/// Accounts that are kept.
pub(super) const MAX_ACCOUNTS: i64 = 5000;
/// Accounts by which the table may exceed [`MAX_ACCOUNTS`] before the oldest are deleted.
const SLACK: i64 = 64;

/// Inserts the account of a kill's incident. One with names replaces one without.
pub(super) fn save(
    transaction: &Transaction<'_>,
    row: &Row,
    has_names: bool,
) -> rusqlite::Result<()> {
    let (Some(incident), Some(account)) = (&row.incident, &row.account) else {
        return Ok(());
    };
    // The victims of a group kill share an account: most of them find it there.
    let mut save = transaction.prepare_cached(
        "INSERT INTO accounts (incident, account) VALUES (?1, ?2)
         ON CONFLICT (incident) DO UPDATE SET account = excluded.account WHERE ?3 AND account <> excluded.account",
    )?;
    save.execute(params![incident, account, has_names])?;
    Ok(())
}

/// Deletes the oldest accounts but `keep`.
pub(super) fn prune(transaction: &Transaction<'_>, keep: i64) -> rusqlite::Result<usize> {
    // Numbers are consecutive but for conflicts, so this deletes a few too many rather than too few.
    let mut delete = transaction.prepare_cached(
        "DELETE FROM accounts WHERE number <= (SELECT max(number) FROM accounts) - ?1",
    )?;
    delete.execute([keep])
}

/// Deletes the oldest accounts once there are clearly too many.
pub(super) fn enforce_bound(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let is_full: bool = transaction
        .prepare_cached("SELECT coalesce(max(number) - min(number), 0) >= ?1 FROM accounts")?
        .query_row([MAX_ACCOUNTS + SLACK], |row| row.get(0))?;
    if is_full {
        prune(transaction, MAX_ACCOUNTS)?;
    }
    Ok(())
}
