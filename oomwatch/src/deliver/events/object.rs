//! A core/v1 Event: what is sent, to the letter.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::name;

/// The fields that client-go's legacy recorder sets; the others, `eventTime` above all, stay null, or the API server takes
/// it for an Event of the new kind and bounds its message (`pkg/apis/core/validation/events.go`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its own name and namespace.
    pub metadata: Metadata,
    /// What it is about.
    pub involved_object: ObjectReference,
    /// The word for why.
    pub reason: String,
    /// What people read.
    pub message: String,
    /// Who tells.
    pub source: Source,
    /// When it happened first.
    pub first_timestamp: Seconds,
    /// When it happened last.
    pub last_timestamp: Seconds,
    /// How often; at most `MAX_COUNT`.
    pub count: u32,
    /// `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As `source.component`.
    pub reporting_component: String,
    /// As `source.host`.
    pub reporting_instance: String,
}

/// The largest count that the API can hold.
pub(super) const MAX_COUNT: u32 = i32::MAX.unsigned_abs();

/// The name of an Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// Where it lives: the namespace of what it is about, `default` for a node's.
    pub namespace: String,
    /// A DNS subdomain.
    pub name: String,
}

impl Metadata {
    /// Both in one.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// `v1`.
    pub api_version: String,
    /// `Node` or `Pod`.
    pub kind: String,
    /// Absent for a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Which part of it: a container of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
}

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The program.
    pub component: String,
    /// The node.
    pub host: String,
}

/// In whose name Events are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The program's name, `source.component`.
    pub component: String,
    /// The node's name, `source.host`.
    pub node: String,
}

/// What `record` is about to say, apart from who says it.
pub(super) struct Draft<'a> {
    /// What the Event is about.
    pub about: ObjectReference,
    /// The word for why.
    pub reason: &'a str,
    /// What people read.
    pub message: String,
    /// When it happened.
    pub time: Timestamp,
    /// The id of the kill that is first told.
    pub kill: &'a str,
}

impl Event {
    /// An Event that was told once.
    pub(super) fn new(draft: Draft<'_>, reporter: &Reporter) -> Self {
        let Draft {
            about,
            reason,
            message,
            time,
            kill,
        } = draft;
        let namespace = about.namespace.as_deref().unwrap_or("default").to_owned();
        let time = Seconds::from(time);
        Self {
            metadata: Metadata {
                namespace,
                name: name::event_name(&about.name, name::digits(kill)),
            },
            involved_object: about,
            reason: reason.to_owned(),
            message,
            source: Source {
                component: reporter.component.clone(),
                host: reporter.node.clone(),
            },
            first_timestamp: time,
            last_timestamp: time,
            count: 1,
            kind: "Warning".to_owned(),
            reporting_component: reporter.component.clone(),
            reporting_instance: reporter.node.clone(),
        }
    }

    /// A name for what it tells beyond the first incident, where another object has its name: made of that, and so the same
    /// whenever it is made.
    pub(super) fn next_name(&self) -> Metadata {
        let Metadata { namespace, name } = &self.metadata;
        let digits = name::digits(name);
        Metadata {
            namespace: namespace.clone(),
            name: name::event_name(&self.involved_object.name, digits),
        }
    }

    /// The body of a POST.
    #[must_use]
    pub fn to_create(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Create<'a> {
            #[serde(rename = "apiVersion")]
            api_version: &'static str,
            kind: &'static str,
            #[serde(flatten)]
            event: &'a Event,
        }
        json(&Create {
            api_version: "v1",
            kind: "Event",
            event: self,
        })
    }

    /// The body of a PATCH: the three fields of client-go's strategic merge patch, and no other.
    #[must_use]
    pub fn to_patch(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Patch<'a> {
            count: u32,
            last_timestamp: Seconds,
            message: &'a str,
        }
        json(&Patch {
            count: self.count,
            last_timestamp: self.last_timestamp,
            message: &self.message,
        })
    }
}

#[expect(
    clippy::expect_used,
    reason = "strings and numbers in structures with string keys always serialize"
)]
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}

/// A time as the API has it: whole seconds, RFC 3339, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(i64);

impl From<Timestamp> for Seconds {
    fn from(time: Timestamp) -> Self {
        Self(time.as_second())
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        let text = time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ");
        serializer.collect_str(&text)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<Timestamp>()
            .map(Self::from)
            .map_err(de::Error::custom)
    }
}
