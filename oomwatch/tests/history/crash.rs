use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ExitCode, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use oomwatch::{
    model::persist::Change,
    store::{Answers, Batch, History, RowState},
};

use crate::fixtures::{itself, kill, open, runtime, saved, value};

const ROUNDS: u32 = 20;

/// A pseudo-random number generator.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = std::env::var("OOMWATCH_SEED");
        let seed = seed.ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(7, |now| u64::from(now.subsec_nanos()))
        });
        eprintln!("OOMWATCH_SEED={seed}");
        Self(seed)
    }

    /// A number below a bound (Knuth's MMIX generator; its upper bits are the better ones).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The agent writes a counter in the same transaction as the kills; the two agree at whatever moment it is killed.
pub(crate) fn any_moment() {
    let mut chance = Chance::new();
    let folder = tempfile::tempdir().expect("make a folder");
    let folder = folder.path();
    let mut written = 0;
    for round in 0..ROUNDS {
        let mut agent = itself()
            .arg("crash")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start an agent");
        let delivered = kill_after(&mut agent, 1 + chance.below(60), chance.below(3000));
        let check: String = value(folder, "PRAGMA integrity_check");
        assert_eq!(check, "ok", "round {round}");
        let next: i64 = value(
            folder,
            "SELECT CAST(value AS INTEGER) FROM state WHERE part = 'test' AND key = 'next'",
        );
        let kills: i64 = value(folder, "SELECT sum(kills) FROM kills");
        assert_eq!(kills, next, "round {round}: each kill once");
        assert!(
            next >= delivered,
            "round {round}: {next} of {delivered} that were saved"
        );
        assert!(next > written, "round {round}: it keeps writing");
        written = next;
    }
    // Delivered kills of one container are coalesced.
    let delivered: i64 = value(folder, "SELECT count(*) FROM kills WHERE state = 2");
    let minutes = written / 600 + 1;
    assert!(
        delivered <= 21 * minutes,
        "{delivered} rows in {minutes} minutes"
    );
}

/// Kills the agent some microseconds after this many answers. Returns the last answer before.
fn kill_after(agent: &mut Child, answers: u64, microseconds: u64) -> i64 {
    let stdout = agent.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines();
    let mut delivered = 0;
    for _ in 0..answers {
        let line = lines.next().expect("it keeps running").expect("a line");
        delivered = line.parse().expect("a number");
    }
    let until = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < until {}
    agent.kill().expect("kill it");
    agent.wait().expect("wait for it");
    for line in lines.map_while(Result::ok) {
        // The last line may be truncated.
        delivered = line.parse().unwrap_or(delivered).max(delivered);
    }
    delivered
}

/// An agent: resumes from the database, and prints how many kills are saved.
pub(crate) fn agent(folder: &str) -> ExitCode {
    runtime().block_on(async {
        let (history, mut answers, restored) = open(Path::new(folder));
        let next = restored.state.iter().find(|entry| entry.key == "next");
        let mut next: u64 = next.map_or(0, |entry| entry.value.parse().expect("a number"));
        let (mut bare, mut named) = (Vec::new(), Vec::new());
        for (state, report) in restored.undelivered {
            match state {
                RowState::New => bare.push(report),
                _ => named.push(report.id),
            }
        }
        loop {
            let count = 1 + next % 7;
            let kills: Vec<_> = (next..next + count).map(kill).collect();
            next += count;
            let now_named = std::mem::replace(&mut bare, kills.clone());
            let ids = now_named.iter().map(|report| report.id.clone()).collect();
            let batch = Batch {
                kills,
                delivered: std::mem::replace(&mut named, ids),
                named: now_named,
                state: vec![Change {
                    part: "test",
                    key: "next".to_owned(),
                    value: Some(next.to_string()),
                    is_new: false,
                }],
                ..Batch::default()
            };
            write(&history, &mut answers, &batch).await;
            // Fails only if the test has ended.
            if writeln!(std::io::stdout(), "{next}").is_err() {
                return ExitCode::FAILURE;
            }
        }
    })
}

async fn write(history: &History, answers: &mut Answers, batch: &Batch) {
    let ticket = history.write(batch);
    let duplicates = saved(answers, ticket).await;
    assert!(duplicates.is_empty(), "{duplicates:?} came twice");
}
