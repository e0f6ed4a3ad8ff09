//! Any text as the command line, a word a line, and in the environment, lines `NAME=VALUE`: it is refused, or what
//! follows from it can be done.
#![no_main]

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    sync::LazyLock,
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    capture::observer::ways,
    cli::{AgentArgs, Cli, Command, FilterArgs, RuntimeArgs, Switch},
    deliver::events::{Next, Now, Policy, Recorder, Reporter},
    identify::fuzz,
    model::{filter::Filter, report::Report},
};

static REPORT: LazyLock<Report> = LazyLock::new(|| {
    let mut report = oomwatch_fuzz::report();
    if let Some(pod) = &mut report.pod {
        pod.namespace = Some("shop".to_owned());
        pod.name = Some("cart".to_owned());
    }
    report
});

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
            if let Some(timeout) = args.timeout {
                assert!(Duration::try_from(timeout).is_ok(), "{timeout}");
            }
            let _ = ways(args.kernel.hooks);
            filter(args.filter);
            sockets(&args.runtimes);
        }
        Command::Agent(args) => agent(*args),
        Command::Report(args) => filter(args.filter),
        _ => {}
    }
}

fn filter(args: FilterArgs) {
    let _ = Filter::new(args).matches(&REPORT);
}

fn sockets(args: &RuntimeArgs) {
    fuzz::socket(&args.cri_socket);
    fuzz::socket(&args.docker_socket);
}

/// An Event is about what was killed, and as it may be.
fn agent(args: AgentArgs) {
    let AgentArgs {
        node,
        events,
        names,
        ..
    } = args;
    sockets(&names.runtimes);
    let max_age = Duration::try_from(events.events_max_age).expect("positive");
    let start_delay = Duration::try_from(events.start_jitter).expect("positive");
    let policy = Policy {
        reporter: Reporter {
            component: events.events_component,
            node: node.unwrap_or_default(),
        },
        node_events: events.node_events == Switch::On,
        node_uid: events.events_node_uid,
        pod_events: events.pod_events == Switch::On,
        excluded_namespaces: events.events_exclude_namespace.into_iter().collect(),
        max_age,
        start_delay: start_delay.mul_f64(1.0),
    };
    let is_told = policy.pod_events && !policy.excluded_namespaces.contains("shop");
    let (clock_ns, kill_ns) = (1, 1);
    let mut recorder = Recorder::restore(policy, &[], clock_ns);
    let time = Timestamp::UNIX_EPOCH;
    recorder.take(
        &REPORT,
        Now {
            clock_ns,
            kill_ns,
            time,
        },
    );
    let next = recorder.next(clock_ns);
    assert_eq!(matches!(next, Next::Send(_)), is_told, "{next:?}");
}
