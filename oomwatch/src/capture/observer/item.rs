//! What capture yields.

use crate::model::{
    gap::Gap,
    kill::{Kill, NonKill},
};

/// An item of the capture stream.
#[derive(Clone, Debug)]
pub enum CaptureItem {
    /// A kill.
    Kill(Box<Kill>),
    /// A non-kill event: an event that belongs to an incident and is no kill of its own.
    NonKill(NonKill),
    /// Kills of which only the number is known.
    Gap(Gap),
}
