//! The version's section of `CHANGELOG.md`.

use anyhow::{Context as _, Result};

/// The section of the version; before its release, that of what is unreleased.
pub(super) fn section(changelog: &str, version: &str) -> Result<String> {
    let of = |wanted: &str| {
        let mut lines = changelog.lines();
        lines.find(|line| name(line) == Some(wanted))?;
        let body: Vec<&str> = lines.take_while(|line| name(line).is_none()).collect();
        Some(body.join("\n").trim().to_owned())
    };
    let body = of(version).or_else(|| {
        eprintln!("CHANGELOG.md has no section {version}: the notes have `Unreleased`");
        of("Unreleased")
    });
    let body = body.with_context(|| format!("CHANGELOG.md has no section {version}"))?;
    Ok(format!("# oomwatch {version}\n\n{body}\n"))
}

/// `1.0.0` of `## [1.0.0] - 2026-12-01` and of `## 1.0.0`.
fn name(line: &str) -> Option<&str> {
    let title = line.strip_prefix("## ")?;
    let first = title.split_whitespace().next()?;
    Some(first.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n### Added\n- New.\n\n\
        ## [1.1.0] - 2026-12-01\n- Two.\n\n### Fixed\n- A bug.\n\n## 1.0.0\n- One.\n";

    #[test]
    fn section_ends_at_the_next_version() {
        let of = |version| section(CHANGELOG, version).unwrap();
        assert_eq!(
            of("1.1.0"),
            "# oomwatch 1.1.0\n\n- Two.\n\n### Fixed\n- A bug.\n"
        );
        assert_eq!(of("1.0.0"), "# oomwatch 1.0.0\n\n- One.\n");
        assert_eq!(of("1.1"), "# oomwatch 1.1\n\n### Added\n- New.\n");
        assert!(section("# Changelog\n", "1.0.0").is_err());
    }

    #[test]
    fn this_version_has_notes() {
        let changelog = include_str!("../../../CHANGELOG.md");
        assert!(section(changelog, env!("CARGO_PKG_VERSION")).is_ok());
    }
}
