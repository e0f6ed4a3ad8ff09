//! The client of the API server, and the Events sent through it. Without a client the agent keeps running.

use std::{error::Error, fs, panic::resume_unwind, sync::Arc, thread};

use anyhow::bail;
use kube::{Client, Config, config::AuthInfo};
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Duration};
use tracing::warn;

use crate::{
    capture::bpf::describe,
    commands::agent::config::{EventConfig, KubernetesChoice},
    deliver::{
        events::{DeliveryStat, EventSender, Events, Outcome, Policy, Reporter},
        http::ComponentHealth,
        metrics::Metrics,
    },
    identify::resolver::Resolver,
    model::report::Host,
    store::Restored,
    sys::{privileges, random},
};

/// How long a request may take.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What is known of the API server, and what is done with it.
pub(super) struct Api {
    /// Absent if none can be made, or none was asked for.
    client: Option<Client>,
    events: Events,
    delivery: Option<EventSender>,
    is_pod_watch_on: bool,
    is_event_on: bool,
    trouble: ApiHealth,
}

/// Why Events are not delivered, since the last one was.
#[derive(Clone, Debug, Default)]
struct ApiHealth(Arc<Mutex<Option<String>>>);

impl Api {
    /// Looks for one, as its pod or the environment says; asks it nothing yet.
    pub(super) async fn find(
        kubernetes: KubernetesChoice,
        events: EventConfig,
        pod_watch: bool,
        host: &Host,
        restored: &Restored,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let EventConfig {
            node_events,
            pod_events,
            excluded_namespaces,
            max_age,
            component,
            node_uid,
            start_jitter,
        } = events;
        let policy = Policy {
            reporter: Reporter {
                component,
                node: host.node.clone(),
            },
            node_events,
            node_uid,
            pod_events,
            excluded_namespaces,
            max_age,
            start_delay: jitter(start_jitter),
        };
        let is_event_on = policy.node_events || policy.pod_events;
        let client = if is_event_on || pod_watch {
            match client().await {
                Ok(client) => Some(client),
                Err(error) if kubernetes == KubernetesChoice::On => {
                    bail!("--kubernetes on: no configuration of an API server: {error}")
                }
                Err(error) => {
                    warn!(
                        error,
                        "no API server: Events are not recorded, and pods are named by the runtime and their logs"
                    );
                    None
                }
            }
        } else {
            None
        };
        let trouble = ApiHealth::default();
        let events = Events::new(policy, restored.clock.clone(), &restored.state, {
            let (metrics, trouble) = (metrics.clone(), trouble.clone());
            move |notice| {
                metrics.event_delivery(notice);
                trouble.notice(notice);
            }
        });
        let delivery = client
            .as_ref()
            .filter(|_| is_event_on)
            .map(|client| events.sender(client.clone(), REQUEST_TIME));
        Ok(Self {
            client,
            events,
            delivery,
            is_pod_watch_on: pod_watch,
            is_event_on,
            trouble,
        })
    }

    /// Where kills are handed over.
    pub(super) fn events(&self) -> Events {
        self.events.clone()
    }

    /// Has the node's pods watched, if that was asked for.
    pub(super) fn watch_pods(&self, names: &mut Resolver, node: &str) {
        if let Some(client) = &self.client
            && self.is_pod_watch_on
        {
            names.watch_pods(client.clone(), node);
        }
    }

    /// What can be said of it, to anyone: not what a file of the operator's has in it.
    pub(super) fn state(&self, is_watch_up: Option<bool>) -> ComponentHealth {
        match (&self.client, self.trouble.get()) {
            _ if !self.is_event_on && !self.is_pod_watch_on => ComponentHealth::Off,
            (None, _) => {
                ComponentHealth::Failed("no client for it: the agent's log says why".to_owned())
            }
            (Some(_), Some(why)) => ComponentHealth::Failed(why),
            (Some(_), None) if is_watch_up == Some(false) => {
                ComponentHealth::Failed("the watch of this node's pods is down".to_owned())
            }
            (Some(_), None) => ComponentHealth::Ok,
        }
    }

    /// Takes what brings Events to it; to be run beside all else.
    pub(super) fn delivery(&mut self) -> Option<EventSender> {
        self.delivery.take()
    }
}

