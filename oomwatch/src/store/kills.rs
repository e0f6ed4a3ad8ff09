//! Writes rows of the table `kills`.

use rusqlite::{Transaction, params};

use super::{RowState, accounts, pending::PendingKill, row::Row};
use crate::store::compaction;

/// Inserts a kill that was just captured. Returns false if the database has it already.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    kill: &PendingKill,
    boot: &str,
    written_ns: i64,
) -> rusqlite::Result<bool> {
    match &kill.row {
        Some(row) if !compaction::is_merged(transaction, &kill.id)? => {
            accounts::save(transaction, row, false)?;
            insert_row(transaction, row, boot, written_ns, RowState::New, None)
        }
        _ => Ok(false),
    }
}

/// Updates a kill with the names found for it; inserts it if the database does not have it.
pub(super) fn set_names(
    transaction: &Transaction<'_>,
    kill: &PendingKill,
    boot: &str,
    written_ns: i64,
    sequence: i64,
) -> rusqlite::Result<()> {
    let Some(row) = &kill.row else {
        return Ok(());
    };
    accounts::save(transaction, row, true)?;
    let mut update = transaction.prepare_cached(
        "UPDATE kills SET state = 1, sequence = ?2, namespace = ?3, pod = ?4, container = ?5, owner = ?6, report = ?7
         WHERE id = ?1 AND state < 2",
    )?;
    let updated = update.execute(params![
        row.id,
        sequence,
        row.namespace,
        row.pod,
        row.container,
        row.owner,
        row.report
    ])?;
    if updated == 0 && !compaction::is_merged(transaction, &row.id)? {
        insert_row(
            transaction,
            row,
            boot,
            written_ns,
            RowState::Named,
            Some(sequence),
        )?;
    }
    Ok(())
}

/// Inserts a row. Returns false if there is a row with this id already.
pub(super) fn insert_row(
    transaction: &Transaction<'_>,
    row: &Row,
    boot: &str,
    written_ns: i64,
    state: RowState,
    sequence: Option<i64>,
) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO kills (id, time_ns, since_ns, state, sequence, kills, incidents, source, scope, namespace, pod,
                            container, owner, incident, boot, written_ns, report)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let inserted = statement.execute(params![
        row.id,
        row.time_ns,
        row.since_ns,
        state as i64,
        sequence,
        row.kills,
        row.incidents,
        row.source,
        row.scope,
        row.namespace,
        row.pod,
        row.container,
        row.owner,
        row.incident,
        boot,
        written_ns,
        row.report
    ])?;
    Ok(inserted > 0)
}
