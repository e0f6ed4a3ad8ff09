//! How the agent is: pure.

use std::fmt;

use crate::sys::escape::escape;

/// Characters of a reason that are shown.
const MAX_REASON: usize = 300;

/// What the agent stands on. Without hooks or journal it is not ready; without the rest it is ready and degraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Kills are seen.
    pub hooks: State,
    /// They are kept.
    pub journal: State,
    /// The API server answers: Events are recorded, pods are known.
    pub api_server: State,
    /// The container runtime answers: containers are known.
    pub runtime: State,
}

/// How one of those is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Well.
    Ok,
    /// Not asked for.
    Off,
    /// Not there, and why.
    Failed(String),
}

impl Default for Health {
    /// Before anything was tried.
    fn default() -> Self {
        let not_yet = || State::Failed("not tried yet".to_owned());
        Self {
            hooks: not_yet(),
            journal: State::Off,
            api_server: not_yet(),
            runtime: not_yet(),
        }
    }
}

impl Health {
    /// Whether kills are seen and kept.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.hooks.is_failed() && !self.journal.is_failed()
    }

    /// Whether something is missing that it can do without.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.api_server.is_failed() || self.runtime.is_failed()
    }
}

impl State {
    fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// A line each, and one for the whole.
impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hooks,
            journal,
            api_server,
            runtime,
        } = self;
        for (name, state) in [
            ("hooks", hooks),
            ("journal", journal),
            ("api-server", api_server),
            ("runtime", runtime),
        ] {
            match state {
                State::Ok => writeln!(formatter, "[+] {name} ok")?,
                State::Off => writeln!(formatter, "[ ] {name} off")?,
                State::Failed(why) => {
                    let why: String = escape(why.as_bytes()).chars().take(MAX_REASON).collect();
                    writeln!(formatter, "[-] {name} failed: {why}")?;
                }
            }
        }
        formatter.write_str(match (self.is_ready(), self.is_degraded()) {
            (true, false) => "ready\n",
            (true, true) => "ready, degraded\n",
            (false, _) => "not ready\n",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> State {
        State::Failed("connection refused".to_owned())
    }

    fn healthy() -> Health {
        Health {
            hooks: State::Ok,
            journal: State::Ok,
            api_server: State::Ok,
            runtime: State::Off,
        }
    }

    #[test]
    fn only_hooks_and_journal_make_it_unready() {
        type Part = fn(&mut Health) -> &mut State;
        let parts: [(Part, bool, &str); 4] = [
            (|health| &mut health.hooks, false, "not ready"),
            (|health| &mut health.journal, false, "not ready"),
            (|health| &mut health.api_server, true, "ready, degraded"),
            (|health| &mut health.runtime, true, "ready, degraded"),
        ];
        for (part, is_ready, last) in parts {
            let mut health = healthy();
            *part(&mut health) = failed();
            assert_eq!(health.is_ready(), is_ready, "{health}");
            assert_eq!(health.to_string().lines().last(), Some(last), "{health}");
            *part(&mut health) = State::Off;
            assert!(health.is_ready() && !health.is_degraded(), "{health}");
        }
    }

    #[test]
    fn before_anything_was_tried_it_is_not_ready() {
        assert!(!Health::default().is_ready());
    }

    #[test]
    fn each_part_has_its_line() {
        let mut health = healthy();
        health.api_server = failed();
        assert_eq!(
            health.to_string(),
            "[+] hooks ok\n[+] journal ok\n[-] api-server failed: connection refused\n[ ] runtime off\nready, degraded\n"
        );
    }

    #[test]
    fn reason_is_one_short_line() {
        let mut health = healthy();
        health.api_server = State::Failed(format!("a\nready\n\x1b[31m{}", "x".repeat(9999)));
        let text = health.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains(r"a\x0aready\x0a\x1b[31mxxx"), "{text}");
        assert!(text.len() < 500, "{}", text.len());
    }
}
