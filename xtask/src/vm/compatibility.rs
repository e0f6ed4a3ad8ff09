//! The results of a run of the matrix as a block of Markdown in a document, and whether a document agrees with a run.
//!
//! The block has no versions and no counts, so that it changes only when a backend's abilities change. The document may list
//! more facts that a backend does not report than one run met, but not fewer.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::backend::{Backend, Cell, Outcome, Results};

const BEGIN: &str = "<!-- begin: cargo xtask vm --markdown -->";
const END: &str = "<!-- end: cargo xtask vm --markdown -->";
const BACKENDS: usize = Backend::ALL.len();

/// The block's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compatibility {
    boots: Vec<(String, [Option<Presence>; BACKENDS])>,
    /// The facts that each backend did not report in some scenario that passed; `None` where no scenario passed.
    unknown: [Option<BTreeSet<String>>; BACKENDS],
}

/// Whether a kernel has a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Presence {
    Yes,
    /// With the reasons.
    No(BTreeSet<String>),
}

impl Compatibility {
    /// From the results of each boot.
    pub(crate) fn of(results: &[(&str, &Results)]) -> Self {
        let passed = |backend| {
            let cells = results
                .iter()
                .flat_map(move |(_, results)| results.of(backend));
            cells.filter(|cell| cell.outcome == Outcome::Ok)
        };
        Self {
            boots: results
                .iter()
                .map(|(boot, results)| {
                    (
                        (*boot).to_owned(),
                        Backend::ALL.map(|backend| presence(results.of(backend))),
                    )
                })
                .collect(),
            unknown: Backend::ALL.map(|backend| {
                passed(backend).next()?;
                let words = passed(backend).flat_map(|cell| cell.words.clone());
                Some(words.collect())
            }),
        }
    }

    /// Whether there is no result for any backend.
    pub(crate) fn is_empty(&self) -> bool {
        self.boots
            .iter()
            .all(|(_, backends)| backends.iter().all(Option::is_none))
    }

    /// Writes the block into the document: in place of the block that it has, else at its end.
    pub(crate) fn write(&self, document: &Path) -> Result<()> {
        let text = match fs::read_to_string(document) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("failed to read {}", document.display()))?,
        };
        fs::write(document, self.put_into(&text))
            .with_context(|| format!("failed to write {}", document.display()))
    }

    /// Where a document disagrees with the run. A document that does not exist never does, nor one without the block if the
    /// run has no results.
    pub(crate) fn contradictions(&self, document: &Path) -> Result<Vec<String>> {
        let text = match fs::read_to_string(document) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| format!("failed to read {}", document.display()))?,
        };
        Ok(match block(&text) {
            Some((_, block, _)) => self.against(&Self::parse(block)),
            None if self.is_empty() => Vec::new(),
            None => vec![format!(
                "it has no block `{BEGIN}`; `cargo xtask vm --markdown` writes it"
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
            Backend::ALL.map(Backend::name).join(" | "),
            "---|".repeat(BACKENDS + 1)
        );
        for (boot, backends) in &self.boots {
            let cells = backends
                .each_ref()
                .map(|presence| shown(presence.as_ref(), "?"));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| `{boot}` | {} |", cells.join(" | "));
        }
        text.push_str("\n| backend | does not report |\n|---|---|\n");
        for (backend, unknown) in Backend::ALL.into_iter().zip(&self.unknown) {
            let cell = match unknown {
                None => "?".to_owned(),
                Some(words) if words.is_empty() => "-".to_owned(),
                Some(words) => listed(words),
            };
            let _ = writeln!(text, "| `{}` | {cell} |", backend.name());
        }
        text
    }

    /// Parses a block. A row of another form is left out, which makes it a contradiction.
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
            if let Ok(backends) = <[&str; BACKENDS]>::try_from(&cells[1..]) {
                let backends = backends.map(|cell| match cell {
                    "yes" => Some(Presence::Yes),
                    cell if cell.starts_with("no") => {
                        Some(Presence::No(quoted(cell).map(str::to_owned).collect()))
                    }
                    _ => None,
                });
                read.boots.push((name.to_owned(), backends));
            } else if let [cell] = cells[1..]
                && let Some(at) = Backend::ALL
                    .iter()
                    .position(|backend| backend.name() == name)
                && cell != "?"
            {
                read.unknown[at] = Some(quoted(cell).map(str::to_owned).collect());
            }
        }
        read
    }

    fn against(&self, documented: &Self) -> Vec<String> {
        let mut contradictions = Vec::new();
        for (boot, backends) in &self.boots {
            let Some((_, stated)) = documented.boots.iter().find(|(known, _)| known == boot) else {
                contradictions.push(format!("it has no row for the boot {boot}"));
                continue;
            };
            let pairs = backends.iter().zip(stated);
            for (backend, (found, stated)) in Backend::ALL.into_iter().zip(pairs) {
                if found != stated {
                    let [found, stated] =
                        [found, stated].map(|presence| shown(presence.as_ref(), "nothing"));
                    contradictions.push(format!(
                        "{boot} on {}: the document states {stated}, the run found {found}",
                        backend.name()
                    ));
                }
            }
        }
        for (boot, _) in &documented.boots {
            if !self.boots.iter().any(|(known, _)| known == boot) {
                contradictions.push(format!(
                    "it has a row for the boot {boot}, which does not exist"
                ));
            }
        }
        let pairs = self.unknown.iter().zip(&documented.unknown);
        for (backend, (found, stated)) in Backend::ALL.into_iter().zip(pairs) {
            let stated = stated.clone().unwrap_or_default();
            let more: BTreeSet<String> = found
                .iter()
                .flatten()
                .filter(|word| !stated.contains(*word))
                .cloned()
                .collect();
            if !more.is_empty() {
                contradictions.push(format!(
                    "it does not list {} among the facts that {} does not report",
                    listed(&more),
                    backend.name()
                ));
            }
        }
        contradictions
    }
}

