//! The journal as others read it: while the agent writes it, or a copy; without a right but that to read the file.

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

/// How long the file may be locked: only while the agent begins or ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows that are read at a time: between them the agent can bring its log into the file.
const CHUNK: usize = 256;

/// A journal that is read.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    /// What is still in the write-ahead log cannot be seen.
    is_cut: bool,
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Not from before this.
    pub since: Option<Timestamp>,
    /// Nor later than this.
    pub until: Option<Timestamp>,
    /// Only pods of this namespace.
    pub namespace: Option<String>,
    /// Only pods with this name.
    pub pod: Option<String>,
    /// Only containers with this name, or whose id begins so.
    pub container: Option<String>,
    /// Only kills because this ran out.
    pub scope: Option<Scope>,
}

/// What is in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A kill; or the last of many, which have this row together.
    Kill(Box<Report>, Option<Coalesced>),
    /// Kills that were only counted.
    Gap(GapReport),
    /// What this version cannot read.
    Unreadable,
}

/// Which end is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The oldest.
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// The journal cannot be read; each with what can be done.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no journal {}: an agent that keeps one makes it, and --state-dir says where it is", .0.display())]
    Missing(PathBuf),
    /// It may not be read.
    #[error("{} may not be read by this user: try sudo", .0.display())]
    Denied(PathBuf),
    /// What is in the file is not what was written.
    #[error(
        "{} is damaged: the agent sets it aside when it meets that; `sqlite3 FILE .recover` on a copy may save some of it",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// It is of another program, or another version.
    #[error("{} is no journal for this oomwatch ({VERSION} is its version)", .path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is different.
        #[source]
        source: SchemaError,
    },
    /// Anything else.
    #[error("read {}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// Likewise.
    #[error("read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where reading goes on: behind this time and row.
type Place = (i64, i64);

impl Reader {
    /// Opens a journal: its file, or the one in a folder.
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
        // Without a log nobody has it open, and nothing is missing from the file.
        let has_log = fs::metadata(with_suffix(&path, "-wal")).is_ok_and(|log| log.len() > 0);
        if !has_log {
            return Self::connect(path, Access::FileAlone, false);
        }
        match Self::connect(path.clone(), Access::WithLog, false) {
            // Reading the log takes the index beside it: that must be readable, or the folder writable.
            Err(ReadError::Sqlite { .. }) => Self::connect(path, Access::FileAlone, true),
            opened => opened,
        }
    }

    fn connect(path: PathBuf, access: Access, is_cut: bool) -> Result<Self, ReadError> {
        let failed = |source| failure(&path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri(&path, access), flags).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        connection
            .pragma_update(None, "trusted_schema", false)
            .map_err(failed)?;
        match schema::read_version(&connection) {
            Ok(0) => return Err(ReadError::Missing(path)),
            Ok(_) => {}
            Err(SchemaError::Sqlite(error)) => return Err(failed(error)),
            Err(source) => return Err(ReadError::Schema { path, source }),
        }
        Ok(Self {
            connection,
            path,
            is_cut,
        })
    }

    /// Whether the newest kills may be missing: they are in a log beside the file that this user cannot read.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Hands on what is looked for, in the order of time, until it is not wanted any more.
    pub fn read<E: From<ReadError>>(
        &self,
        query: &Query,
        order: Order,
        mut take: impl FnMut(Item) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut place = match order {
            Order::OldestFirst => (i64::MIN, i64::MIN),
            Order::NewestFirst => (i64::MAX, i64::MAX),
        };
        loop {
            let rows = self.chunk(query, order, place);
            let rows = rows.map_err(|error| failure(&self.path, error))?;
            let is_last = rows.len() < CHUNK;
            for (at, item) in rows {
                place = at;
                if !take(item)? {
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
        place: Place,
    ) -> rusqlite::Result<Vec<(Place, Item)>> {
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
        // Kills that were only counted pass all filters: any of them may be meant.
        let mut statement = self.connection.prepare(&format!(
            "SELECT time_ns, number, since_ns, source, kills, incidents, report FROM kills
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
                ":time_ns": place.0,
                ":number": place.1,
                ":since": since.map_or(i64::MIN, nanoseconds),
                ":until": until.map_or(i64::MAX, nanoseconds),
                ":namespace": namespace,
                ":pod": pod,
                ":scope": scope.map(Scope::as_str),
                ":container": container,
            },
            |row| Ok(((row.get(0)?, row.get(1)?), item(row)?)),
        )?;
        rows.collect()
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// With what stands in its log.
    WithLog,
    /// As if it could not change.
    FileAlone,
}

/// A name for SQLite, whatever is in it.
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

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let (source, json): (String, String) = (row.get("source")?, row.get("report")?);
    if source == AUDIT {
        return Ok(codec::to_gap(&json).map_or(Item::Unreadable, Item::Gap));
    }
    let since_ns: Option<i64> = row.get("since_ns")?;
    let since = since_ns.and_then(|since| Timestamp::from_nanosecond(since.into()).ok());
    let (kills, incidents): (i64, i64) = (row.get("kills")?, row.get("incidents")?);
    let many = since.map(|since| Coalesced {
        kills: kills.unsigned_abs(),
        incidents: incidents.unsigned_abs(),
        since,
    });
    Ok(codec::to_report(&json).map_or(Item::Unreadable, |report| {
        Item::Kill(Box::new(report), many)
    }))
}

fn failure(path: &Path, source: rusqlite::Error) -> ReadError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        // The statements are constant: what does not fit them is not as it was written.
        None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            ReadError::Damaged { path, source }
        }
        Some(_) => ReadError::Sqlite { path, source },
    }
}

#[cfg(test)]
mod tests;
