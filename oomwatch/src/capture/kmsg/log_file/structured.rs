//! Unwraps messages of structured logs: JSON in any layout, and the journal's forms `export` and `verbose`.

use bstr::ByteSlice as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{anchor, prefix::StatedOrigin};
use crate::capture::kmsg::record::Stamp;

/// Largest object that is parsed, and most text that is held of an unfinished one.
const MAX_OBJECT: usize = 256 * 1024;

/// Keys of the message, in the order in which they are looked for; a name with a dot is of an inner object.
const MESSAGES: &[&str] = &[
    "MESSAGE",
    "message",
    "log",
    "textPayload",
    "msg",
    "line",
    "jsonPayload.MESSAGE",
    "jsonPayload.message",
    "_source.MESSAGE",
    "_source.message",
    "result._raw",
    "_raw",
    "attributes.message",
    "body",
];
const TIMES: &[&str] = &[
    "__REALTIME_TIMESTAMP",
    "timestamp",
    "time",
    "@timestamp",
    "_source.@timestamp",
    "ts",
    "Timestamp",
    "receiveTimestamp",
];
const HOSTS: &[&str] = &[
    "_HOSTNAME",
    "hostname",
    "host",
    "node",
    "jsonPayload._HOSTNAME",
    "jsonPayload.hostname",
    "_source._HOSTNAME",
    "_source.hostname",
    "resource.labels.node_name",
    "labels.host",
    "labels.hostname",
    "kubernetes.host",
    "host.name",
    "host.hostname",
    "_source.host.name",
    "stream.host",
    "stream.hostname",
    "stream.node",
    "stream.nodename",
    "stream.node_name",
    "stream.instance",
    "resource.labels.instance_id",
    "logStreamName",
];
const TRANSPORTS: &[&str] = &[
    "_TRANSPORT",
    "labels.transport",
    "jsonPayload._TRANSPORT",
    "_source._TRANSPORT",
    "stream.transport",
    "stream._transport",
];
const IDENTIFIERS: &[&str] = &[
    "SYSLOG_IDENTIFIER",
    "jsonPayload.SYSLOG_IDENTIFIER",
    "_source.SYSLOG_IDENTIFIER",
    "ident",
    "programname",
    "syslogtag",
    "app_name",
    "appname",
    "stream.syslog_identifier",
];
const FACILITIES: &[&str] = &[
    "SYSLOG_FACILITY",
    "facility",
    "syslogfacility",
    "syslogfacility-text",
];
const MONOTONIC: &[&str] = &[
    "_SOURCE_MONOTONIC_TIMESTAMP",
    "jsonPayload._SOURCE_MONOTONIC_TIMESTAMP",
];

/// A message, and what its log says about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) text: Vec<u8>,
    pub(super) stamp: Stamp,
    pub(super) host: Option<String>,
    pub(super) origin: StatedOrigin,
    /// Whether it is the output of a container: a kernel's line in it has a time of its own.
    pub(super) is_output: bool,
}

/// Collects the lines of structured logs.
#[derive(Debug, Default)]
pub(super) struct Structured {
    /// Whether messages are wanted that are not of the OOM killer by themselves.
    pub(super) wants_all: bool,
    json: JsonText,
    fields: Map<String, Value>,
}

impl Structured {
    /// Adds a line; false if it is not of a structured log. Finished entries are appended.
    pub(super) fn push(&mut self, line: &[u8], entries: &mut Vec<Entry>) -> bool {
        // RFC 7464 and the journal's form for browsers have something before each object.
        let text = line
            .strip_prefix(b"\x1e")
            .or_else(|| line.strip_prefix(b"data: "));
        let text = text.unwrap_or(line).trim_ascii();
        if self.json.is_open()
            || text.starts_with(b"{\"")
            || matches!(text, b"{" | b"[" | b"[{")
            || text.starts_with(b"[{\"")
        {
            self.json.wants_all = self.wants_all;
            return self.json.push(text, entries);
        }
        self.push_field(text, entries)
    }

    /// Ends the log.
    pub(super) fn finish(&mut self, entries: &mut Vec<Entry>) {
        let fields = std::mem::take(&mut self.fields);
        push_entries(&fields, entries);
    }