impl ApiHealth {
    fn notice(&self, notice: &DeliveryStat) {
        match notice {
            DeliveryStat::Delayed { cause, .. } => {
                *self.0.lock() = Some(format!("Events are delayed: {}", cause.as_str()));
            }
            DeliveryStat::Settled { outcome, .. } => match outcome {
                Outcome::Accepted => *self.0.lock() = None,
                Outcome::Refused => {
                    let why = "Events are refused: the agent's log has the reason";
                    *self.0.lock() = Some(why.to_owned());
                }
                Outcome::NoNamespace
                | Outcome::Expired
                | Outcome::Overflow
                | Outcome::Abandoned
                | Outcome::Unnamed
                | Outcome::OptedOut
                | Outcome::Excluded => {}
            },
        }
    }

    fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// A client from `KUBECONFIG`, else from the pod's service account. Callers retry their requests.
async fn client() -> Result<Client, String> {
    // Behind its first line an error shows what stands in the file, which may be a token.
    let described = |error: &(dyn Error + 'static)| {
        let text = describe(error);
        text.lines().next().unwrap_or_default().to_owned()
    };
    let mut config = Config::infer().await.map_err(|error| described(&error))?;
    config.default_retry = false;
    trim_token(&mut config.auth_info);
    let made = if config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some() {
        without_capabilities(config)
    } else {
        Client::try_from(config)
    };
    made.map_err(|error| described(&error))
}

/// Makes a client whose configuration names a command, which is run for the first token: by a thread without capabilities, since
/// this one still has all of them.
fn without_capabilities(config: Config) -> Result<Client, kube::Error> {
    let runtime = Handle::current();
    let make = || {
        privileges::drop_all_capabilities();
        let _entered = runtime.enter();
        Client::try_from(config)
    };
    thread::scope(|scope| scope.spawn(make).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// The token of a `tokenFile` that ends in a newline, as one that was written by hand does: the client would send the newline, too.
/// Such a file is not read again when it changes.
fn trim_token(auth: &mut AuthInfo) {
    let path = auth.token_file.as_ref().filter(|_| auth.token.is_none());
    // Where it cannot be read, the client says so.
    let Some(text) = path.and_then(|path| fs::read_to_string(path).ok()) else {
        return;
    };
    let token = text.trim_end();
    if token.len() < text.len() {
        auth.token = Some(token.to_owned().into());
        auth.token_file = None;
    }
}

/// Some of it.
fn jitter(most: Duration) -> Duration {
    most.mul_f64(random::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::events::Object;

    fn config() -> Config {
        Config::new("https://127.0.0.1:1".parse().expect("a URL"))
    }

    #[tokio::test]
    async fn command_for_a_token_has_no_capabilities() {
        let folder = tempfile::tempdir().expect("make a folder");
        let seen = folder.path().join("status");
        let script = format!(
            r#"grep Cap /proc/self/status > {}; echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"t"}}}}'"#,
            seen.display()
        );
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "interactiveMode": "Never",
        });
        let mut config = config();
        config.auth_info.exec = Some(serde_json::from_value(exec).expect("a command"));
        without_capabilities(config).expect("a client");
        let status = fs::read_to_string(seen).expect("what the command saw");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let line = format!("{set}:\t0000000000000000");
            assert!(status.contains(&line), "{status}");
        }
    }

    #[tokio::test]
    async fn token_file_may_end_in_a_newline() {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("token");
        for (text, is_trimmed) in [("secret", false), ("secret\n", true)] {
            fs::write(&path, text).expect("write");
            let mut config = config();
            config.auth_info.token_file = Some(path.to_str().expect("text").to_owned());
            trim_token(&mut config.auth_info);
            assert_eq!(
                config.auth_info.token_file.is_none(),
                is_trimmed,
                "{text:?}"
            );
            Client::try_from(config).expect("a client");
        }
    }

    #[tokio::test]
    async fn proxy_is_supported() {
        let mut config = config();
        config.proxy_url = Some("http://127.0.0.1:3128".parse().expect("a URL"));
        Client::try_from(config).expect("a client");
    }

    #[test]
    fn refused_event_is_shown_until_one_is_accepted() {
        let health = ApiHealth::default();
        let settled = |outcome| DeliveryStat::Settled {
            object: Object::Pod,
            about: "shop/web".to_owned(),
            outcome,
            incidents: 1,
            age_ns: 0,
        };
        health.notice(&settled(Outcome::NoNamespace));
        assert_eq!(health.get(), None);
        health.notice(&settled(Outcome::Refused));
        // To anyone: neither the server's reason nor the pod.
        let why = "Events are refused: the agent's log has the reason";
        assert_eq!(health.get().as_deref(), Some(why));
        health.notice(&settled(Outcome::Expired));
        assert!(health.get().is_some());
        health.notice(&settled(Outcome::Accepted));
        assert_eq!(health.get(), None);
    }
}
