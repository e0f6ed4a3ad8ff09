//! Why a watch of the pods ended.

use crate::sys::error_chain::error_chain;

/// A watch that ended before its time limit.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error(transparent)]
    Client(#[from] kube::Error),
    #[error(transparent)]
    Request(#[from] kube::core::request::Error),
    #[error("the API server responded with {code} {message}")]
    Status { code: u16, message: String },
    #[error("the API server does not respond")]
    Timeout,
    #[error("failed to receive the API server's response")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the API server ended the watch before it sent all pods")]
    Incomplete,
}

impl WatchError {
    /// The error with its causes; a status of the API server in the server's words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Client(kube::Error::Api(status)) => {
                format!(
                    "the API server responded with {} {}",
                    status.code, status.message
                )
            }
            error => error_chain(error),
        }
    }
}
