use serde_json::{Value, json};

use super::{html::to_html, text::to_text, *};
use crate::{
    deliver::{
        color::Color,
        json::{gap_to_json, kill_to_json},
    },
    model::report::Report,
    testing::{self, HOSTILE},
};

fn page(report: &Report) -> Page {
    let json = kill_to_json(report).expect("serialize");
    let record = serde_json::from_str(&json).expect("JSON");
    Page::from_record(&record).expect("a page")
}

#[test]
fn page_has_the_whole_story() {
    let page = page(&testing::report());
    insta::assert_snapshot!("text", to_text(&page, 100, Color::Never));
    insta::assert_snapshot!("narrow", to_text(&page, 60, Color::Never));
    insta::assert_snapshot!("html", to_html(&page, 1));
}

#[test]
fn page_without_an_account_has_what_is_known() {
    let page = page(&testing::minimal_report());
    insta::assert_snapshot!("minimal", to_text(&page, 80, Color::Never));
    let gap: Value = serde_json::from_str(&gap_to_json(&testing::gap_report()).expect("serialize"))
        .expect("JSON");
    let page = Page::from_record(&gap).expect("a page");
    insta::assert_snapshot!("gap", to_text(&page, 80, Color::Never));
}

#[test]
fn names_reach_no_page_unescaped() {
    let markup: &[u8] = b"<script>alert('1')</script>&\"";
    for name in HOSTILE.iter().copied().chain([markup]) {
        let mut report = testing::report();
        let text = String::from_utf8_lossy(name).into_owned();
        report.kill.victim.comm = Some(name.to_vec());
        report.kill.limits[0].cgroup.path = name.to_vec();
        report.id.clone_from(&text);
        if let Some(pod) = &mut report.pod {
            pod.name = Some(text.clone());
        }
        let why = report.explanation.as_mut().expect("an explanation");
        why.cause
            .as_mut()
            .expect("a cause")
            .sentence
            .clone_from(&text);
        why.pods[0].name = text;
        let page = page(&report);
        let lines = to_text(&page, 80, Color::Never);
        assert!(
            lines
                .chars()
                .all(|char| char == '\n' || crate::sys::escape::is_printable(char)),
            "{lines:?}"
        );
        let html = to_html(&page, 1);
        assert!(
            !html.contains("<script") && !html.contains("alert('"),
            "{html}"
        );
        let tags = html.matches('<').count();
        assert_eq!(
            tags,
            to_html(&self::page(&testing::report()), 1)
                .matches('<')
                .count()
        );
    }
}

#[test]
fn foreign_records_give_a_page_or_none() {
    assert_eq!(Page::from_record(&json!({"kind": "kill"})), None);
    assert_eq!(Page::from_record(&json!([1])), None);
    let odd = json!({
        "schema": "oomwatch/v1", "kind": "kill", "victim": 7, "limits": "x",
        "account": {"memory": {"usage_bytes": -1, "anon_bytes": "many"}, "candidates": {"processes": [1, {}]}, "zones": [null]}
    });
    let page = Page::from_record(&odd).expect("a page");
    assert!(to_text(&page, 0, Color::Always).contains("was killed"));
    assert!(to_html(&page, 1).ends_with("</article>\n"));
}

fn timeline(records: &[Value]) -> String {
    let mut timeline = Timeline::default();
    for record in records {
        timeline.push(record);
    }
    timeline.to_html()
}

#[test]
fn timeline_has_a_line_for_each_object_with_the_most_kills_first() {
    let kill = |second: u8, unit: &str| json!({"time": format!("2026-11-30T21:00:{second:02}Z"), "unit": unit});
    let kills = [kill(0, "a"), kill(5, "b"), kill(10, "b")];
    assert_eq!(timeline(&kills[..1]), "");
    insta::assert_snapshot!("timeline", timeline(&kills));
}

#[test]
fn timeline_of_a_log_without_dates_is_by_the_time_since_boot_or_by_number() {
    let kills = [0, 1, 4].map(|second: u64| json!({"boot_time_ns": second * 1_000_000_000}));
    let page = timeline(&kills);
    assert!(page.contains("0 s after boot to 4 s after boot"), "{page}");
    assert!(page.contains("x=\"248\""), "{page}");
    assert!(timeline(&[json!({}), json!({}), json!([1])]).contains("x=\"497\""));
}

#[test]
fn names_reach_no_timeline_unescaped() {
    let names = HOSTILE
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    for name in names.chain(["<script>\"'".to_owned()]) {
        let page = timeline(&[json!({"unit": name}), json!({"unit": name, "kills": 2})]);
        assert!(!page.contains("<script"), "{page}");
        let plain = timeline(&[json!({"unit": "x"}), json!({"unit": "x", "kills": 2})]);
        assert_eq!(page.matches('<').count(), plain.matches('<').count());
        let mut shown = page.chars().filter(|char| *char != '\n');
        assert!(shown.all(crate::sys::escape::is_printable), "{page:?}");
    }
}

/// The page of the causes has the same advice, which people find there before they have a kill.
#[test]
fn every_advice_is_in_the_documentation() {
    use crate::model::cause::CauseKind;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/causes.md");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let documented = words(&std::fs::read_to_string(path).expect("docs/causes.md"));
    for kind in CauseKind::ALL {
        let heading = format!("## {}", kind.as_str());
        assert!(documented.contains(&heading), "{heading}");
        let advice = words(advice::advice(kind.as_str()));
        assert!(documented.contains(&advice), "{kind:?}: {advice}");
    }
}

#[test]
fn every_cause_has_advice() {
    use crate::model::cause::CauseKind;
    let unknown = advice::advice("unknown");
    for kind in CauseKind::ALL {
        let advice = advice::advice(kind.as_str());
        assert_eq!(advice == unknown, kind == CauseKind::Unknown, "{kind:?}");
    }
}
