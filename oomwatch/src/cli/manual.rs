//! Manual pages: what clap knows, and the exit status, files and environment that it does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::Cli;
use crate::{capture::bpf::pins::BPFFS, store};

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Done, also where there is no kill."),
    ("1", "Failed; the reason is on stderr."),
    ("2", "Wrong usage."),
    ("130", "Ended by SIGINT, SIGTERM or SIGHUP."),
];

/// Environment variables that are no flag's, and the commands that read them.
const ENVIRONMENT: &[(&str, &str, &[&str])] = &[
    (
        "KUBECONFIG",
        "The API server, outside a pod.",
        &["agent", "doctor"],
    ),
    (
        "NO_COLOR",
        "If set and not empty, lines have no color.",
        &["watch", "report", "history", "explain"],
    ),
    (
        "TZ",
        "Time zone of text output, unless --utc is given.",
        &["watch", "report", "history"],
    ),
];

/// Writes a manual page for each command into a folder.
pub fn write_manual_pages(folder: &Path) -> io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    for subcommand in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        write_page(subcommand, folder)?;
    }
    write_page(&command, folder)
}

fn write_page(command: &Command, folder: &Path) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if command.get_after_long_help().is_some() {
        man.render_extra_section(&mut page)?;
    }
    let mut roff = Roff::new();
    section(&mut roff, "EXIT STATUS", EXIT_STATUS.iter().copied());
    let files = files(command.get_name());
    section(
        &mut roff,
        "FILES",
        files
            .iter()
            .map(|(file, text)| (file.to_str().unwrap_or_default(), *text)),
    );
    let environment = environment(command);
    section(
        &mut roff,
        "ENVIRONMENT",
        environment.iter().map(|(name, text)| (&**name, &**text)),
    );
    roff.to_writer(&mut page)?;
    fs::write(folder.join(man.get_filename()), page)
}

/// A section of terms and their descriptions; none, if there are no terms.
fn section<'a>(roff: &mut Roff, title: &str, terms: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut terms = terms.peekable();
    if terms.peek().is_some() {
        roff.control("SH", [title]);
    }
    for (term, text) in terms {
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(text)]);
    }
}

fn files(command: &str) -> Vec<(PathBuf, &'static str)> {
    let history = (
        Path::new(store::FOLDER).join(store::FILE),
        "The history, a SQLite database.",
    );
    let pins = (
        Path::new(BPFFS).join("oomwatch"),
        "Programs and ring that the agent keeps in the kernel.",
    );
    let btf = (
        PathBuf::from("/sys/kernel/btf/vmlinux"),
        "The running kernel's types.",
    );
    let kmsg = (PathBuf::from("/dev/kmsg"), "The kernel log.");
    match command {
        "oomwatch" | "agent" | "doctor" => vec![history, pins, btf, kmsg],
        "watch" => vec![btf, kmsg],
        "history" | "explain" => vec![history],
        "cleanup" => vec![history, pins],
        _ => Vec::new(),
    }
}

fn environment(command: &Command) -> Vec<(String, String)> {
    let flags = command.get_arguments().filter_map(|argument| {
        let name = argument.get_env()?.to_str()?.to_owned();
        let flag = argument.get_long()?;
        Some((name, format!("The same as --{flag}.")))
    });
    let name = command.get_name();
    let others = ENVIRONMENT
        .iter()
        .filter(|(_, _, commands)| commands.contains(&name))
        .map(|(name, text, _)| ((*name).to_owned(), (*text).to_owned()));
    let mut environment: Vec<_> = flags.chain(others).collect();
    environment.sort();
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_exit_status_and_what_concerns_its_command() {
        let folder = tempfile::tempdir().expect("a folder");
        write_manual_pages(folder.path()).expect("write the pages");
        let page = |name: &str| {
            let page = fs::read_to_string(folder.path().join(name)).expect("a page");
            assert!(page.contains("EXIT STATUS"), "{page}");
            page
        };
        let agent = page("oomwatch-agent.1");
        for part in [
            "OOMWATCH_STATE_DIR",
            "KUBECONFIG",
            "oomwatch.db",
            "/sys/fs/bpf/oomwatch",
        ] {
            assert!(agent.contains(part), "{part}: {agent}");
        }
        let report = page("oomwatch-report.1");
        assert!(report.contains("NO_COLOR"), "{report}");
        assert!(!report.contains("FILES"), "{report}");
        page("oomwatch.1");
    }
}
