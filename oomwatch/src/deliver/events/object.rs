//! A core/v1 Event, exactly as it is sent.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::name;

/// The fields that client-go's legacy recorder sets. The others stay null: with an `eventTime` above all, the API server would
/// validate it as an `events.k8s.io/v1` Event and limit its message (`pkg/apis/core/validation/events.go`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The Event's own name and namespace.
    pub metadata: Metadata,
    /// The object that the Event is about.
    pub involved_object: ObjectReference,
    /// The reason in one word, such as `SystemOOM`.
    pub reason: String,
    /// The text for people.
    pub message: String,
    /// Who reports it.
    pub source: Source,
    /// Time of the first incident.
    pub first_timestamp: Seconds,
    /// Time of the last incident.
    pub last_timestamp: Seconds,
    /// Number of incidents; at most `MAX_COUNT`.
    pub count: u32,
    /// Always `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same as `source.component`.
    pub reporting_component: String,
    /// The same as `source.host`.
    pub reporting_instance: String,
}

/// The largest number of characters of a message: that of `events.k8s.io/v1`, and of the hardened overlay's admission policy.
const MAX_MESSAGE_CHARS: usize = 1024;
/// The largest count in the API, an `int32`.
pub(super) const MAX_COUNT: u32 = i32::MAX.unsigned_abs();

/// The namespace and name of an Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// The namespace of the involved object; `default` for a Node.
    pub namespace: String,
    /// A DNS subdomain.
    pub name: String,
}

impl Metadata {
    /// `namespace/name`.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A reference to the object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Always `v1`.
    pub api_version: String,
    /// `Node` or `Pod`.
    pub kind: String,
    /// The object's namespace; absent for a Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
    /// The object's UID, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The part of the object that is meant: a container of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
}

/// The `source` field: who reports an Event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The program's name.
    pub component: String,
    /// The node's name.
    pub host: String,
}

/// The component and node that Events are reported as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The program's name, `source.component`.
    pub component: String,
    /// The node's name, `source.host`.
    pub node: String,
}

/// What `pod` and `node` know of an Event: all but its reporter.
pub(super) struct Draft<'a> {
    /// The object that the Event is about.
    pub involved_object: ObjectReference,
    /// The reason in one word.
    pub reason: &'a str,
    /// The text for people.
    pub message: String,
    /// Time of the kill.
    pub time: Timestamp,
    /// The id of the kill, which names the Event.
    pub kill_id: &'a str,
}

impl Event {
    /// An Event with a count of 1.
    pub(super) fn new(draft: Draft<'_>, reporter: &Reporter) -> Self {
        let Draft {
            involved_object,
            reason,
            message,
            time,
            kill_id,
        } = draft;
        let namespace = involved_object
            .namespace
            .as_deref()
            .unwrap_or("default")
            .to_owned();
        let time = Seconds::from(time);
        Self {
            metadata: Metadata {
                namespace,
                name: name::event_name(&involved_object.name, name::name_hash(kill_id)),
            },
            involved_object,
            reason: reason.to_owned(),
            message: shortened(message),
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

    /// The name of the object that counts the incidents after the first one, if an object of unknown ownership has this name.
    /// Derived from this name, so that it is always the same.
    pub(super) fn next_name(&self) -> Metadata {
        let Metadata { namespace, name } = &self.metadata;
        let hash = name::name_hash(name);
        Metadata {
            namespace: namespace.clone(),
            name: name::event_name(&self.involved_object.name, hash),
        }
    }

    /// The namespace and name of the object that the Event is about; a node has no namespace.
    pub(super) fn about(&self) -> String {
        let ObjectReference {
            namespace, name, ..
        } = &self.involved_object;
        match namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.clone(),
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

    /// The body of a PATCH: exactly the three fields of client-go's strategic merge patch.
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

fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        None => message,
        Some(_) => message
            .chars()
            .take(MAX_MESSAGE_CHARS - 1)
            .chain(['…'])
            .collect(),
    }
}

#[expect(
    clippy::expect_used,
    reason = "strings and numbers in structures with string keys always serialize"
)]
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}

/// A time as in the API: whole seconds since the Unix epoch, serialized as RFC 3339 in UTC.
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
