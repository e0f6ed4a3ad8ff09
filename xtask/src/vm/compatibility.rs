//! What a run of the matrix has shown, as a block of Markdown in a document, and whether a document agrees with a run.
//!
//! The block names no versions and counts nothing, so that it changes only where what oomwatch can do changes. A
//! document may tell of more that a rung could not know than one run has met, never of less.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::rungs::{Cell, Outcome, Rung, Rungs};

const BEGIN: &str = "<!-- begin: cargo xtask vm --markdown -->";
const END: &str = "<!-- end: cargo xtask vm --markdown -->";
const RUNGS: usize = Rung::ALL.len();

/// The block's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compatibility {
    boots: Vec<(String, [Option<Presence>; RUNGS])>,
    /// What each rung could not know in some scenario that passed; none where it passed none.
    unknown: [Option<BTreeSet<String>>; RUNGS],
}

/// Whether a kernel has a rung.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Presence {
    Yes,
    /// And why not.
    No(BTreeSet<String>),
}

impl Compatibility {
    /// As a run has shown it.
    pub(crate) fn of(told: &[(&str, &Rungs)]) -> Self {
        let passed = |rung| {
            let cells = told.iter().flat_map(move |(_, rungs)| rungs.of(rung));
            cells.filter(|cell| cell.outcome == Outcome::Ok)
        };
        Self {
            boots: told
                .iter()
                .map(|(boot, rungs)| {
                    (
                        (*boot).to_owned(),
                        Rung::ALL.map(|rung| presence(rungs.of(rung))),
                    )
                })
                .collect(),
            unknown: Rung::ALL.map(|rung| {
                passed(rung).next()?;
                Some(passed(rung).flat_map(|cell| cell.words.clone()).collect())
            }),
        }
    }

    /// Whether nothing was told of any rung.
    pub(crate) fn is_empty(&self) -> bool {
        self.boots
            .iter()
            .all(|(_, rungs)| rungs.iter().all(Option::is_none))
    }

    /// Puts the block into the document in place of the one that is there, or else at its end.
    pub(crate) fn write(&self, document: &Path) -> Result<()> {
        let text = match fs::read_to_string(document) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("read {}", document.display()))?,
        };
        fs::write(document, self.put_into(&text))
            .with_context(|| format!("write {}", document.display()))
    }

    /// Where a document says otherwise; nothing if there is none, or if neither it nor the run tells of rungs.
    pub(crate) fn contradictions(&self, document: &Path) -> Result<Vec<String>> {
        let text = match fs::read_to_string(document) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| format!("read {}", document.display()))?,
        };
        Ok(match block(&text) {
            Some((_, block, _)) => self.against(&Self::parse(block)),
            None if self.is_empty() => Vec::new(),
            None => vec![format!(
                "has no block `{BEGIN}`: `cargo xtask vm --markdown` puts it there"
            )],
        })
    }

    fn put_into(&self, text: &str) -> String {
        let tables = self.tables();
        match block(text) {
            Some((before, _, after)) => format!("{before}{BEGIN}\n{tables}{END}{after}"),
            None if text.is_empty() => format!("{BEGIN}\n{tables}{END}\n"),
            None => format!("{}\n\n{BEGIN}\n{tables}{END}\n", text.trim_end()),
        }
    }

    fn tables(&self) -> String {
        let mut text = format!(
            "| boot | {} |\n|{}\n",
            Rung::ALL.map(Rung::name).join(" | "),
            "---|".repeat(RUNGS + 1)
        );
        for (boot, rungs) in &self.boots {
            let cells = rungs
                .each_ref()
                .map(|presence| shown(presence.as_ref(), "?"));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| `{boot}` | {} |", cells.join(" | "));
        }
        text.push_str("\n| rung | could not know |\n|---|---|\n");
        for (rung, unknown) in Rung::ALL.into_iter().zip(&self.unknown) {
            let cell = match unknown {
                None => "?".to_owned(),
                Some(words) if words.is_empty() => "-".to_owned(),
                Some(words) => listed(words),
            };
            let _ = writeln!(text, "| `{}` | {cell} |", rung.name());
        }
        text
    }

    /// Reads a block back; what is not of its form is left out, and so contradicts.
    fn parse(block: &str) -> Self {
        let mut read = Self::default();
        for line in block.lines() {
            let cells: Vec<&str> = line
                .trim()
                .trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect();
            let Some(name) = quoted(cells[0]).next() else {
                continue;
            };
            if let Ok(rungs) = <[&str; RUNGS]>::try_from(&cells[1..]) {
                let rungs = rungs.map(|cell| match cell {
                    "yes" => Some(Presence::Yes),
                    cell if cell.starts_with("no") => {
                        Some(Presence::No(quoted(cell).map(str::to_owned).collect()))
                    }
                    _ => None,
                });
                read.boots.push((name.to_owned(), rungs));
            } else if let [cell] = cells[1..]
                && let Some(at) = Rung::ALL.iter().position(|rung| rung.name() == name)
                && cell != "?"
            {
                read.unknown[at] = Some(quoted(cell).map(str::to_owned).collect());
            }
        }
        read
    }

    fn against(&self, documented: &Self) -> Vec<String> {
        let mut contradictions = Vec::new();
        for (boot, rungs) in &self.boots {
            let Some((_, said)) = documented.boots.iter().find(|(known, _)| known == boot) else {
                contradictions.push(format!("does not name the boot {boot}"));
                continue;
            };
            for (rung, (is, said)) in Rung::ALL.into_iter().zip(rungs.iter().zip(said)) {
                if is != said {
                    let [is, said] = [is, said].map(|presence| shown(presence.as_ref(), "nothing"));
                    contradictions.push(format!("{boot} on {}: says {said}, is {is}", rung.name()));
                }
            }
        }
        for (boot, _) in &documented.boots {
            if !self.boots.iter().any(|(known, _)| known == boot) {
                contradictions.push(format!("names the boot {boot}, and there is none"));
            }
        }
        for (rung, (is, said)) in Rung::ALL
            .into_iter()
            .zip(self.unknown.iter().zip(&documented.unknown))
        {
            let known = said.clone().unwrap_or_default();
            let more: BTreeSet<String> = is
                .iter()
                .flatten()
                .filter(|word| !known.contains(*word))
                .cloned()
                .collect();
            if !more.is_empty() {
                contradictions.push(format!(
                    "does not say that {} could not know {}",
                    rung.name(),
                    listed(&more)
                ));
            }
        }
        contradictions
    }
}

