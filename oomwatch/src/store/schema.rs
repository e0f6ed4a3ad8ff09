//! The tables of the history database, and the migration of files written by earlier versions.

use rusqlite::{Connection, Error, TransactionBehavior};

/// `PRAGMA application_id` of a history database: `oomw`.
pub const APPLICATION_ID: i32 = 0x6f6f_6d77;

/// Migrations from each schema version to the next; the first creates the tables. A released migration is never changed.
const STEPS: &[&str] = &[FIRST, SECOND];

/// `PRAGMA user_version` of the files that this oomwatch writes: the number of migrations.
pub const VERSION: i32 = 2;

/// The first version with the table `accounts`.
pub const ACCOUNTS_VERSION: i32 = 2;

/// The file has no schema that this oomwatch can write.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer oomwatch wrote the file.
    #[error(
        "the history database has schema version {version}, this oomwatch supports versions up to {}",
        VERSION
    )]
    Newer {
        /// The schema version of the file.
        version: i32,
    },
    /// Another program wrote the file.
    #[error("the file is a database of another program")]
    Foreign,
    /// The file cannot be read or written.
    #[error(transparent)]
    Sqlite(#[from] Error),
}

/// A row of `kills` is one of: a kill; kills that were counted, not observed (`source` is `audit`); all kills of a container
/// within a minute after the first ones (`since_ns` is set). Columns used in filters come before the long report, so that
/// SQLite does not read its overflow pages to evaluate them.
const FIRST: &str = "
    PRAGMA application_id = 0x6f6f6d77;
    CREATE TABLE kills (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        time_ns INTEGER NOT NULL,
        since_ns INTEGER,
        state INTEGER NOT NULL,
        sequence INTEGER,
        kills INTEGER NOT NULL,
        incidents INTEGER NOT NULL,
        source TEXT NOT NULL,
        scope TEXT,
        namespace TEXT,
        pod TEXT,
        container TEXT,
        owner TEXT,
        incident TEXT,
        boot TEXT NOT NULL,
        written_ns INTEGER NOT NULL,
        report TEXT NOT NULL
    );
    CREATE INDEX kills_by_time ON kills (time_ns, source, namespace, pod, container, scope);
    CREATE INDEX kills_by_owner ON kills (owner, state, time_ns);
    CREATE INDEX kills_undelivered ON kills (state, sequence) WHERE state < 2;
    CREATE TABLE merged (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE state (
        part TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (part, key)
    ) WITHOUT ROWID;
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
";

/// Accounts of incidents: of the newest only, since one takes as much room as several kills.
const SECOND: &str = "
    CREATE TABLE accounts (
        number INTEGER PRIMARY KEY,
        incident TEXT NOT NULL UNIQUE,
        account TEXT NOT NULL
    );
";

/// The schema version of a file; 0 if it is empty.
pub fn read_version(connection: &Connection) -> Result<i32, SchemaError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    let (application, version): (i32, i32) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, known) if known > 0 && known <= VERSION => Ok(known),
        (APPLICATION_ID, version) if version > 0 => Err(SchemaError::Newer { version }),
        _ => Err(SchemaError::Foreign),
    }
}

/// Migrates a file to the newest version, one migration per transaction.
pub fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let version = read_version(connection)?;
    Ok(apply(connection, version, STEPS)?)
}

fn apply(connection: &mut Connection, version: i32, steps: &[&str]) -> Result<(), Error> {
    for (step, next) in steps.iter().zip(1..) {
        if next > version {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", next)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: &str = "ALTER TABLE kills ADD COLUMN mood TEXT DEFAULT 'good'";

    fn mood(connection: &Connection) -> rusqlite::Result<String> {
        connection.query_row("SELECT mood FROM kills", [], |row| row.get(0))
    }

    fn first_version() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().expect("create a folder");
        let mut connection = Connection::open(folder.path().join("j")).expect("open");
        migrate(&mut connection).expect("create the tables");
        connection
            .execute(
                "INSERT INTO kills (id, time_ns, state, kills, incidents, source, boot, written_ns, report)
                 VALUES ('a', 1, 2, 1, 1, 'bpf', 'b', 0, '{}')",
                [],
            )
            .expect("insert");
        (folder, connection)
    }

    #[test]
    fn version_is_the_number_of_steps() {
        assert_eq!(usize::try_from(VERSION), Ok(STEPS.len()));
    }

    #[test]
    fn empty_file_is_migrated_and_a_repeated_migration_changes_nothing() {
        let (_folder, mut connection) = first_version();
        assert_eq!(read_version(&connection).expect("read"), VERSION);
        migrate(&mut connection).expect("migrate again");
        assert_eq!(read_version(&connection).expect("read"), VERSION);
    }

    #[test]
    fn earlier_version_is_migrated_and_keeps_its_rows() {
        let (_folder, mut connection) = first_version();
        apply(&mut connection, VERSION, &[FIRST, SECOND, NEXT]).expect("apply one migration");
        assert_eq!(mood(&connection).expect("a row"), "good");
        let error = read_version(&connection).expect_err("newer than this version");
        assert!(
            matches!(error, SchemaError::Newer { version: 3 }),
            "{error}"
        );
    }

    #[test]
    fn failed_migration_leaves_the_version_before_it() {
        let (_folder, mut connection) = first_version();
        apply(
            &mut connection,
            VERSION,
            &[FIRST, SECOND, NEXT, "ALTER TABLE missing ADD COLUMN x"],
        )
        .expect_err("no such table");
        assert_eq!(mood(&connection).expect("a row"), "good");
        apply(
            &mut connection,
            3,
            &[FIRST, SECOND, NEXT, "DROP INDEX kills_by_time"],
        )
        .expect("apply the corrected migration");
    }

    #[test]
    fn database_of_another_program_is_refused() {
        for made in [
            "CREATE TABLE t (a)",
            "PRAGMA application_id = 7",
            "PRAGMA user_version = 1",
            "PRAGMA application_id = 0x6f6f6d77",
        ] {
            let mut connection = Connection::open_in_memory().expect("open");
            connection.execute_batch(made).expect(made);
            let error = migrate(&mut connection).expect_err(made);
            assert!(matches!(error, SchemaError::Foreign), "{made}: {error}");
        }
    }
}
