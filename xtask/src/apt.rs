//! Debian packages: installing missing ones, and fetching packages of other releases.
//!
//! Packages are fetched by apt with its own configuration, lists and cache, from the archives in the machine's apt sources, so
//! that proxies and mirrors are used; the machine's lists are not changed. No address of an archive is built in.

pub(crate) mod version;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::exec::{self, Tool};
use crate::install::{How, Install};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The archive of Debian's that has a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    /// The one whose address ends in `/debian`.
    Main,
    /// The one whose address ends in `/debian-security`.
    Security,
}

/// One version of one package, as `apt-cache madison` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) package: String,
    pub(crate) version: String,
}

/// An apt that uses one suite only and keeps its files in one folder.
pub(crate) struct Apt {
    folder: PathBuf,
    suite: &'static str,
}

impl Apt {
    /// Writes the configuration below `folder` and downloads the suite's lists.
    pub(crate) fn update(folder: &Path, archive: Archive, suite: &'static str) -> Result<Self> {
        let address = address(archive)?;
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} not found (run `apt-get install debian-archive-keyring`)"
        );
        let folder = folder.join(suite);
        for name in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("failed to create {}", path.display()))?;
        }
        // The lists of an old release may have expired; their signature is still checked.
        let source = format!(
            "deb [arch=amd64 target=Packages check-valid-until=no signed-by={KEYRING}] {address} {suite} main\n"
        );
        let sources = folder.join("sources.list");
        fs::write(&sources, source)
            .with_context(|| format!("failed to write {}", sources.display()))?;
        let configuration = folder.join("apt.conf");
        fs::write(&configuration, configure(&folder)?)
            .with_context(|| format!("failed to write {}", configuration.display()))?;

        let apt = Self { folder, suite };
        eprintln!("fetching the package lists of {suite}");
        exec::output(&mut apt.command("apt-get", &["-qq", "update"]))
            .with_context(|| format!("failed to fetch the package lists of {suite}"))?;
        Ok(apt)
    }

    /// Every version of every package whose name matches this POSIX extended regular expression.
    pub(crate) fn candidates(&self, pattern: &str) -> Result<Vec<Candidate>> {
        let found =
            exec::output(&mut self.command("apt-cache", &["search", "--names-only", pattern]))?;
        let names: Vec<&str> = found
            .lines()
            .filter_map(|line| line.split_once(" - "))
            .map(|(name, _)| name)
            .collect();
        if names.is_empty() {
            bail!("{} has no package that matches {pattern}", self.suite);
        }
        let listed = exec::output(self.command("apt-cache", &["madison"]).args(&names))?;
        Ok(parse_madison(&listed))
    }

    /// Downloads the package into the folder, verifies it against the signed lists, and returns its path.
    pub(crate) fn download(&self, candidate: &Candidate, into: &Path) -> Result<PathBuf> {
        let Candidate { package, version } = candidate;
        eprintln!("fetching {package} {version}");
        let wanted = format!("{package}={version}");
        exec::output(
            self.command("apt-get", &["-qq", "download", &wanted])
                .current_dir(into),
        )
        .with_context(|| format!("failed to download {package} {version} of {}", self.suite))?;
        find_package(into, package)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.folder.join("apt.conf"))
            .args(args);
        command
    }
}

/// Unpacks a package's files into a folder.
pub(crate) fn unpack(package: &Path, into: &Path) -> Result<()> {
    exec::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(into)).map(drop)
}

/// What [`ensure_tools`] would install.
pub(crate) fn missing(tools: &[Tool]) -> Vec<Install> {
    missing_tools(tools)
        .map(|tool| Install {
            what: tool.package.to_owned(),
            how: How::Apt,
            seconds: 15,
        })
        .collect()
}

fn missing_tools(tools: &[Tool]) -> impl Iterator<Item = &Tool> {
    tools
        .iter()
        .filter(|tool| exec::find(tool.program).is_none())
}

/// Installs the missing tools. Where it cannot, the error has the command that does.
pub(crate) fn ensure_tools(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = missing_tools(tools).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let (programs, remedy) = (
        programs.join(", "),
        format!("apt-get install {}", packages.join(" ")),
    );
    if exec::find("apt-get").is_none() {
        bail!(
            "{programs} not found (install the equivalents of Debian's packages {})",
            packages.join(", ")
        );
    }
    if !exec::is_root() {
        bail!("{programs} not found (run `sudo {remedy}`)");
    }
    install(&packages).with_context(|| format!("{programs} not found, and `{remedy}` failed"))
}

fn install(packages: &[&str]) -> Result<()> {
    let get = |args: &[&str]| {
        exec::run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["-q", "-y", "--no-install-recommends"])
                .args(args),
        )
    };
    let wanted = [&["install"], packages].concat();
    if get(&wanted).is_ok() {
        return Ok(());
    }
    // The lists are missing or old, or an earlier installation is incomplete.
    get(&["update"])?;
    get(&["-f", "install"])?;
    get(&wanted)
}

