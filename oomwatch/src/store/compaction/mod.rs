//! Kills that were told: history, in which a container that loses fifty children a second is few rows with exact counts.
//!
//! Of a container (else a cgroup) the first [`MAX_ROWS`] kills within a calendar minute have rows of their own. The row behind
//! those stands for all further ones: their number, that of their incidents, when the first and the last was, and the
//! last one's report. Ids of kills that went into it are kept for a while, in case they come once more.

use rusqlite::{OptionalExtension as _, Transaction, params};

/// Rows of their own, of a container within a minute.
pub const MAX_ROWS: i64 = 20;
/// Ids that are kept. A ring that is read once more holds far fewer records.
const MAX_MERGED: usize = 8192;

const MINUTE_NS: i64 = 60_000_000_000;

/// A row that is told now.
struct Told {
    number: i64,
    time_ns: i64,
    owner: Option<String>,
    incident: Option<String>,
}

/// Marks a kill as told. Whether it went into another's row.
pub(super) fn mark(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    let mut find = transaction.prepare_cached(
        "SELECT number, time_ns, owner, incident FROM kills WHERE id = ?1 AND state < 2",
    )?;
    let told = find.query_row([id], |row| {
        Ok(Told {
            number: row.get(0)?,
            time_ns: row.get(1)?,
            owner: row.get(2)?,
            incident: row.get(3)?,
        })
    });
    let Some(told) = told.optional()? else {
        return Ok(false);
    };
    let minute_ns = told.time_ns.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
    let mut count = transaction.prepare_cached(
        "SELECT count(*), max(number) FROM kills
         WHERE owner = ?1 AND state = 2 AND time_ns >= ?2 AND time_ns < ?3",
    )?;
    let minute = params![told.owner, minute_ns, minute_ns.saturating_add(MINUTE_NS)];
    let (rows, last): (i64, Option<i64>) =
        count.query_row(minute, |row| Ok((row.get(0)?, row.get(1)?)))?;
    match last {
        Some(last) if rows > MAX_ROWS => {
            merge(transaction, id, &told, last, minute_ns)?;
            Ok(true)
        }
        _ => {
            let mut mark =
                transaction.prepare_cached("UPDATE kills SET state = 2 WHERE number = ?1")?;
            mark.execute([told.number])?;
            Ok(false)
        }
    }
}

fn merge(
    transaction: &Transaction<'_>,
    id: &str,
    told: &Told,
    last: i64,
    minute_ns: i64,
) -> rusqlite::Result<()> {
    // It may have begun in the minute before.
    let mut counted = transaction.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM kills
                        WHERE owner = ?1 AND state = 2 AND time_ns >= ?2 AND time_ns < ?3 AND incident = ?4)",
    )?;
    let is_counted: bool = counted.query_row(
        params![
            told.owner,
            minute_ns.saturating_sub(MINUTE_NS),
            minute_ns.saturating_add(MINUTE_NS),
            told.incident
        ],
        |row| row.get(0),
    )?;
    let mut grow = transaction.prepare_cached(
        "UPDATE kills SET
             kills = kills.kills + 1,
             incidents = kills.incidents + ?3,
             since_ns = min(coalesce(kills.since_ns, kills.time_ns), told.time_ns),
             time_ns = max(kills.time_ns, told.time_ns),
             (scope, namespace, pod, container, incident, report)
                 = (told.scope, told.namespace, told.pod, told.container, told.incident, told.report)
         FROM kills AS told
         WHERE kills.number = ?1 AND told.number = ?2",
    )?;
    grow.execute(params![last, told.number, i64::from(!is_counted)])?;
    let mut delete = transaction.prepare_cached("DELETE FROM kills WHERE number = ?1")?;
    delete.execute([told.number])?;
    let mut keep =
        transaction.prepare_cached("INSERT OR IGNORE INTO merged (id, number) VALUES (?1, ?2)")?;
    keep.execute(params![id, told.number])?;
    Ok(())
}

/// Whether a kill went into another's row.
pub(super) fn is_merged(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    let mut find =
        transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM merged WHERE id = ?1)")?;
    find.query_row([id], |row| row.get(0))
}

/// Forgets the older half of the ids once there are twice as many as are kept.
pub(super) fn forget(transaction: &Transaction<'_>, merged: &mut usize) -> rusqlite::Result<()> {
    if *merged < 2 * MAX_MERGED {
        return Ok(());
    }
    let forgotten = transaction.execute(
        "DELETE FROM merged WHERE number <= (SELECT number FROM merged ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        [i64::try_from(MAX_MERGED).unwrap_or(i64::MAX)],
    )?;
    *merged = merged.saturating_sub(forgotten);
    Ok(())
}

#[cfg(test)]
mod tests;
