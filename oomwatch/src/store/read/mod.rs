//! Reads the history database, also a copy or while the agent writes it. Needs no privilege but to read the file.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, named_params};

use super::{
    row::{AUDIT, nanoseconds},
    schema::{self, SchemaError, VERSION},
};
use crate::store::files::{FILE, with_suffix};
use crate::{
    model::{
        kill::Scope,
        report::{Coalesced, GapReport, Report},
    },
    store::codec,
};

/// How long to wait for a lock, which the agent holds only while it starts or ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows per query. Between two queries the agent can checkpoint its write-ahead log.
const CHUNK: usize = 256;

/// A history database opened for reading.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    /// The write-ahead log exists but cannot be read.
    misses_newest: bool,
    /// Schema version of the file.
    version: i32,
}

/// Selects rows; an absent field selects all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only kills at or after this time.
    pub since: Option<Timestamp>,
    /// Only kills at or before this time.
    pub until: Option<Timestamp>,
    /// Only kills in pods of this namespace.
    pub namespace: Option<String>,
    /// Only kills in pods of this name.
    pub pod: Option<String>,
    /// Only kills in containers with this name, or whose id has this prefix.
    pub container: Option<String>,
    /// Only kills of this scope.
    pub scope: Option<Scope>,
}

/// A decoded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A kill, or the last of several kills that share this row.
    Kill(Box<Report>, Option<Coalesced>),
    /// Kills that were counted, not observed.
    Gap(GapReport),
    /// The row of this number cannot be decoded: another version wrote it, or it is damaged.
    Unreadable(i64),
}

/// Order by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest kills first.
    OldestFirst,
    /// Newest kills first.
    NewestFirst,
}

/// The history database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no file, or it is empty.
    #[error("no history database at {} (the agent creates it; use --state-dir if it is elsewhere)", .0.display())]
    Missing(PathBuf),
    /// The user has no permission to read it.
    #[error("failed to read {}: permission denied (try sudo)", .0.display())]
    Denied(PathBuf),
    /// The file does not hold what was written.
    #[error(
        "{} is damaged (the agent will move it away; `sqlite3 FILE .recover` on a copy may recover rows)",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// Another program or a newer version wrote it.
    #[error("{} is not a history database of this version of oomwatch (schema version {VERSION})", .path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The mismatch.
        #[source]
        source: SchemaError,
    },
    /// Any other error of SQLite.
    #[error("failed to read {}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file cannot be opened.
    #[error("failed to read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

/// Where the next query continues: after this time and row number.
type Position = (i64, i64);

