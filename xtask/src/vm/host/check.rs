//! Compares what oomwatch said in the guest with the kills of the scenario.

use std::collections::BTreeMap;

use serde_json::Value;

/// A kill of the scenario.
struct Expected {
    /// As `oomwatch history` shows it.
    object: &'static str,
    limit_owner: &'static str,
    uid: u64,
    /// Labels of its series in the metrics.
    labels: &'static str,
}

const fn unit(object: &'static str, labels: &'static str) -> Expected {
    Expected {
        object,
        limit_owner: "unit",
        uid: 0,
        labels,
    }
}

const fn container(object: &'static str, labels: &'static str) -> Expected {
    Expected {
        object,
        limit_owner: "container",
        uid: 0,
        labels,
    }
}

/// In the order in which they happen.
static KILLS: [Expected; 9] = [
    unit("web.service", r#"unit="web.service",runtime="""#),
    container(
        "systemd-machined box",
        r#"container="box",workload="",unit="",runtime="systemd-machined""#,
    ),
    Expected {
        uid: 1000,
        ..unit("editor.service", r#"unit="editor.service",runtime="""#)
    },
    Expected {
        limit_owner: "slice",
        uid: 1000,
        ..unit("session-c1.scope", r#"unit="session-c1.scope",runtime="""#)
    },
    container(
        "podman pweb",
        r#"container="pweb",workload="",unit="",runtime="podman""#,
    ),
    container(
        "docker dweb",
        r#"container="dweb",workload="",unit="",runtime="docker""#,
    ),
    // While the service is stopped.
    unit("late.service", r#"unit="late.service",runtime="""#),
    // After logrotate.
    unit("rotated.service", r#"unit="rotated.service",runtime="""#),
    // After a reboot.
    unit("again.service", r#"unit="again.service",runtime="""#),
];

/// Which kills a page has, as a range of [`KILLS`].
const JSON_PAGES: [(&str, usize, usize); 5] = [
    ("file-before", 0, 7),
    ("file-rotated", 7, 8),
    ("history-before", 0, 8),
    ("file-after", 7, 9),
    ("history-after", 0, 9),
];
const TEXT_PAGES: [(&str, usize, usize); 2] = [("text-before", 0, 8), ("text-after", 0, 9)];
/// Counters begin with each agent.
const METRIC_PAGES: [(&str, usize, usize); 3] = [
    ("metrics-first", 0, 6),
    ("metrics-before", 7, 8),
    ("metrics-after", 8, 9),
];

/// What is missing or wrong, nothing if all is well. A line of `pages` is the name of a page and a line of it.
pub(super) fn problems(pages: &str) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in pages.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        by_name.entry(name).or_default().push(rest);
    }
    let page = |name: &str| by_name.get(name).map_or(&[][..], Vec::as_slice);
    let mut problems = Vec::new();
    for (name, from, to) in JSON_PAGES {
        let expected: Vec<String> = KILLS[from..to].iter().map(Expected::summary).collect();
        let found: Vec<String> = page(name).iter().map(|line| summary(line)).collect();
        if found != expected {
            problems.push(format!("{name} has {found:?}, not {expected:?}"));
        }
    }
    for (name, from, to) in TEXT_PAGES {
        // The first line has the columns' names.
        let rows = page(name).get(1..).unwrap_or_default();
        let objects = KILLS[from..to].iter().map(|kill| kill.object);
        if rows.len() != to - from || !rows.iter().zip(objects).all(|(row, o)| row.contains(o)) {
            problems.push(format!("{name} does not have the objects: {rows:?}"));
        }
    }
    for (name, from, to) in METRIC_PAGES {
        problems.extend(metric_problems(name, page(name), &KILLS[from..to]));
    }
    let odd = page("journal-after").iter().filter(|line| {
        let level = line.trim_start();
        level.starts_with("WARN") || level.starts_with("ERROR")
    });
    problems.extend(odd.map(|line| format!("the journal has {line:?}")));
    if page("journal-after").is_empty() {
        problems.push("the journal is empty".to_owned());
    }
    problems
}

fn metric_problems(name: &str, page: &[&str], kills: &[Expected]) -> Vec<String> {
    let series = || {
        page.iter()
            .filter(|line| line.starts_with("oomwatch_kills_total{"))
    };
    let mut wanted = vec![
        format!("oomwatch_node_kills_total {}", kills.len()),
        "oomwatch_unobserved_kills_total 0".to_owned(),
    ];
    wanted.retain(|line| !page.contains(&line.as_str()));
    for kill in kills {
        let owner = format!("limit_owner=\"{}\"", kill.limit_owner);
        let labels = format!("{}}} 1", kill.labels);
        if !series().any(|line| line.contains(&owner) && line.ends_with(&labels)) {
            wanted.push(format!("a series with {owner} and {labels}"));
        }
    }
    let all = series().count();
    if all != kills.len() {
        wanted.push(format!("{} series instead of {all}", kills.len()));
    }
    wanted
        .into_iter()
        .map(|what| format!("{name} lacks {what}"))
        .collect()
}

impl Expected {
    fn summary(&self) -> String {
        format!("{} {} {}", self.object, self.limit_owner, self.uid)
    }
}

/// A record in the form of [`Expected::summary`], or the line if it is none of a kill.
fn summary(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap_or_default();
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    let named = || {
        let name = text("/container/name");
        // A machine has no other name than its id.
        let name = name.or_else(|| text("/container/id").filter(|id| id.len() < 64))?;
        Some(format!("{} {name}", text("/container/runtime")?))
    };
    let summary = || {
        let object = text("/unit").map(str::to_owned).or_else(named)?;
        let uid = record.pointer("/victim/uid")?.as_u64()?;
        Some(format!("{object} {} {uid}", text("/limit_owner")?))
    };
    let summary = summary().filter(|_| text("/kind") == Some("kill"));
    summary.unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kill: &Expected) -> String {
        let object = match kill.object.split_once(' ') {
            Some((runtime, "box")) => {
                format!(r#""container":{{"runtime":"{runtime}","id":"box"}}"#)
            }
            Some((runtime, name)) => {
                format!(r#""container":{{"runtime":"{runtime}","id":"1","name":"{name}"}}"#)
            }
            None => format!(r#""unit":"{}""#, kill.object),
        };
        let Expected {
            limit_owner, uid, ..
        } = kill;
        format!(
            r#"{{"kind":"kill",{object},"limit_owner":"{limit_owner}","victim":{{"uid":{uid}}}}}"#
        )
    }

    fn pages() -> String {
        let mut lines = Vec::new();
        for (name, from, to) in JSON_PAGES {
            let records = KILLS[from..to].iter().map(record);
            lines.extend(records.map(|record| format!("{name} {record}")));
        }
        for (name, from, to) in TEXT_PAGES {
            lines.push(format!("{name} TIME OBJECT"));
            let rows = KILLS[from..to].iter();
            lines.extend(rows.map(|kill| format!("{name} 12:00 {} 20MiB", kill.object)));
        }
        for (name, from, to) in METRIC_PAGES {
            lines.push(format!("{name} oomwatch_node_kills_total {}", to - from));
            lines.push(format!("{name} oomwatch_unobserved_kills_total 0"));
            for Expected {
                limit_owner,
                labels,
                ..
            } in &KILLS[from..to]
            {
                lines.push(format!(
                    "{name} oomwatch_kills_total{{limit_owner=\"{limit_owner}\",{labels}}} 1"
                ));
            }
        }
        lines.push("journal-after  INFO watching".to_owned());
        lines.join("\n")
    }

    #[test]
    fn pages_with_every_kill_once_have_no_problem() {
        assert_eq!(problems(&pages()), [""; 0]);
        assert!(!problems("").is_empty());
    }

    #[test]
    fn every_line_is_needed_and_no_other_may_be_there() {
        let pages = pages();
        let lines: Vec<&str> = pages.lines().collect();
        for at in 0..lines.len() {
            let mut fewer = lines.clone();
            let line = fewer.remove(at);
            assert!(!problems(&fewer.join("\n")).is_empty(), "without {line}");
            if !line.contains("_total") && !line.starts_with("journal") {
                let mut more = lines.clone();
                more.insert(at, line);
                assert!(!problems(&more.join("\n")).is_empty(), "twice {line}");
            }
        }
        for (from, to) in [
            ("unobserved_kills_total 0", "unobserved_kills_total 1"),
            ("\"pweb\"", "\"1bbf3f1152dc\""),
            ("\"limit_owner\":\"slice\"", "\"limit_owner\":\"cgroup\""),
            (" INFO watching", " WARN Docker does not answer"),
        ] {
            assert!(!problems(&pages.replace(from, to)).is_empty(), "{to}");
        }
    }
}
