//! Any text as the command line, a word a line, and in the environment, lines `NAME=VALUE`: it is refused, or what
//! follows from it can be done.
#![no_main]

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    sync::LazyLock,
};

use clap::{CommandFactory as _, Parser as _};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    cli::{Cli, Command},
    commands::{agent::AgentConfig, watch::WatchConfig},
    deliver::events::{Next, Policy, RecordTimes, Recorder, Reporter},
    identify::fuzz,
    model::report::Report,
};

static REPORT: LazyLock<Report> = LazyLock::new(oomwatch_fuzz::report_of_a_named_pod);

/// All variables that any command reads.
static VARIABLES: LazyLock<Vec<OsString>> = LazyLock::new(|| {
    let command = Cli::command();
    let commands = command.get_subcommands();
    let arguments = commands.flat_map(clap::Command::get_arguments);
    arguments
        .filter_map(|argument| argument.get_env().map(OsStr::to_owned))
        .collect()
});

fuzz_target!(|input: &[u8]| {
    let mut words = vec![OsStr::new("oomwatch")];
    for name in &*VARIABLES {
        // SAFETY: no other thread reads the environment.
        unsafe { env::remove_var(name) };
    }
    for line in input.split(|&byte| byte == b'\n') {
        let parts = line
            .iter()
            .position(|&byte| byte == b'=')
            .map(|at| line.split_at(at));
        match parts {
            Some((name, value)) if VARIABLES.iter().any(|known| known.as_bytes() == name) => {
                let value = OsStr::from_bytes(&value[1..]);
                if !value.as_bytes().contains(&0) {
                    // SAFETY: as above.
                    unsafe { env::set_var(OsStr::from_bytes(name), value) };
                }
            }
            _ => words.push(OsStr::from_bytes(line)),
        }
    }
    match Cli::try_parse_from(words) {
        Err(refused) => assert!(!refused.to_string().is_empty()),
        Ok(Cli { command, log: _ }) => follow(command),
    }
});

fn follow(command: Command) {
    match command {
        Command::Watch(args) => {
            let config = WatchConfig::from(*args);
            let _ = config.filter.matches(&REPORT);
            fuzz::socket(&config.cri_socket);
            fuzz::socket(&config.docker_socket);
        }
        Command::Agent(args) => agent((*args).into()),
        Command::Report(args) => {
            let _ = args.config(Timestamp::UNIX_EPOCH).filter.matches(&REPORT);
        }
        _ => {}
    }
}

/// An Event is about what was killed, and as it may be.
fn agent(config: AgentConfig) {
    fuzz::socket(&config.cri_socket);
    fuzz::socket(&config.docker_socket);
    let events = config.events;
    let policy = Policy {
        reporter: Reporter {
            component: events.component,
            node: config.node.unwrap_or_default(),
        },
        node_events: events.node_events,
        node_uid: events.node_uid,
        pod_events: events.pod_events,
        excluded_namespaces: events.excluded_namespaces,
        max_age: events.max_age,
        start_delay: events.start_jitter,
    };
    let is_told = policy.pod_events && !policy.excluded_namespaces.contains("shop");
    let (clock_ns, kill_ns) = (1, 1);
    let mut recorder = Recorder::restore(policy, &[], clock_ns);
    let times = RecordTimes {
        now_ns: clock_ns,
        kill_ns,
        wall_time: Timestamp::UNIX_EPOCH,
    };
    recorder.record(&REPORT, times);
    let next = recorder.next(clock_ns);
    assert_eq!(matches!(next, Next::Send(_)), is_told, "{next:?}");
}
