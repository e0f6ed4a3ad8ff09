//! Rows of kills: as they are seen, and with their names.

use rusqlite::{Transaction, params};

use super::{RowState, pending::Waiting, row::Row};
use crate::store::compaction;

/// A kill as it was found. Whether it was new.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    waiting: &Waiting,
    boot: &str,
    written_ns: i64,
) -> rusqlite::Result<bool> {
    match &waiting.row {
        Some(row) if !compaction::is_merged(transaction, &waiting.id)? => {
            insert_row(transaction, row, boot, written_ns, RowState::New, None)
        }
        _ => Ok(false),
    }
}

/// A kill that has its names now.
pub(super) fn name(
    transaction: &Transaction<'_>,
    waiting: &Waiting,
    boot: &str,
    written_ns: i64,
    turn: i64,
) -> rusqlite::Result<()> {
    let Some(row) = &waiting.row else {
        return Ok(());
    };
    let mut update = transaction.prepare_cached(
        "UPDATE kills SET state = 1, turn = ?2, namespace = ?3, pod = ?4, container = ?5, owner = ?6, report = ?7
         WHERE id = ?1 AND state < 2",
    )?;
    let updated = update.execute(params![
        row.id,
        turn,
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
            Some(turn),
        )?;
    }
    Ok(())
}

/// A row, unless there is one with this id. Whether there was none.
pub(super) fn insert_row(
    transaction: &Transaction<'_>,
    row: &Row,
    boot: &str,
    written_ns: i64,
    state: RowState,
    turn: Option<i64>,
) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO kills (id, time_ns, since_ns, state, turn, kills, incidents, source, scope, namespace, pod,
                            container, owner, incident, boot, written_ns, report)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let inserted = statement.execute(params![
        row.id,
        row.time_ns,
        row.since_ns,
        state as i64,
        turn,
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