/// The address of an archive in this machine's apt sources.
pub(crate) fn address(archive: Archive) -> Result<String> {
    ensure!(
        exec::find("apt-get").is_some() && exec::find("dpkg-deb").is_some(),
        "apt-get and dpkg-deb, which fetch packages, not found"
    );
    // It works without lists and without root, unlike `apt-get indextargets`.
    let uris = exec::output(Command::new("apt-get").args(["--print-uris", "update"]))
        .context("failed to list this machine's archives")?;
    let ending = match archive {
        Archive::Main => "/debian",
        Archive::Security => "/debian-security",
    };
    find_site(&uris, ending).with_context(|| {
        format!(
            "no archive in this machine's apt sources has an address that ends in {ending} (add one)"
        )
    })
}

/// The first archive of `apt-get --print-uris update` with that ending: `'SITE/dists/SUITE/InRelease' FILE 0`.
fn find_site(uris: &str, ending: &str) -> Option<String> {
    uris.lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once('\''))
        .filter_map(|(uri, _)| uri.split_once("/dists/"))
        .map(|(site, _)| site.trim_end_matches('/'))
        .find(|site| site.ends_with(ending))
        .map(str::to_owned)
}

fn configure(folder: &Path) -> Result<String> {
    let folder = folder
        .to_str()
        .filter(|path| !path.contains(['"', '\\', '\n']))
        .with_context(|| {
            format!(
                "{} cannot be written in apt's configuration",
                folder.display()
            )
        })?;
    // `#clear` removes the machine's hooks on updates.
    Ok(format!(
        r#"Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/cache/archives";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Update::Error-Mode "any";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    ))
}

/// `apt-cache madison`: ` package | version | site suite/component arch Packages`.
fn parse_madison(listed: &str) -> Vec<Candidate> {
    listed
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let (package, version, origin) = (columns.next()?, columns.next()?, columns.next()?);
            let is_binary = origin.ends_with(" Packages");
            let is_named = !package.is_empty() && !version.is_empty();
            (is_binary && is_named).then(|| Candidate {
                package: package.to_owned(),
                version: version.to_owned(),
            })
        })
        .collect()
}

fn find_package(folder: &Path, package: &str) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    for entry in
        fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?
    {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(".deb") {
            return Ok(entry.path());
        }
    }
    bail!(
        "apt-get downloaded no {prefix}*.deb into {}",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_found_by_the_end_of_its_address() {
        let uris = "'mirror+file:/etc/apt/m/debian/dists/x/InRelease' a 0 \n\
                    'http://mirror.test/debian/dists/bookworm/InRelease' b 0 \n\
                    'http://mirror.test/debian-security/dists/bookworm-security/InRelease' c 0 \n";
        assert_eq!(
            find_site(uris, "/debian").as_deref(),
            Some("mirror+file:/etc/apt/m/debian")
        );
        assert_eq!(
            find_site(uris, "/debian-security").as_deref(),
            Some("http://mirror.test/debian-security")
        );
    }

    #[test]
    fn malformed_lines_have_no_archive() {
        for uris in [
            "",
            "'",
            "''",
            "'http://mirror.test/debian' x 0",
            "http://mirror.test/debian/dists/bookworm/InRelease",
            "'http://mirror.test/ubuntu/dists/noble/InRelease' x 0",
            "'http://mirror.test/notdebian/dists/noble/InRelease' x 0",
        ] {
            assert_eq!(find_site(uris, "/debian"), None, "{uris}");
        }
    }

    #[test]
    fn madison_gives_binary_packages_only() {
        let listed = "  rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror.test/debian trixie-backports/main amd64 Packages\n\
                      linux |   6.1.1-1 | http://mirror.test/debian bookworm/main Sources\n";
        assert_eq!(
            parse_madison(listed),
            [Candidate {
                package: "rust-src".to_owned(),
                version: "1.96.1+dfsg1-2~bpo13+1".to_owned()
            }]
        );
    }

    #[test]
    fn malformed_madison_lines_are_left_out() {
        for listed in [
            "",
            "|",
            "||",
            "a | b",
            "a | | c Packages",
            " | 1 | c Packages",
            "N: Unable to locate",
        ] {
            assert_eq!(parse_madison(listed), [], "{listed}");
        }
    }

    #[test]
    fn folder_that_cannot_be_quoted_is_an_error() {
        assert!(configure(Path::new("/a b/c")).is_ok());
        assert!(configure(Path::new("/a\"b")).is_err());
        assert!(configure(Path::new("/a\nb")).is_err());
    }
}
