//! Coalesces delivered kills, so that a container that loses fifty processes a second takes few rows with exact counts.
//!
//! The first [`MAX_ROWS`] kills of a container (else a cgroup) within a calendar minute have a row each. One more row stands
//! for all further kills of that minute: the number of kills and incidents, the times of the first and the last kill, and the
//! report of the last. The ids of kills merged into such a row are kept for a while, to recognise duplicates.

use rusqlite::{OptionalExtension as _, Transaction, params};

/// Kills of a container within a minute that have a row each.
pub const MAX_ROWS: i64 = 20;
/// Ids of merged kills that are kept. A ring that is read again after a restart holds far fewer records.
const MAX_MERGED: usize = 8192;

const MINUTE_NS: i64 = 60_000_000_000;

/// A kill that is being marked as delivered.
struct DeliveredRow {
    number: i64,
    time_ns: i64,
    owner: Option<String>,
    incident: Option<String>,
}

/// Marks a kill as delivered. Returns true if it was merged into another row.
pub(super) fn mark_delivered(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    let mut find = transaction.prepare_cached(
        "SELECT number, time_ns, owner, incident FROM kills WHERE id = ?1 AND state < 2",
    )?;
    let kill = find.query_row([id], |row| {
        Ok(DeliveredRow {
            number: row.get(0)?,
            time_ns: row.get(1)?,
            owner: row.get(2)?,
            incident: row.get(3)?,
        })
    });
    let Some(kill) = kill.optional()? else {
        return Ok(false);
    };
    let minute_ns = kill.time_ns.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
    let mut count = transaction.prepare_cached(
        "SELECT count(*), max(number) FROM kills
         WHERE owner = ?1 AND state = 2 AND time_ns >= ?2 AND time_ns < ?3",
    )?;
    let minute = params![kill.owner, minute_ns, minute_ns.saturating_add(MINUTE_NS)];
    let (rows, last): (i64, Option<i64>) =
        count.query_row(minute, |row| Ok((row.get(0)?, row.get(1)?)))?;
    match last {
        Some(last) if rows > MAX_ROWS => {
            merge(transaction, id, &kill, last, minute_ns)?;
            Ok(true)
        }
        _ => {
            let mut mark =
                transaction.prepare_cached("UPDATE kills SET state = 2 WHERE number = ?1")?;
            mark.execute([kill.number])?;
            Ok(false)
        }
    }
}

fn merge(
    transaction: &Transaction<'_>,
    id: &str,
    kill: &DeliveredRow,
    last: i64,
    minute_ns: i64,
) -> rusqlite::Result<()> {
    // The incident may have begun in the previous minute.
    let mut counted = transaction.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM kills
                        WHERE owner = ?1 AND state = 2 AND time_ns >= ?2 AND time_ns < ?3 AND incident = ?4)",
    )?;
    let is_counted: bool = counted.query_row(
        params![
            kill.owner,
            minute_ns.saturating_sub(MINUTE_NS),
            minute_ns.saturating_add(MINUTE_NS),
            kill.incident
        ],
        |row| row.get(0),
    )?;
    let mut grow = transaction.prepare_cached(
        "UPDATE kills SET
             kills = kills.kills + 1,
             incidents = kills.incidents + ?3,
             since_ns = min(coalesce(kills.since_ns, kills.time_ns), newer.time_ns),
             time_ns = max(kills.time_ns, newer.time_ns),
             (scope, namespace, pod, container, incident, report)
                 = (newer.scope, newer.namespace, newer.pod, newer.container, newer.incident, newer.report)
         FROM kills AS newer
         WHERE kills.number = ?1 AND newer.number = ?2",
    )?;
    grow.execute(params![last, kill.number, i64::from(!is_counted)])?;
    let mut delete = transaction.prepare_cached("DELETE FROM kills WHERE number = ?1")?;
    delete.execute([kill.number])?;
    let mut keep =
        transaction.prepare_cached("INSERT OR IGNORE INTO merged (id, number) VALUES (?1, ?2)")?;
    keep.execute(params![id, kill.number])?;
    Ok(())
}

/// Whether a kill was merged into another row.
pub(super) fn is_merged(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    let mut find =
        transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM merged WHERE id = ?1)")?;
    find.query_row([id], |row| row.get(0))
}

/// Deletes the older half of the ids of merged kills once there are twice [`MAX_MERGED`].
pub(super) fn prune_merged_ids(
    transaction: &Transaction<'_>,
    merged: &mut usize,
) -> rusqlite::Result<()> {
    if *merged < 2 * MAX_MERGED {
        return Ok(());
    }
    let deleted = transaction.execute(
        "DELETE FROM merged WHERE number <= (SELECT number FROM merged ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        [i64::try_from(MAX_MERGED).unwrap_or(i64::MAX)],
    )?;
    *merged = merged.saturating_sub(deleted);
    Ok(())
}

#[cfg(test)]
mod tests;
