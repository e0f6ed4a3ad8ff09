//! The tables at the end: how each scenario went on each rung, and what no rung could know.
//!
//! Text for a terminal of 120 columns; longer names make it wider.

use std::collections::{BTreeMap, BTreeSet};

use super::rungs::{Cell, Outcome, Rung, Rungs};
use crate::table;

const COLUMNS: usize = 120;

/// A row for each scenario and a column for each rung; what could not be known stands in notes below.
pub(crate) fn scenarios(rungs: &Rungs) -> String {
    let mut notes = Notes::default();
    let rows: Vec<[String; 7]> = rungs
        .scenarios
        .iter()
        .map(|scenario| {
            let cells = scenario.cells.each_ref().map(|cell| {
                cell.as_ref().map_or_else(String::new, |cell| {
                    notes.marked(shown(cell.outcome), &cell.words)
                })
            });
            beside(scenario.name.clone(), cells)
        })
        .collect();
    table::render(head("scenario"), &rows) + &notes.render()
}

/// A row for each boot and a column for each rung: how many scenarios went how.
pub(crate) fn boots(told: &[(&str, &Rungs)]) -> String {
    let mut notes = Notes::default();
    let rows: Vec<[String; 7]> = told
        .iter()
        .map(|(boot, rungs)| {
            let cells = Rung::ALL.map(|rung| sum(&rungs.of(rung).collect::<Vec<_>>(), &mut notes));
            beside((*boot).to_owned(), cells)
        })
        .collect();
    table::render(head("boot"), &rows) + &notes.render()
}

/// For each rung that some boot has, what it never knew and what it did not always know.
pub(crate) fn unknown(told: &[(&str, &Rungs)]) -> String {
    let width = Rung::ALL.map(|rung| rung.name().len()).into_iter().max();
    Rung::ALL
        .into_iter()
        .map(|rung| {
            let label = format!("{:1$}  ", rung.name(), width.unwrap_or(0));
            let cells = told.iter().flat_map(|(_, rungs)| rungs.of(rung));
            let passed: Vec<&Cell> = cells.filter(|cell| cell.outcome == Outcome::Ok).collect();
            unknown_of(&label, &passed)
        })
        .collect()
}

fn unknown_of(label: &str, passed: &[&Cell]) -> String {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for word in passed.iter().flat_map(|cell| &cell.words) {
        *times.entry(word).or_default() += 1;
    }
    let of = passed.len();
    let (always, at_times): (Vec<_>, Vec<_>) =
        times.into_iter().partition(|&(_, times)| times == of);
    let always: Vec<String> = always.iter().map(|(word, _)| (*word).to_owned()).collect();
    let at_times: Vec<String> = at_times
        .iter()
        .map(|(word, times)| format!("{word} ({times} of {of})"))
        .collect();
    let blank = " ".repeat(label.len());
    match (&always[..], &at_times[..]) {
        _ if passed.is_empty() => String::new(),
        ([], []) => format!("{label}all known\n"),
        (always, []) => wrap(&format!("{label}never known: "), always),
        ([], at_times) => wrap(&format!("{label}not always: "), at_times),
        (always, at_times) => {
            wrap(&format!("{label}never known: "), always)
                + &wrap(&format!("{blank}not always: "), at_times)
        }
    }
}

fn head(first: &str) -> [&str; 7] {
    beside(first, Rung::ALL.map(Rung::name))
}

fn beside<T>(first: T, of_rungs: [T; 6]) -> [T; 7] {
    let [fentry, kprobe, tracepoint, format, kmsg, counters] = of_rungs;
    [first, fentry, kprobe, tracepoint, format, kmsg, counters]
}

fn shown(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Absent => "absent",
        Outcome::Failed => "FAILED",
    }
}

fn sum(cells: &[&Cell], notes: &mut Notes) -> String {
    let count = |outcome| cells.iter().filter(|cell| cell.outcome == outcome).count();
    if !cells.is_empty() && count(Outcome::Absent) == cells.len() {
        let why = cells.iter().flat_map(|cell| cell.words.clone()).collect();
        return notes.marked(shown(Outcome::Absent), &why);
    }
    let parts: Vec<String> = [Outcome::Ok, Outcome::Absent, Outcome::Failed]
        .into_iter()
        .filter(|&outcome| count(outcome) > 0)
        .map(|outcome| format!("{} {}", count(outcome), shown(outcome)))
        .collect();
    parts.join(", ")
}

