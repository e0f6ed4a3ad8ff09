//! The outcome of one attempt to name a kill, and the query that could name more of it.

use std::time::Instant;

/// How far a kill is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Pod and container are named, and everything else that the sources have is there.
    Complete,
    /// It has its names; more may be known soon: from the watch of the pods, or from the answer to this query.
    Wait(Option<Query>),
    /// It lacks a name that a source may yet have: the watch of the pods, a pod's status, or the answer to this query.
    WaitForName(Option<Query>),
    /// No source has more.
    Unknown,
}

/// A question to a container runtime, with the container's id or the pod's UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// The container with this id, from CRI.
    CriContainer(String),
    /// The sandboxes of the pod with this UID, from CRI.
    CriPod(String),
    /// The container with this id, from Docker.
    DockerContainer(String),
    /// The container with this key (user and id), from Podman.
    PodmanContainer(String),
}

/// When a kill arrived and when it happened.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When it arrived here.
    pub at: Instant,
    /// When it happened, on the same clock; absent if that is unknown or was on an earlier boot.
    pub killed: Option<Instant>,
}
