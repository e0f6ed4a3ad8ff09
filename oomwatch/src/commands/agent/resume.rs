//! What an agent takes over from the previous one: the node, and the history.

use std::{fs, path::Path};

use tokio::time::{Duration, sleep};
use tracing::{debug, info, warn};

use super::stdout;
use crate::commands::agent::history_queue::{self, HistoryQueue};
use crate::{
    audit,
    capture::bpf::describe,
    commands::{agent::config::HistoryStoreConfig, signals::Signals},
    model::report::Host,
    store::{Config, History, Identity, Lock, LockError, Restored},
};

/// How often it is tried again to have the node to itself.
const RETRY: Duration = Duration::from_secs(1);

/// Waits until no other agent runs on this node: that one sees its kills until then. Absent if a signal came first.
///
/// Where the folder cannot be used there is neither a lock nor a history.
pub(super) async fn lock(folder: &Path, signals: &mut Signals) -> Option<Option<Lock>> {
    let mut has_waited = false;
    loop {
        match Lock::acquire(folder) {
            Ok(lock) => {
                if has_waited {
                    info!("the other agent has ended");
                }
                return Some(Some(lock));
            }
            Err(error @ LockError::Held { .. }) => {
                if !has_waited {
                    warn!(
                        error = describe(&error),
                        "another agent runs on this node: wait for its end"
                    );
                }
                has_waited = true;
            }
            Err(error @ LockError::Io { .. }) => {
                warn!(
                    error = describe(&error),
                    "the history folder is not usable, continuing without it: choose another with --state-dir"
                );
                return Some(None);
            }
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            () = signals.any() => return None,
        }
    }
}

/// Opens the history, and restores the saved state.
pub(super) fn open(config: HistoryStoreConfig, host: &Host) -> (HistoryQueue, Restored) {
    let HistoryStoreConfig {
        folder,
        max_bytes,
        max_age,
        machine_id,
    } = config;
    let machine_id = fs::read_to_string(&machine_id).unwrap_or_else(|error| {
        debug!(%error, "the machine has no id: a new machine of the same name is not recognised as another");
        String::new()
    });
    let config = Config {
        folder,
        max_bytes,
        max_age,
        boot_parts: &[history_queue::PART],
        machine_parts: &[history_queue::PART, audit::PART, stdout::PART],
    };
    let identity = Identity::new(
        machine_id.trim().to_owned(),
        host.node.clone(),
        host.boot_id.clone(),
    );
    let (history, answers, restored) = History::open(config, identity);
    (HistoryQueue::new(history, answers), restored)
}