/// Notes below a table, each once, numbered as they are met.
#[derive(Default)]
struct Notes(Vec<BTreeSet<String>>);

impl Notes {
    fn marked(&mut self, cell: &str, words: &BTreeSet<String>) -> String {
        if words.is_empty() {
            return cell.to_owned();
        }
        let known = self.0.iter().position(|note| note == words);
        let at = known.unwrap_or_else(|| {
            self.0.push(words.clone());
            self.0.len() - 1
        });
        format!("{cell}*{}", at + 1)
    }

    fn render(&self) -> String {
        let width = self.0.len().to_string().len();
        let note = |(at, words): (usize, &BTreeSet<String>)| {
            let words: Vec<String> = words.iter().cloned().collect();
            wrap(&format!("*{:width$}  ", at + 1), &words)
        };
        self.0.iter().enumerate().map(note).collect()
    }
}

/// The words behind the label, separated by commas; further lines begin below the first word.
fn wrap(label: &str, words: &[String]) -> String {
    let mut text = label.to_owned();
    let mut column = label.len();
    for (at, word) in words.iter().enumerate() {
        let is_last = at + 1 == words.len();
        let word = if is_last {
            word.clone()
        } else {
            format!("{word},")
        };
        if column + word.len() > COLUMNS && at > 0 {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(label.len()));
            column = label.len();
        }
        text.push_str(&word);
        text.push(' ');
        column += word.len() + 1;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Rungs {
        let mut rungs = Rungs::default();
        for line in lines {
            rungs.take(line);
        }
        assert_eq!(rungs.unread, Vec::<String>::new());
        rungs
    }

    fn old() -> Rungs {
        told(&[
            "@rung group_kill fentry ok -",
            "@rung group_kill tracepoint ok order,gfp_mask",
            "@rung group_kill counters ok victim",
            "@rung cpuset fentry ok -",
            "@rung cpuset tracepoint ok order,gfp_mask,constraint",
            "@rung cpuset counters failed victim",
        ])
    }

    fn new() -> Rungs {
        told(&[
            "@rung group_kill fentry absent no-fentry",
            "@rung group_kill kprobe absent no-kprobes",
            "@rung group_kill tracepoint ok gfp_mask,order",
            "@rung cpuset fentry absent no-fentry",
            "@rung cpuset kprobe ok -",
        ])
    }

    #[test]
    fn scenario_has_a_row_and_notes_stand_below_once() {
        assert_eq!(
            scenarios(&old()),
            "\
scenario    fentry  kprobe  tracepoint  format  kmsg  counters
----------  ------  ------  ----------  ------  ----  --------
group_kill  ok              ok*1                      ok*2
cpuset      ok              ok*3                      FAILED*2
*1  gfp_mask, order
*2  victim
*3  constraint, gfp_mask, order
"
        );
    }

    #[test]
    fn boot_has_a_row_with_sums() {
        assert_eq!(
            boots(&[("5.10", &old()), ("6.12", &new()), ("6.18", &told(&[]))]),
            "\
boot  fentry    kprobe          tracepoint  format  kmsg  counters
----  --------  --------------  ----------  ------  ----  --------------
5.10  2 ok                      2 ok                      1 ok, 1 FAILED
6.12  absent*1  1 ok, 1 absent  1 ok
6.18
*1  no-fentry
"
        );
    }

    #[test]
    fn what_was_missing_is_told_of_scenarios_that_passed() {
        assert_eq!(
            unknown(&[("5.10", &old()), ("6.12", &new())]),
            "\
fentry      all known
kprobe      all known
tracepoint  never known: gfp_mask, order
            not always: constraint (1 of 3)
counters    never known: victim
"
        );
        assert_eq!(unknown(&[("6.18", &told(&[]))]), "");
    }

    #[test]
    fn long_notes_are_wrapped_below_their_first_word() {
        let words: Vec<String> = (0..20).map(|number| format!("field_{number:03}")).collect();
        let text = wrap("*1  ", &words);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{text}");
        assert!(lines[0].starts_with("*1  field_000, "), "{text}");
        assert!(lines[1].starts_with("    field_"), "{text}");
        assert_eq!(
            text.split(", ").count(),
            19,
            "a line's end has no space: {text}"
        );
        let one = ["x".repeat(200)];
        assert_eq!(wrap("a ", &one), format!("a {}\n", one[0]));
    }
}
