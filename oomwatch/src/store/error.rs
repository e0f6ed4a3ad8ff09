//! Errors of the history database, grouped by what the writer does about them.

use std::{io, path::PathBuf};

use rusqlite::{Error, ErrorCode, ffi};

use super::schema::SchemaError;

/// The history database cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file does not hold what was written. The writer moves it away and creates a new one.
    #[error("the history database is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A newer oomwatch wrote the file. The writer moves it away and creates a new one.
    #[error("the history database was written by a newer oomwatch (schema version {version})")]
    Newer {
        /// The schema version of the file.
        version: i32,
    },
    /// The disk is full, or another process holds the lock. The writer retries on the same connection.
    #[error("failed to write the history database, retrying")]
    Temporary(#[source] Error),
    /// Any other error of SQLite. The writer reopens the file.
    #[error("failed to use the history database")]
    Sqlite(#[source] Error),
    /// The folder or file cannot be used. The writer reopens the file.
    #[error("failed to use {}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

impl From<SchemaError> for StoreError {
    fn from(error: SchemaError) -> Self {
        match error {
            SchemaError::Newer { version } => Self::Newer { version },
            SchemaError::Foreign => Self::Damaged(SchemaError::Foreign.into()),
            SchemaError::Sqlite(error) => error.into(),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Error::SqliteFailure(failure, _) = &error else {
            // The statements are constant, so a value that does not fit one was not written by oomwatch.
            return Self::Damaged(error.into());
        };
        match failure.code {
            _ if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
                Self::Damaged(error.into())
            }
            // `Unknown` is `SQLITE_ERROR`: a table or column that the schema creates is missing.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig => Self::Damaged(error.into()),
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory => Self::Temporary(error),
            _ => Self::Sqlite(error),
        }
    }
}
