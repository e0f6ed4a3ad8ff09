//! What can go wrong with the file, by what is to be done.

use std::{io, path::PathBuf};

use rusqlite::{Error, ErrorCode, ffi};

use super::schema::SchemaError;

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is in the file is not what was written: it is to be set aside.
    #[error("it is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A newer oomwatch has written it: it is to be set aside.
    #[error("a newer oomwatch has written it, in version {version}")]
    Newer {
        /// Its version.
        version: i32,
    },
    /// There is no room, or another process is writing: it is to be tried again.
    #[error("it cannot be written now")]
    Later(#[source] Error),
    /// The file system refuses: it is to be opened anew.
    #[error("use the journal")]
    Sqlite(#[source] Error),
    /// Likewise.
    #[error("use {}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
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
            // The statements are constant: what does not fit them is a value that was not written so.
            return Self::Damaged(error.into());
        };
        match failure.code {
            _ if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
                Self::Damaged(error.into())
            }
            // `Unknown` is `SQLITE_ERROR`: a table is not as it was made.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig => Self::Damaged(error.into()),
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory => Self::Later(error),
            _ => Self::Sqlite(error),
        }
    }
}
