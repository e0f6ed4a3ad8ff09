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
    insta::assert_snapshot!("html", to_html(&page));
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
        let html = to_html(&page);
        assert!(
            !html.contains("<script") && !html.contains("alert('"),
            "{html}"
        );
        let tags = html.matches('<').count();
        assert_eq!(
            tags,
            to_html(&self::page(&testing::report()))
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
    assert!(to_html(&page).ends_with("</article>\n"));
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