/// A rung is there if a scenario could be tried on it.
fn presence<'a>(cells: impl Iterator<Item = &'a Cell>) -> Option<Presence> {
    let cells: Vec<&Cell> = cells.collect();
    let is_absent = cells.iter().all(|cell| cell.outcome == Outcome::Absent);
    (!cells.is_empty()).then(|| {
        if is_absent {
            Presence::No(cells.iter().flat_map(|cell| cell.words.clone()).collect())
        } else {
            Presence::Yes
        }
    })
}

fn shown(presence: Option<&Presence>, nothing: &str) -> String {
    match presence {
        None => nothing.to_owned(),
        Some(Presence::Yes) => "yes".to_owned(),
        Some(Presence::No(why)) if why.is_empty() => "no".to_owned(),
        Some(Presence::No(why)) => format!("no: {}", listed(why)),
    }
}

fn listed(words: &BTreeSet<String>) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is before, inside and after the block of a document.
fn block(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (inside, after) = rest.split_once(END)?;
    Some((before, inside, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Compatibility {
        let mut rungs = Rungs::default();
        for line in lines {
            rungs.take(line);
        }
        Compatibility::of(&[("5.10", &rungs)])
    }

    const SHOWN: [&str; 6] = [
        "@rung a fentry absent no-fentry",
        "@rung a kprobe ok -",
        "@rung b kprobe absent odd",
        "@rung a tracepoint ok order",
        "@rung b tracepoint ok gfp_mask",
        "@rung b kmsg failed scope",
    ];

    const BLOCK: &str = "\
| boot | fentry | kprobe | tracepoint | format | kmsg | counters |
|---|---|---|---|---|---|---|
| `5.10` | no: `no-fentry` | yes | yes | ? | yes | ? |

| rung | could not know |
|---|---|
| `fentry` | ? |
| `kprobe` | - |
| `tracepoint` | `gfp_mask`, `order` |
| `format` | ? |
| `kmsg` | ? |
| `counters` | ? |
";

    #[test]
    fn block_is_what_was_shown_and_is_read_back_whole() {
        let shown = of(&SHOWN);
        assert_eq!(shown.tables(), BLOCK);
        assert_eq!(Compatibility::parse(BLOCK), shown);
        assert_eq!(shown.against(&shown), Vec::<String>::new());
    }

    #[test]
    fn block_is_replaced_where_it_is_and_else_appended() {
        let shown = of(&SHOWN);
        let block = format!("{BEGIN}\n{BLOCK}{END}");
        assert_eq!(shown.put_into(""), format!("{block}\n"));
        let appended = shown.put_into("# Title\n");
        assert_eq!(appended, format!("# Title\n\n{block}\n"));
        assert_eq!(shown.put_into(&appended), appended);
        let old = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        assert_eq!(shown.put_into(&old), format!("above\n{block}\nbelow\n"));
    }

    #[test]
    fn document_contradicts_by_saying_otherwise_or_less_but_not_more() {
        let shown = of(&SHOWN);
        let contradictions = |from: &str, to: &str| {
            assert!(BLOCK.contains(from));
            shown.against(&Compatibility::parse(&BLOCK.replace(from, to)))
        };
        let none = Vec::<String>::new();
        assert_eq!(contradictions("`order`", "`order`, `points`"), none);
        assert_eq!(
            contradictions("| `kprobe` | - |", "| `kprobe` | `order` |"),
            none
        );
        assert_eq!(
            contradictions(", `order`", ""),
            ["does not say that tracepoint could not know `order`"]
        );
        assert_eq!(
            contradictions("no: `no-fentry`", "yes"),
            ["5.10 on fentry: says yes, is no: `no-fentry`"]
        );
        assert_eq!(
            contradictions("yes | ? | yes", "yes | ? | ?"),
            ["5.10 on kmsg: says nothing, is yes"]
        );
        assert_eq!(
            contradictions("`5.10`", "`5.11`"),
            [
                "does not name the boot 5.10",
                "names the boot 5.11, and there is none"
            ]
        );
    }

    #[test]
    fn anything_but_a_block_reads_as_nothing() {
        for odd in [
            "",
            "|",
            "||||||||",
            "` | ` |",
            "| `5.10` | yes |",
            "| `x` |",
            "`kmsg`",
        ] {
            let read = Compatibility::parse(odd);
            assert_eq!(read, Compatibility::default(), "{odd}");
        }
        assert_eq!(block(&format!("{END}{BEGIN}")), None);
    }

    #[test]
    fn document_without_the_block_is_told_once_there_is_something_to_tell() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let said = of(&SHOWN).contradictions(&document).unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("has no block "), "{said:?}");
        assert_eq!(of(&[]).contradictions(&document).unwrap(), [""; 0]);
        let nowhere = document.join("nowhere");
        assert!(of(&SHOWN).contradictions(&nowhere).is_err());
        let missing = document.with_file_name("no-such-file");
        assert_eq!(of(&SHOWN).contradictions(&missing).unwrap(), [""; 0]);
    }
}
