//! Classifies the API server's HTTP responses to requests for Events.

use std::time::Duration;

use serde::Deserialize;

/// The kind of a request for an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// POST of a whole Event.
    Create,
    /// PATCH of its count, last time and message.
    Patch,
}

/// The result of a request; a request without an HTTP response has one, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The request was carried out.
    Accepted,
    /// An Event of this name exists: an earlier response was lost, or another agent created it.
    AlreadyExists,
    /// There is no Event of this name; the API server may have deleted it.
    NotFound,
    /// The request will always fail.
    Refused(Refusal),
    /// The request may succeed later.
    RetryLater {
        /// Why it failed.
        cause: Cause,
        /// The least time to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
}

/// Why a request will always fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server does not accept the Event.
    Invalid,
    /// The namespace does not exist, or is terminating.
    NoNamespace,
}

/// Why a request failed; the `cause` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// 401: the token has expired or is unknown.
    Unauthorized,
    /// 403: RBAC or an admission policy denies it.
    Forbidden,
    /// 429: too many requests.
    TooMany,
    /// 5xx, a request timeout (408) or a conflict (409).
    ServerError,
    /// No response: connection failed or timed out.
    Unreachable,
    /// A response that is not an API server's.
    Unreadable,
}

impl Cause {
    /// The label value.
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

    /// Whether the whole server is affected, so that the next response to any request ends the wait of all.
    pub(super) const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::ServerError | Self::Unreachable | Self::Unreadable
        )
    }
}

/// The fields of a `metav1.Status`, or the `kind` of an Event.
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

/// Classifies a response by its status code, its `Retry-After` header and its body.
#[must_use]
pub fn classify_response(
    method: Method,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> Response {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let later = |cause| Response::RetryLater {
        cause,
        retry_after: retry_after.and_then(seconds),
    };
    match status {
        200..=299 if body.kind == "Event" => Response::Accepted,
        401 => later(Cause::Unauthorized),
        403 if body.is_namespace_terminating() => Response::Refused(Refusal::NoNamespace),
        403 => later(Cause::Forbidden),
        429 => later(Cause::TooMany),
        404 if method == Method::Patch && body.is_about("events") => Response::NotFound,
        404 if method == Method::Create && body.is_about("namespaces") => {
            Response::Refused(Refusal::NoNamespace)
        }
        // A proxy can answer 404, too, but without the details above.
        404 => later(Cause::Unreadable),
        409 if body.reason == "AlreadyExists" => Response::AlreadyExists,
        408 | 409 | 500..=599 => later(Cause::ServerError),
        400..=499 => Response::Refused(Refusal::Invalid),
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

/// Parses a `Retry-After` in seconds, which the API server sends. A date is ignored, because the clocks may differ.
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

    fn later(cause: Cause) -> Response {
        Response::RetryLater {
            cause,
            retry_after: None,
        }
    }

    #[test]
    fn every_response_is_classified() {
        use Method::{Create, Patch};
        let event = r#"{"kind":"Event","apiVersion":"v1","count":2}"#;
        let plain = status("X", "events", "");
        let no_namespace = Response::Refused(Refusal::NoNamespace);
        let invalid = Response::Refused(Refusal::Invalid);
        for (method, code, body, expected) in [
            (Create, 201, event, Response::Accepted),
            (Patch, 200, event, Response::Accepted),
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
                Patch,
                404,
                &status("NotFound", "events", ""),
                Response::NotFound,
            ),
            (Patch, 404, "404 page not found", later(Cause::Unreadable)),
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
                Response::AlreadyExists,
            ),
            (
                Patch,
                409,
                &status("Conflict", "events", ""),
                later(Cause::ServerError),
            ),
            (Create, 413, "too large", invalid.clone()),
            (Patch, 415, "", invalid.clone()),
            (Create, 422, &plain, invalid),
            (Create, 429, "", later(Cause::TooMany)),
            (Create, 500, &plain, later(Cause::ServerError)),
            (
                Patch,
                503,
                "upstream connect error",
                later(Cause::ServerError),
            ),
            (Create, 999, "", later(Cause::Unreadable)),
        ] {
            let response = classify_response(method, code, None, body.as_bytes());
            assert_eq!(response, expected, "{method:?} {code} {body}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        for (header, expected) in [
            (Some("7"), Some(Duration::from_secs(7))),
            (Some(" 0 "), Some(Duration::ZERO)),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), None),
            (Some("-1"), None),
            (Some(""), None),
            (None, None),
        ] {
            for (code, cause) in [(429, Cause::TooMany), (503, Cause::ServerError)] {
                let response = classify_response(Method::Create, code, header, b"");
                let retry_after = expected;
                assert_eq!(
                    response,
                    Response::RetryLater { cause, retry_after },
                    "{header:?}"
                );
            }
        }
    }
}
