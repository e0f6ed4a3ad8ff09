//! Against the scripted server.

use std::time::{Duration, Instant};

use oomwatch::deliver::events::{Cause, NodeUid, Outcome};
use serde_json::{Value, json};

use crate::{
    delivery::{Agent, PATIENCE},
    kills::{in_pod, of_system},
    scripted::{Reply, Scripted, event, failure},
};

pub(crate) async fn server_that_asks_for_time_is_given_it() {
    let wait = Reply::Say(429, "Retry-After: 2\r\n", String::new());
    let server = Scripted::start(vec![wait]);
    let mut agent = Agent::new(server.client());
    agent.take(&in_pod("shop", "cart-0", 1));
    agent.until(Outcome::Accepted, 1).await;
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let waited = asked[1].at.duration_since(asked[0].at);
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(agent.delays(Cause::TooMany), 1);
}

// C51, C53 and C55, where we try more often than client-go.
pub(crate) async fn every_passing_failure_is_tried_again() {
    for (reply, cause) in [
        (failure(401, "Unauthorized"), Cause::Unauthorized),
        (failure(403, "Forbidden"), Cause::Forbidden),
        (failure(500, "InternalError"), Cause::ServerError),
        (
            Reply::Say(503, "", "upstream connect error".to_owned()),
            Cause::ServerError,
        ),
        (
            Reply::Say(200, "", "<html>log in</html>".to_owned()),
            Cause::Unreadable,
        ),
        (Reply::Say(201, "", String::new()), Cause::Unreadable),
        (
            Reply::Say(404, "", "default backend - 404".to_owned()),
            Cause::Unreadable,
        ),
        (Reply::HangUp, Cause::Unreachable),
    ] {
        let server = Scripted::start(vec![reply.clone()]);
        let mut agent = Agent::new(server.client());
        agent.take(&in_pod("shop", "cart-0", 1));
        agent.until(Outcome::Accepted, 1).await;
        assert_eq!(agent.delays(cause), 1, "{reply:?}");
        let asked = server.asked();
        assert_eq!(asked.len(), 2, "{reply:?} {asked:?}");
        assert_eq!(asked[0].body, asked[1].body);
        for request in asked {
            assert_eq!(request.method, "POST");
            assert_eq!(request.path, "/api/v1/namespaces/shop/events");
        }
    }
}

pub(crate) async fn answer_that_never_comes_blocks_nobody() {
    let server = Scripted::start(vec![Reply::Silence]);
    let mut agent = Agent::with(server.client(), Duration::from_secs(3), NodeUid::Real);
    agent.take(&in_pod("shop", "cart-0", 1));
    agent.take(&in_pod("shop", "cart-1", 2));
    agent.until(Outcome::Accepted, 1).await;
    // The other one's request is still under way.
    assert_eq!(agent.delays(Cause::Unreachable), 0);
    agent.until(Outcome::Accepted, 2).await;
    assert_eq!(agent.delays(Cause::Unreachable), 1);
}

// The body of the PATCH: C34.
pub(crate) async fn answer_that_was_lost_is_no_second_event() {
    let exists = failure(409, "AlreadyExists");
    let server = Scripted::start(vec![Reply::HangUp, exists, event()]);
    let mut agent = Agent::new(server.client());
    agent.take(&of_system(7));
    agent.until_delayed(Cause::Unreachable).await;
    agent.take(&of_system(7));
    agent.until(Outcome::Accepted, 2).await;
    let asked = server.asked();
    let requests: Vec<_> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(requests, ["POST", "POST", "PATCH"]);
    let created: Value = serde_json::from_str(&asked[1].body).expect("JSON");
    let name = created["metadata"]["name"].as_str().expect("a name");
    let path = format!("/api/v1/namespaces/default/events/{name}");
    assert_eq!(asked[2].path, path);
    let changed: Value = serde_json::from_str(&asked[2].body).expect("JSON");
    let expected = json!({
        "count": 2,
        "lastTimestamp": created["lastTimestamp"],
        "message": "System OOM encountered, victim process: tail, pid: 7",
    });
    assert_eq!(changed, expected);
}

pub(crate) async fn invalid_event_is_refused_once() {
    let script = vec![
        failure(422, "Invalid"),
        failure(400, "BadRequest"),
        Reply::Say(413, "", "too large".to_owned()),
    ];
    let server = Scripted::start(script);
    let mut agent = Agent::new(server.client());
    for (refused, pod) in [(1, "cart-0"), (2, "cart-1"), (3, "cart-2")] {
        agent.take(&in_pod("shop", pod, 1));
        agent.until(Outcome::Refused, refused).await;
    }
    agent.take(&in_pod("shop", "cart-3", 1));
    agent.until(Outcome::Accepted, 1).await;
    assert_eq!(server.asked().len(), 4);
}

// C56.
pub(crate) async fn drain_gives_up_in_time() {
    let server = Scripted::start(vec![Reply::Silence]);
    let mut agent = Agent::new(server.client());
    agent.take(&in_pod("shop", "cart-0", 1));
    agent.take(&in_pod("shop", "cart-1", 1));
    let began = Instant::now();
    agent.drain_within(Duration::from_secs(1)).await;
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(agent.settled(Outcome::Accepted), 1);
    assert_eq!(agent.settled(Outcome::Abandoned), 1);
    assert_eq!(agent.events.pending(), 0);
    assert_eq!(server.asked().len(), 2);
}

pub(crate) async fn drain_can_keep_what_is_left_for_the_next_start() {
    let server = Scripted::start(vec![Reply::Silence]);
    let mut agent = Agent::new(server.client());
    agent.take(&in_pod("shop", "cart-0", 1));
    agent.take(&in_pod("shop", "cart-1", 1));
    let saved = agent.save_within(Duration::from_secs(1)).await;
    assert_eq!(agent.settled(Outcome::Accepted), 1);
    assert_eq!(agent.settled(Outcome::Abandoned), 0);
    let mut agent = Agent::restored(server.client(), PATIENCE, NodeUid::Real, &saved);
    assert_eq!(agent.events.pending(), 1);
    agent.until(Outcome::Accepted, 1).await;
    let asked = server.asked();
    let bodies: Vec<_> = asked.iter().map(|asked| &asked.body).collect();
    let [silenced, other, again] = bodies.as_slice() else {
        panic!("three requests: {bodies:?}");
    };
    assert_eq!(silenced, again);
    assert_ne!(silenced, other);
}
