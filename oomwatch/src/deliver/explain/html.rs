//! The page as one HTML file: without scripts and without anything from the network; light and dark; every figure is text.

use std::fmt::Write as _;

use super::page::{Breakdown, Listing, Page, percent};
use crate::sys::escape::escape_line;

/// What a document begins with. It needs no end: HTML's end tags are optional.
pub const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>oomwatch</title>
<style>
:root { color-scheme: light dark; --text: #1b1f24; --dim: #57606a; --back: #fff; --card: #f6f8fa; --line: #d0d7de; --bar: #b42318; --mark: #fff1e5; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --dim: #9198a1; --back: #0d1117; --card: #161b22; --line: #30363d; --bar: #ff7b72; --mark: #2d1f14; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem; font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
article + article { margin-top: 3rem; border-top: 2px solid var(--line); padding-top: 2rem; }
.cause { font-size: 1.1rem; border-left: 4px solid var(--bar); padding: .5rem .75rem; background: var(--card); margin: 0 0 1rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
th { color: var(--dim); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.victim { background: var(--mark); font-weight: 600; }
svg { display: block; width: 100%; min-width: 6rem; height: 14px; }
svg rect { fill: var(--bar); }
.note { color: var(--dim); font-size: .9rem; }
@media print { body { max-width: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
</style>
</head>
<body>
"#;

/// A text that has no markup, and no character that is not printable.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in escape_line(self.0.as_bytes()).chars() {
            match character {
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '&' => formatter.write_str("&amp;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The page as an element of the document.
#[must_use]
pub fn to_html(page: &Page) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, page);
    out
}

fn write(out: &mut String, page: &Page) -> std::fmt::Result {
    let Page {
        title,
        cause,
        facts,
        memory,
        pods,
        processes,
        zones,
        advice,
    } = page;
    writeln!(out, "<article>\n<h1>{}</h1>", Escaped(title))?;
    if let Some(cause) = cause {
        writeln!(out, "<p class=\"cause\">{}</p>", Escaped(cause))?;
    }
    writeln!(out, "<dl>")?;
    for (name, value) in facts {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", Escaped(value))?;
    }
    writeln!(out, "</dl>")?;
    if let Some(bars) = memory {
        write_bars(out, bars)?;
    }
    for rows in [pods, processes, zones].into_iter().flatten() {
        write_rows(out, rows)?;
    }
    if let Some(advice) = advice {
        writeln!(out, "<h2>What to change</h2>\n<p>{}</p>", Escaped(advice))?;
    }
    writeln!(out, "</article>")
}

fn write_note(out: &mut String, note: Option<&str>) -> std::fmt::Result {
    match note {
        Some(note) => writeln!(out, "<p class=\"note\">{}</p>", Escaped(note)),
        None => Ok(()),
    }
}

fn write_bars(out: &mut String, Breakdown { title, bars, note }: &Breakdown) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>{}</h2>\n<div class=\"scroll\"><table>",
        Escaped(title)
    )?;
    for (name, size, permille) in bars {
        let percent = percent(*permille);
        let percent = Escaped(&percent);
        writeln!(
            out,
            "<tr><td>{name}</td><td class=\"number\">{size}</td><td class=\"number\">{percent}</td>\
             <td><svg viewBox=\"0 0 1000 14\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{percent}\">\
             <rect width=\"{permille}\" height=\"14\"/></svg></td></tr>",
        )?;
    }
    writeln!(out, "</table></div>")?;
    write_note(out, *note)
}

fn write_rows(out: &mut String, rows: &Listing) -> std::fmt::Result {
    let Listing {
        title,
        columns,
        rows,
        note,
    } = rows;
    writeln!(
        out,
        "<h2>{}</h2>\n<div class=\"scroll\"><table>\n<tr>",
        Escaped(title)
    )?;
    let class = |is_number: bool| if is_number { " class=\"number\"" } else { "" };
    for (title, is_number) in columns {
        write!(out, "<th{}>{title}</th>", class(*is_number))?;
    }
    writeln!(out, "</tr>")?;
    for (cells, is_victim) in rows {
        write!(
            out,
            "<tr{}>",
            if *is_victim { " class=\"victim\"" } else { "" }
        )?;
        for (cell, (_, is_number)) in cells.iter().zip(columns) {
            write!(out, "<td{}>{}</td>", class(*is_number), Escaped(cell))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table></div>")?;
    write_note(out, *note)
}
