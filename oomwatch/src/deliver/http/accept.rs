//! Which form of the metrics a client would rather have: its header `Accept` (RFC 9110, section 12.5.1). Pure.

use hyper::header::HeaderValue;

use crate::deliver::metrics::Format;

/// `OpenMetrics` for those who ask for it by name and like nothing else better; for all others what everything reads.
pub(super) fn format<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> Format {
    let (mut open, mut plain) = (0, 0);
    let values = accept.into_iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1000, None);
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => {
                    quality = parse_quality(value.trim()).unwrap_or(0);
                }
                Some((name, value)) if name.trim().eq_ignore_ascii_case("version") => {
                    version = Some(value.trim().trim_matches('"'));
                }
                _ => {}
            }
        }
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            if matches!(version, None | Some("1.0.0")) {
                open = quality.max(open);
            }
        } else if kind.eq_ignore_ascii_case("text/plain") {
            plain = quality.max(plain);
        }
    }
    if open > 0 && open >= plain {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

/// 0 to 1 with three digits, in thousandths.
fn parse_quality(text: &str) -> Option<u32> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{rest:0<3}").parse().ok().filter(|_| is_number)?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use Format::{OpenMetrics, Prometheus};
    use proptest::prelude::*;

    use super::*;

    fn of(accept: &str) -> Format {
        format([&HeaderValue::from_bytes(accept.as_bytes()).expect("a header")])
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html,*/*;q=0.8", Prometheus),
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            // Told to prefer the older form.
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
                Prometheus,
            ),
            ("application/openmetrics-text", OpenMetrics),
            (
                "APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.001",
                OpenMetrics,
            ),
            ("application/openmetrics-text; version=0.0.1", Prometheus),
            ("application/openmetrics-text; version=2.0.0", Prometheus),
            ("application/openmetrics-text; q=0", Prometheus),
            ("application/openmetrics-text; q=0.000", Prometheus),
            ("application/openmetrics-text; q=2", Prometheus),
            ("application/openmetrics-text; q=", Prometheus),
            ("application/openmetrics-text; q=0.5x", Prometheus),
            (
                "application/openmetrics-text;q=0.5, text/plain;q=0.51",
                Prometheus,
            ),
        ] {
            assert_eq!(of(accept), expected, "{accept}");
        }
    }

    #[test]
    fn lines_of_the_header_are_one_list() {
        let values = ["text/plain;q=0.5", "application/openmetrics-text"];
        let values = values.map(HeaderValue::from_static);
        assert_eq!(format(&values), OpenMetrics);
        assert_eq!(format([]), Prometheus);
    }

    proptest! {
        #[test]
        fn any_header_gets_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = format([&value]);
            }
        }

        #[test]
        fn nobody_gets_openmetrics_unasked(accept in "[ -~]{0,80}") {
            if !accept.to_ascii_lowercase().contains("openmetrics") {
                prop_assert_eq!(of(&accept), Prometheus);
            }
        }
    }
}
