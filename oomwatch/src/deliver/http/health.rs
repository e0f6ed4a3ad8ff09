//! The health of the agent's components, as `/readyz` shows it. Pure.

use std::fmt;

use crate::sys::escape::escape;

/// The most characters of a reason that are shown.
const MAX_REASON: usize = 300;

/// The agent's components. Without a backend or the history the agent is not ready; without the others it is ready and
/// degraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The capture backend sees kills.
    pub backend: ComponentHealth,
    /// The history database is writable.
    pub history: ComponentHealth,
    /// The API server answers: Events are delivered, and pods are known by name.
    pub api_server: ComponentHealth,
    /// The container runtime answers: containers are known by name.
    pub runtime: ComponentHealth,
}

/// The health of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentHealth {
    /// It works.
    Ok,
    /// It is turned off.
    Off,
    /// It works in a lesser way, and why.
    Degraded(String),
    /// It does not work, and why.
    Failed(String),
}

impl Default for Health {
    /// Nothing has been tried yet.
    fn default() -> Self {
        let not_yet = || ComponentHealth::Failed("not tried yet".to_owned());
        Self {
            backend: not_yet(),
            history: ComponentHealth::Off,
            api_server: not_yet(),
            runtime: not_yet(),
        }
    }
}

impl Health {
    /// Whether kills are captured and recorded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.backend.is_failed() && !self.history.is_failed()
    }

    /// Whether a component fails that the agent can do without, or kills are captured in a lesser way.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        let is_lesser = matches!(self.backend, ComponentHealth::Degraded(_));
        is_lesser || self.api_server.is_failed() || self.runtime.is_failed()
    }
}

impl ComponentHealth {
    fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// One line per component, and one for the agent.
impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            backend,
            history,
            api_server,
            runtime,
        } = self;
        for (name, state) in [
            ("backend", backend),
            ("history", history),
            ("api-server", api_server),
            ("runtime", runtime),
        ] {
            let (mark, word, why) = match state {
                ComponentHealth::Ok => ('+', "ok", None),
                ComponentHealth::Off => (' ', "off", None),
                ComponentHealth::Degraded(why) => ('-', "degraded", Some(why)),
                ComponentHealth::Failed(why) => ('-', "failed", Some(why)),
            };
            write!(formatter, "[{mark}] {name} {word}")?;
            if let Some(why) = why {
                let why: String = escape(why.as_bytes()).chars().take(MAX_REASON).collect();
                write!(formatter, ": {why}")?;
            }
            writeln!(formatter)?;
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

    fn failed() -> ComponentHealth {
        ComponentHealth::Failed("connection refused".to_owned())
    }

    fn healthy() -> Health {
        Health {
            backend: ComponentHealth::Ok,
            history: ComponentHealth::Ok,
            api_server: ComponentHealth::Ok,
            runtime: ComponentHealth::Off,
        }
    }

    #[test]
    fn only_backend_and_history_decide_readiness() {
        type Part = fn(&mut Health) -> &mut ComponentHealth;
        let parts: [(Part, bool, &str); 4] = [
            (|health| &mut health.backend, false, "not ready"),
            (|health| &mut health.history, false, "not ready"),
            (|health| &mut health.api_server, true, "ready, degraded"),
            (|health| &mut health.runtime, true, "ready, degraded"),
        ];
        for (part, is_ready, last) in parts {
            let mut health = healthy();
            *part(&mut health) = failed();
            assert_eq!(health.is_ready(), is_ready, "{health}");
            assert_eq!(health.to_string().lines().last(), Some(last), "{health}");
            *part(&mut health) = ComponentHealth::Off;
            assert!(health.is_ready() && !health.is_degraded(), "{health}");
        }
    }

    #[test]
    fn lesser_backend_is_ready_and_degraded() {
        let mut health = healthy();
        health.backend = ComponentHealth::Degraded("fentry recorded no kill".to_owned());
        let text = health.to_string();
        assert!(text.starts_with("[-] backend degraded: fentry recorded no kill\n"));
        assert!(text.ends_with("\nready, degraded\n"));
    }

    #[test]
    fn agent_is_not_ready_before_anything_was_tried() {
        assert!(!Health::default().is_ready());
    }

    #[test]
    fn each_component_has_a_line() {
        let mut health = healthy();
        health.api_server = failed();
        assert_eq!(
            health.to_string(),
            "[+] backend ok\n[+] history ok\n[-] api-server failed: connection refused\n[ ] runtime off\nready, degraded\n"
        );
    }

    #[test]
    fn reason_is_one_short_line() {
        let mut health = healthy();
        health.api_server =
            ComponentHealth::Failed(format!("a\nready\n\x1b[31m{}", "x".repeat(9999)));
        let text = health.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains(r"a\x0aready\x0a\x1b[31mxxx"), "{text}");
        assert!(text.len() < 500, "{}", text.len());
    }
}