    fn push_field(&mut self, text: &[u8], entries: &mut Vec<Entry>) -> bool {
        let is_header = text.contains_str("[s=") && text.contains_str(";i=");
        if text.is_empty() || is_header || text.starts_with(b"__CURSOR=") {
            self.finish(entries);
        }
        let Some((name, value)) = text.split_once_str("=") else {
            return is_header;
        };
        let is_name =
            |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        if name.len() < 3 || !name.iter().all(is_name) {
            return is_header;
        }
        if let (Ok(name), Some(value)) = (name.to_str(), value.get(..value.len().min(MAX_OBJECT)))
            && [
                MESSAGES,
                TIMES,
                HOSTS,
                TRANSPORTS,
                IDENTIFIERS,
                FACILITIES,
                MONOTONIC,
            ]
            .concat()
            .contains(&name)
        {
            let value = Value::String(String::from_utf8_lossy(value).into_owned());
            self.fields.insert(name.to_owned(), value);
        }
        true
    }
}

/// JSON, of which objects are parsed when they are complete: the outermost, and those in an array.
#[derive(Debug, Default)]
struct JsonText {
    wants_all: bool,
    text: Vec<u8>,
    /// Open brackets, and where they are in the text.
    open: Vec<(u8, usize)>,
    in_string: bool,
    is_escaped: bool,
}

impl JsonText {
    fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Adds a line; false if it cannot be JSON.
    fn push(&mut self, line: &[u8], entries: &mut Vec<Entry>) -> bool {
        let is_array = |text: &[u8]| {
            text.starts_with(b"[{")
                || text.starts_with(b"[\"")
                || matches!(text, b"[" | b"[]" | b"[],")
        };
        let is_json = match line.first() {
            None
            | Some(b'{' | b'}' | b']' | b'"' | b',' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                true
            }
            Some(b'[') => is_array(line),
            _ => false,
        };
        if !is_json || self.text.len() > MAX_OBJECT {
            *self = Self::default();
            return false;
        }
        if !self.is_open()
            && line.ends_with(b"}")
            && line.starts_with(b"{")
            && !self.wants_all
            && !is_of_interest(line)
        {
            return true;
        }
        for &byte in line {
            self.byte(byte, entries);
        }
        // A string does not contain a newline: this was not JSON.
        if self.in_string {
            *self = Self::default();
        }
        true
    }

    fn byte(&mut self, byte: u8, entries: &mut Vec<Entry>) {
        let at = self.text.len();
        self.text.push(byte);
        if self.in_string {
            self.in_string = byte != b'"' || self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.open.push((byte, at)),
            b'}' | b']' => {
                let start = self.open.pop().map_or(0, |(_, start)| start);
                let is_entry = self.open.last().is_none_or(|(parent, _)| *parent == b'[');
                let text = &self.text[start..];
                if byte == b'}' && is_entry {
                    if (self.wants_all || is_of_interest(text))
                        && let Ok(Value::Object(object)) = serde_json::from_slice(text)
                    {
                        push_entries(&object, entries);
                    }
                    self.text.truncate(start);
                }
                if self.open.is_empty() {
                    self.text.clear();
                }
            }
            _ => {}
        }
    }
}

/// Whether an object may have a line of the OOM killer. The journal writes bytes that are not UTF-8 as an array.
fn is_of_interest(object: &[u8]) -> bool {
    let has_bytes = || {
        object
            .split_once_str("\"MESSAGE\"")
            .is_some_and(|(_, value)| {
                value
                    .trim_start_with(|character| matches!(character, ' ' | ':'))
                    .starts_with(b"[")
            })
    };
    anchor::is_possible(object) || has_bytes()
}

fn push_entries(object: &Map<String, Value>, entries: &mut Vec<Entry>) {
    let origin = origin(object);
    let entry = |text: Vec<u8>, calendar| Entry {
        text,
        stamp: Stamp {
            boot_time_ns: string(object, MONOTONIC)
                .and_then(|text| text.parse::<u64>().ok()?.checked_mul(1000)),
            calendar,
        },
        host: string(object, HOSTS),
        origin,
        is_output: object.contains_key("log")
            && object.contains_key("stream")
            && origin == StatedOrigin::Unstated,
    };
    // Loki's answers have many lines of one stream.
    if let Some(Value::Array(values)) = object.get("values") {
        for value in values {
            let nanoseconds = value.get(0).and_then(Value::as_str);
            let time =
                nanoseconds.and_then(|text| Timestamp::from_nanosecond(text.parse().ok()?).ok());
            if let Some(line) = value.get(1).and_then(Value::as_str) {
                entries.push(entry(line.as_bytes().to_vec(), time));
            }
        }
        return;
    }
    let message = MESSAGES.iter().find_map(|key| bytes(lookup(object, key)?));
    let time = || TIMES.iter().find_map(|key| time(lookup(object, key)?));
    if let Some(message) = message {
        entries.push(entry(message, time()));
    }
}