/// A kernel has a backend if some scenario ran on it.
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

/// The parts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The text before, inside and after the block of a document.
fn block(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (inside, after) = rest.split_once(END)?;
    Some((before, inside, after))
}

#[cfg(test)]
mod tests {
    use super::super::interface::RESULT_MARKER;
    use super::*;

    /// From lines in which `@result` stands for the marker.
    fn of(lines: &[&str]) -> Compatibility {
        let mut results = Results::default();
        for line in lines {
            results.read_line(&line.replace("@result", RESULT_MARKER));
        }
        Compatibility::of(&[("5.10", &results)])
    }

    const SHOWN: [&str; 6] = [
        "@result a fentry absent no-fentry",
        "@result a kprobe ok -",
        "@result b kprobe absent odd",
        "@result a counters ok order",
        "@result b counters ok gfp_mask",
        "@result b kmsg failed scope",
    ];

    const BLOCK: &str = "\
| boot | fentry | kprobe | raw-tracepoint | kmsg | counters |
|---|---|---|---|---|---|
| `5.10` | no: `no-fentry` | yes | ? | yes | yes |

| backend | does not report |
|---|---|
| `fentry` | ? |
| `kprobe` | - |
| `raw-tracepoint` | ? |
| `kmsg` | ? |
| `counters` | `gfp_mask`, `order` |
";

    #[test]
    fn block_is_rendered_and_parsed_without_loss() {
        let shown = of(&SHOWN);
        assert_eq!(shown.tables(), BLOCK);
        assert_eq!(Compatibility::parse(BLOCK), shown);
        assert_eq!(shown.against(&shown), Vec::<String>::new());
    }

    #[test]
    fn block_is_replaced_or_else_appended() {
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
    fn document_may_list_more_facts_but_not_fewer() {
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
            ["it does not list `order` among the facts that counters does not report"]
        );
        assert_eq!(
            contradictions("no: `no-fentry`", "yes"),
            ["5.10 on fentry: the document states yes, the run found no: `no-fentry`"]
        );
        assert_eq!(
            contradictions("yes | yes |", "? | yes |"),
            ["5.10 on kmsg: the document states nothing, the run found yes"]
        );
        assert_eq!(
            contradictions("`5.10`", "`5.11`"),
            [
                "it has no row for the boot 5.10",
                "it has a row for the boot 5.11, which does not exist"
            ]
        );
    }

    #[test]
    fn other_text_parses_as_an_empty_block() {
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
    fn document_without_the_block_contradicts_a_run_with_results() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let found = of(&SHOWN).contradictions(&document).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("it has no block "), "{found:?}");
        assert_eq!(of(&[]).contradictions(&document).unwrap(), [""; 0]);
        let nowhere = document.join("nowhere");
        assert!(of(&SHOWN).contradictions(&nowhere).is_err());
        let missing = document.with_file_name("no-such-file");
        assert_eq!(of(&SHOWN).contradictions(&missing).unwrap(), [""; 0]);
    }
}
