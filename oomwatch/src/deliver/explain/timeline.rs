//! The timeline of a document with several kills: when each was, and in what. Written at the end, since only then all kills are
//! known; the style puts it first.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    html::Escaped,
    record::{number, object, text},
};

/// Objects that have a line of their own: those with the most kills.
const LINES: usize = 16;
/// Width of a line in its own units, and of a mark on it.
const WIDTH: i128 = 1000;
const MARK: i128 = 5;

/// The kills of a document, in their order.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    kills: Vec<Mark>,
}

#[derive(Clone, Debug)]
struct Mark {
    time: Option<Timestamp>,
    boot_time_ns: Option<u64>,
    object: String,
    kills: u64,
}

/// The kills of an object.
#[derive(Default)]
struct Line {
    kills: u64,
    /// Numbers of their pages, and where on the line they are.
    marks: Vec<(usize, i128)>,
}

impl Timeline {
    /// Adds a record, and returns the number of its page.
    pub fn push(&mut self, record: &Value) -> usize {
        let object = object(record).unwrap_or_else(|| "not known".to_owned());
        let kills = number(record, "kills").or_else(|| number(record, "unidentified"));
        self.kills.push(Mark {
            time: text(record, "time").and_then(|time| time.parse().ok()),
            boot_time_ns: number(record, "boot_time_ns"),
            object,
            kills: kills.unwrap_or(1),
        });
        self.kills.len()
    }

    /// The timeline as an element of the document; empty for a single page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        if self.kills.len() > 1 {
            // Writing to a String cannot fail.
            let _ = self.write(&mut out);
        }
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
        for (index, (mark, place)) in self.kills.iter().zip(self.places()).enumerate() {
            let line = lines.entry(&mark.object).or_default();
            line.kills = line.kills.saturating_add(mark.kills);
            line.marks.push((index + 1, place));
        }
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_by_key(|(_, line)| Reverse(line.kills));
        let all = lines
            .iter()
            .fold(0_u64, |sum, (_, line)| sum.saturating_add(line.kills));
        writeln!(out, "<nav>\n<h1>{all} OOM kills</h1>")?;
        if let (Some(first), Some(last)) = (self.kills.first(), self.kills.last()) {
            let (first, last) = (first.moment(), last.moment());
            writeln!(
                out,
                "<p class=\"note\">{first} to {last}; a mark leads to its kill</p>"
            )?;
        }
        for (object, Line { kills, marks }) in lines.iter().take(LINES) {
            writeln!(
                out,
                "<p class=\"line\"><span>{}</span><span>{kills}</span></p>",
                Escaped(object)
            )?;
            write!(
                out,
                "<svg class=\"marks\" viewBox=\"0 0 {WIDTH} 14\" preserveAspectRatio=\"none\">"
            )?;
            for (number, place) in marks {
                write!(
                    out,
                    "<a href=\"#k{number}\" aria-label=\"kill {number}\"><rect x=\"{place}\" width=\"{MARK}\" height=\"14\"/></a>"
                )?;
            }
            writeln!(out, "</svg>")?;
        }
        let more = lines.len().saturating_sub(LINES);
        if more > 0 {
            writeln!(out, "<p class=\"note\">and in {more} more</p>")?;
        }
        writeln!(out, "</nav>")
    }

    /// Where on its line each kill is: by the calendar, else by the time since boot, else by its number.
    fn places(&self) -> Vec<i128> {
        let all = |time: fn(&Mark) -> Option<i128>| {
            self.kills.iter().map(time).collect::<Option<Vec<_>>>()
        };
        let times = all(|mark| Some(mark.time?.as_nanosecond()))
            .or_else(|| all(|mark| mark.boot_time_ns.map(i128::from)))
            .unwrap_or_else(|| (0_i128..).take(self.kills.len()).collect());
        let first = times.iter().min().copied().unwrap_or(0);
        let span = times.iter().max().map_or(1, |last| (last - first).max(1));
        let place = |time| (time - first) * (WIDTH - MARK) / span;
        times.into_iter().map(place).collect()
    }
}

impl Mark {
    fn moment(&self) -> String {
        match (self.time, self.boot_time_ns) {
            (Some(time), _) => format!("{time:.0}"),
            (None, Some(time)) => format!("{} s after boot", time / 1_000_000_000),
            (None, None) => "an unknown time".to_owned(),
        }
    }
}