fn origin(object: &Map<String, Value>) -> StatedOrigin {
    let is = |text: String, kernel: &[&str]| {
        if kernel.contains(&text.trim_end_matches(':')) {
            StatedOrigin::Kernel
        } else {
            StatedOrigin::Program
        }
    };
    string(object, TRANSPORTS)
        .map(|text| is(text, &["kernel"]))
        .or_else(|| string(object, FACILITIES).map(|text| is(text, &["0", "kern"])))
        .or_else(|| string(object, IDENTIFIERS).map(|text| is(text, &["kernel"])))
        .unwrap_or_default()
}

fn lookup<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(key) {
        return Some(value);
    }
    let (outer, inner) = key.split_once('.')?;
    lookup(object.get(outer)?.as_object()?, inner)
}

fn string(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match lookup(object, key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A text, or an array of bytes.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Array(bytes) => bytes
            .iter()
            .map(|byte| u8::try_from(byte.as_u64()?).ok())
            .collect(),
        _ => None,
    }
}

/// An RFC 3339 time, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    if let Ok(number) = text.parse::<i128>() {
        let unit = match number {
            0..100_000_000_000 => 1_000_000_000,
            100_000_000_000..100_000_000_000_000 => 1_000_000,
            100_000_000_000_000..100_000_000_000_000_000 => 1000,
            _ => 1,
        };
        return Timestamp::from_nanosecond(number.checked_mul(unit)?).ok();
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(log: &str) -> Vec<Entry> {
        let (mut structured, mut entries) = (Structured::default(), Vec::new());
        for line in log.lines() {
            structured.push(line.as_bytes(), &mut entries);
        }
        structured.finish(&mut entries);
        entries
    }

    const KILL: &str = "Out of memory: Killed process 7 (a) total-vm:1kB";

    #[test]
    fn message_is_found_in_every_layout() {
        for log in [
            r#"{"MESSAGE":"@"}"#,
            r#"{"log":"@","stream":"stdout","time":"2026-11-23T18:54:33Z"}"#,
            "[\n  {\n    \"textPayload\": \"@\",\n    \"timestamp\": \"2026-11-23T18:54:33Z\"\n  }\n]",
            r#"{"jsonPayload":{"message":"@"},"timestamp":"2026-11-23T18:54:33Z"}"#,
            r#"{"events":[{"timestamp":1795460073000,"message":"@"}],"nextToken":"x"}"#,
            r#"{"data":{"result":[{"stream":{"host":"n"},"values":[["1795460073000000000","@"]]}]}}"#,
            "__CURSOR=x\n_TRANSPORT=kernel\nMESSAGE=@\n\n",
            "Mon 2026-11-23 18:54:33 UTC [s=1;i=2]\n    _TRANSPORT=kernel\n    MESSAGE=@\n",
        ] {
            let found = entries(&log.replace('@', KILL));
            let texts: Vec<&[u8]> = found.iter().map(|entry| &*entry.text).collect();
            assert_eq!(texts, [KILL.as_bytes()], "{log}");
        }
    }

    #[test]
    fn origin_is_what_the_carrier_states() {
        for (fields, expected) in [
            ("", StatedOrigin::Unstated),
            (r#","_TRANSPORT":"kernel""#, StatedOrigin::Kernel),
            (
                r#","_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"kernel""#,
                StatedOrigin::Program,
            ),
            (r#","SYSLOG_IDENTIFIER":"kernel""#, StatedOrigin::Kernel),
            (r#","ident":"app""#, StatedOrigin::Program),
            (r#","facility":"user""#, StatedOrigin::Program),
        ] {
            let log = format!("{{\"MESSAGE\":\"{KILL}\"{fields}}}");
            assert_eq!(entries(&log)[0].origin, expected, "{log}");
        }
    }

    #[test]
    fn other_text_is_not_swallowed() {
        let mut structured = Structured::default();
        let mut found = Vec::new();
        assert!(structured.push(b"{", &mut found));
        assert!(!structured.push(b"[Mon", &mut found));
        for line in [
            &b"[ 12.5] x"[..],
            b"Killed process 7 (a)",
            b"{host=\"n\"} x",
        ] {
            assert!(!structured.push(line, &mut found), "{line:?}");
        }
    }
}
