//! The sockets of container runtimes.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Each runtime that speaks CRI, with the usual path of its socket relative to `/`.
pub const CRI: [(&str, &str); 6] = [
    ("containerd", "run/containerd/containerd.sock"),
    ("k3s", "run/k3s/containerd/containerd.sock"),
    ("k0s", "run/k0s/containerd.sock"),
    ("microk8s", "var/snap/microk8s/common/run/containerd.sock"),
    ("CRI-O", "run/crio/crio.sock"),
    ("cri-dockerd", "run/cri-dockerd.sock"),
];

/// Docker's own socket, which does not speak CRI.
pub const DOCKER: (&str, &str) = ("Docker", "run/docker.sock");

/// Podman's socket for root's containers, which speaks Docker's API.
pub const PODMAN: (&str, &str) = ("Podman", "run/podman/podman.sock");

/// Which socket to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SocketChoice {
    /// The sockets that exist at the usual paths.
    #[default]
    Auto,
    /// No socket.
    Off,
    /// This one.
    Path(PathBuf),
}

impl FromStr for SocketChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "off" => Self::Off,
            path => Self::Path(path.strip_prefix("unix://").unwrap_or(path).into()),
        })
    }
}

impl SocketChoice {
    /// The sockets to try: the chosen one, or those of `usual` that exist below `root`, which is `/` except in tests.
    #[must_use]
    pub(super) fn candidates(&self, usual: &[(&str, &str)], root: &Path) -> Vec<PathBuf> {
        match self {
            Self::Off => Vec::new(),
            Self::Path(path) => vec![path.clone()],
            Self::Auto => usual
                .iter()
                .map(|(_, path)| root.join(path))
                .filter(|path| path.exists())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn choices_are_parsed() {
        for (text, expected) in [
            ("auto", SocketChoice::Auto),
            ("off", SocketChoice::Off),
            ("/run/x.sock", SocketChoice::Path("/run/x.sock".into())),
            (
                "unix:///run/x.sock",
                SocketChoice::Path("/run/x.sock".into()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn usual_sockets_are_tried_if_they_exist() {
        let root = tempfile::tempdir().expect("make a folder");
        let crio = root.path().join("run/crio/crio.sock");
        fs::create_dir_all(crio.parent().expect("below the root")).expect("make a folder");
        fs::write(&crio, "").expect("write a file");
        let tried = |choice: SocketChoice| choice.candidates(&CRI, root.path());
        assert_eq!(tried(SocketChoice::Auto), [crio]);
        assert!(tried(SocketChoice::Off).is_empty());
        assert_eq!(tried(SocketChoice::Path("/x".into())), [Path::new("/x")]);
    }
}