impl Reader {
    /// Opens a database file, or the one in a folder.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let path = if path.is_dir() {
            path.join(FILE)
        } else {
            path.to_owned()
        };
        if let Err(error) = fs::File::open(&path) {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => ReadError::Missing(path),
                io::ErrorKind::PermissionDenied => ReadError::Denied(path),
                _ => ReadError::Io {
                    path,
                    source: error,
                },
            });
        }
        // Without a log no process has the file open, and the file has everything.
        let has_log = fs::metadata(with_suffix(&path, "-wal")).is_ok_and(|log| log.len() > 0);
        if !has_log {
            return Self::connect(path, Access::FileAlone, false);
        }
        match Self::connect(path.clone(), Access::WithLog, false) {
            // Reading the log needs the `-shm` file to be readable, or the folder to be writable.
            Err(ReadError::Sqlite { .. }) => Self::connect(path, Access::FileAlone, true),
            opened => opened,
        }
    }

    fn connect(path: PathBuf, access: Access, misses_newest: bool) -> Result<Self, ReadError> {
        let failed = |source| failure(&path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri(&path, access), flags).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        connection
            .pragma_update(None, "trusted_schema", false)
            .map_err(failed)?;
        let version = match schema::read_version(&connection) {
            Ok(0) => return Err(ReadError::Missing(path)),
            Ok(version) => version,
            Err(SchemaError::Sqlite(error)) => return Err(failed(error)),
            Err(source) => return Err(ReadError::Schema { path, source }),
        };
        Ok(Self {
            connection,
            path,
            misses_newest,
            version,
        })
    }

    /// Whether the newest kills may be missing because this user cannot read the write-ahead log.
    #[must_use]
    pub fn misses_newest(&self) -> bool {
        self.misses_newest
    }

    /// Passes the selected rows to `visit`, in the order of time, until it returns false.
    pub fn read<E: From<ReadError>>(
        &self,
        query: &Query,
        order: Order,
        mut visit: impl FnMut(Item) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut position = match order {
            Order::OldestFirst => (i64::MIN, i64::MIN),
            Order::NewestFirst => (i64::MAX, i64::MAX),
        };
        loop {
            let rows = self.chunk(query, order, position);
            let rows = rows.map_err(|error| failure(&self.path, error))?;
            let is_last = rows.len() < CHUNK;
            for (at, item) in rows {
                position = at;
                if !visit(item)? {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn chunk(
        &self,
        query: &Query,
        order: Order,
        position: Position,
    ) -> rusqlite::Result<Vec<(Position, Item)>> {
        let Query {
            since,
            until,
            namespace,
            pod,
            container,
            scope,
        } = query;
        let (behind, direction) = match order {
            Order::OldestFirst => (">", "ASC"),
            Order::NewestFirst => ("<", "DESC"),
        };
        let account = if self.version < schema::ACCOUNTS_VERSION {
            "NULL"
        } else {
            "(SELECT account FROM accounts WHERE accounts.incident = kills.incident)"
        };
        // Counted kills pass all filters: any of them may match.
        let mut statement = self.connection.prepare(&format!(
            "SELECT CAST(time_ns AS INTEGER), number, since_ns, source, kills, incidents, report, {account} AS account
             FROM kills
             WHERE (time_ns, number) {behind} (:time_ns, :number) AND time_ns BETWEEN :since AND :until
               AND (source = '{AUDIT}' OR (
                   (:namespace IS NULL OR namespace = :namespace)
                   AND (:pod IS NULL OR pod = :pod)
                   AND (:scope IS NULL OR scope = :scope)
                   AND (:container IS NULL OR container = :container
                        OR substr(owner, 1, length(:container)) = :container)))
             ORDER BY time_ns {direction}, number {direction} LIMIT {CHUNK}"
        ))?;
        let rows = statement.query_map(
            named_params! {
                ":time_ns": position.0,
                ":number": position.1,
                ":since": since.map_or(i64::MIN, nanoseconds),
                ":until": until.map_or(i64::MAX, nanoseconds),
                ":namespace": namespace,
                ":pod": pod,
                ":scope": scope.map(Scope::as_str),
                ":container": container,
            },
            |row| {
                let number = row.get(1)?;
                // The statement fits the table, so an error here is of the values in this row.
                let item = item(row)
                    .unwrap_or(None)
                    .unwrap_or(Item::Unreadable(number));
                Ok(((row.get(0)?, number), item))
            },
        )?;
        rows.collect()
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// With its write-ahead log.
    WithLog,
    /// Without the log, as an immutable file.
    FileAlone,
}

/// The URI of a path, which may hold any bytes.
fn uri(path: &Path, access: Access) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    if access == Access::FileAlone {
        uri.push_str("?immutable=1");
    }
    uri
}

/// Decodes a row; absent if its report cannot be decoded.
fn item(row: &Row<'_>) -> rusqlite::Result<Option<Item>> {
    let (source, json): (String, String) = (row.get("source")?, row.get("report")?);
    if source == AUDIT {
        return Ok(codec::to_gap(&json).ok().map(Item::Gap));
    }
    let since_ns: Option<i64> = row.get("since_ns")?;
    let since = since_ns.and_then(|since| Timestamp::from_nanosecond(since.into()).ok());
    let (kills, incidents): (i64, i64) = (row.get("kills")?, row.get("incidents")?);
    let coalesced = since.map(|since| Coalesced {
        kills: kills.unsigned_abs(),
        incidents: incidents.unsigned_abs(),
        since,
    });
    let account: Option<String> = row.get("account").unwrap_or_default();
    let report = codec::to_report(&json).ok().map(|mut report| {
        codec::add_account(&mut report, account.as_deref());
        report
    });
    Ok(report.map(|report| Item::Kill(Box::new(report), coalesced)))
}

fn failure(path: &Path, source: rusqlite::Error) -> ReadError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        // The statements are constant, so a row that does not fit one was not written by oomwatch.
        None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            ReadError::Damaged { path, source }
        }
        Some(_) => ReadError::Sqlite { path, source },
    }
}

#[cfg(test)]
mod tests;
