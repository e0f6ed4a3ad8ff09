//! What an answer of the API server means for what was asked.

use std::time::Duration;

use serde::Deserialize;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// POST of a whole Event.
    Create,
    /// PATCH of its count.
    Count,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Accepted,
    /// An Event of this name is there: an earlier answer was lost.
    AlreadyExists,
    /// There is no Event of this name (any more).
    NoSuchEvent,
    /// It will never be done.
    Refused(Refusal),
    /// It may be done later.
    Later {
        /// Why not now.
        cause: Cause,
        /// Not before so long (`Retry-After`).
        after: Option<Duration>,
    },
}

/// Why something will never be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server does not take it, whoever sends it.
    Invalid,
    /// The namespace does not exist (any more), or is about to go.
    NoNamespace,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// 401: the token has expired, or is not known.
    Unauthorized,
    /// 403: there is no permission.
    Forbidden,
    /// 429: too much is asked.
    TooMany,
    /// 5xx, or a conflict that the server could not solve.
    ServerError,
    /// No answer: no connection, or none in time.
    Unreachable,
    /// An answer that is not the API server's.
    Unreadable,
}

impl Cause {
    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::TooMany => "too_many_requests",
            Self::ServerError => "server_error",
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether the server itself cannot answer, so that its next answer to anyone is news to all.
    pub(super) const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::ServerError | Self::Unreachable | Self::Unreadable
        )
    }
}

/// `metav1.Status`, or the `kind` of an Event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    kind: String,
    reason: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    kind: String,
    causes: Vec<StatusCause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StatusCause {
    reason: String,
}

/// Judges an answer by its status, its `Retry-After` and its body.
#[must_use]
pub fn classify_response(
    method: Method,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> Answer {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let later = |cause| Answer::Later {
        cause,
        after: retry_after.and_then(seconds),
    };
    match status {
        200..=299 if body.kind == "Event" => Answer::Accepted,
        401 => later(Cause::Unauthorized),
        403 if body.is_namespace_terminating() => Answer::Refused(Refusal::NoNamespace),
        403 => later(Cause::Forbidden),
        429 => later(Cause::TooMany),
        404 if method == Method::Count && body.is_about("events") => Answer::NoSuchEvent,
        404 if method == Method::Create && body.is_about("namespaces") => {
            Answer::Refused(Refusal::NoNamespace)
        }
        // Whatever stands between the server and us may say the like, but not in these words.
        404 => later(Cause::Unreadable),
        409 if body.reason == "AlreadyExists" => Answer::AlreadyExists,
        408 | 409 | 500..=599 => later(Cause::ServerError),
        400..=499 => Answer::Refused(Refusal::Invalid),
        _ => later(Cause::Unreadable),
    }
}

impl Body {
    fn is_about(&self, kind: &str) -> bool {
        self.details.iter().any(|details| details.kind == kind)
    }

    fn is_namespace_terminating(&self) -> bool {
        self.details.iter().any(|details| {
            details
                .causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
        })
    }
}

/// The API server gives seconds; a date is not taken, as it would be a guess about its clock.
fn seconds(retry_after: &str) -> Option<Duration> {
    retry_after.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(reason: &str, kind: &str, cause: &str) -> String {
        format!(
            r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"{reason}",
                "details":{{"name":"x","kind":"{kind}","causes":[{{"reason":"{cause}"}}]}}}}"#
        )
    }

    fn later(cause: Cause) -> Answer {
        Answer::Later { cause, after: None }
    }

    #[test]
    fn every_answer_has_its_meaning() {
        use Method::{Count, Create};
        let event = r#"{"kind":"Event","apiVersion":"v1","count":2}"#;
        let plain = status("X", "events", "");
        let no_namespace = Answer::Refused(Refusal::NoNamespace);
        let invalid = Answer::Refused(Refusal::Invalid);
        for (method, code, body, expected) in [
            (Create, 201, event, Answer::Accepted),
            (Count, 200, event, Answer::Accepted),
            (Create, 201, "<html>", later(Cause::Unreadable)),
            (Create, 200, "{}", later(Cause::Unreadable)),
            (Create, 200, &plain, later(Cause::Unreadable)),
            (Create, 302, "", later(Cause::Unreadable)),
            (Create, 400, &plain, invalid.clone()),
            (Create, 401, &plain, later(Cause::Unauthorized)),
            (Create, 403, &plain, later(Cause::Forbidden)),
            (
                Create,
                403,
                &status("Forbidden", "events", "NamespaceTerminating"),
                no_namespace.clone(),
            ),
            (
                Count,
                404,
                &status("NotFound", "events", ""),
                Answer::NoSuchEvent,
            ),
            (Count, 404, "404 page not found", later(Cause::Unreadable)),
            (
                Create,
                404,
                &status("NotFound", "namespaces", ""),
                no_namespace,
            ),
            (
                Create,
                404,
                &status("NotFound", "", ""),
                later(Cause::Unreadable),
            ),
            (Create, 408, "", later(Cause::ServerError)),
            (
                Create,
                409,
                &status("AlreadyExists", "events", ""),
                Answer::AlreadyExists,
            ),
            (
                Count,
                409,
                &status("Conflict", "events", ""),
                later(Cause::ServerError),
            ),
            (Create, 413, "too large", invalid.clone()),
            (Count, 415, "", invalid.clone()),
            (Create, 422, &plain, invalid),
            (Create, 429, "", later(Cause::TooMany)),
            (Create, 500, &plain, later(Cause::ServerError)),
            (
                Count,
                503,
                "upstream connect error",
                later(Cause::ServerError),
            ),
            (Create, 999, "", later(Cause::Unreadable)),
        ] {
            let answer = classify_response(method, code, None, body.as_bytes());
            assert_eq!(answer, expected, "{method:?} {code} {body}");
        }
    }

    #[test]
    fn time_to_wait_is_taken_in_seconds() {
        for (header, expected) in [
            (Some("7"), Some(Duration::from_secs(7))),
            (Some(" 0 "), Some(Duration::ZERO)),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), None),
            (Some("-1"), None),
            (Some(""), None),
            (None, None),
        ] {
            for (code, cause) in [(429, Cause::TooMany), (503, Cause::ServerError)] {
                let answer = classify_response(Method::Create, code, header, b"");
                let after = expected;
                assert_eq!(answer, Answer::Later { cause, after }, "{header:?}");
            }
        }
    }
}
