//! The command: reads what was typed, starts the log, runs, and ends with the right code.

use std::io;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use oomwatch::{
    cli::{Cli, Command, LogArgs, LogFormat, LogLevel},
    commands::{agent, cleanup, doctor, exit::Exit, history, report, watch},
};
use tokio::runtime::{self, Runtime};
use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

fn main() -> Exit {
    let Cli { command, log } = Cli::parse();
    start_log(&log);
    run(command).unwrap_or_else(|error| {
        error!("{error:#}");
        Exit::Failed
    })
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Watch(args) => runtime()?.block_on(watch::run(*args)),
        Command::Agent(args) => runtime()?.block_on(agent::run(*args)),
        Command::Doctor(args) => doctor::run(&args),
        Command::Cleanup(args) => runtime()?.block_on(cleanup::run(args)),
        Command::Report(args) => report::run(*args),
        Command::History(args) => history::run(*args),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "oomwatch", &mut script);
            print(&script)
        }
        Command::Man { folder } => {
            clap_mangen::generate_to(Cli::command(), &folder)
                .with_context(|| format!("write manual pages into {}", folder.display()))?;
            Ok(Exit::Done)
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// Writes to stdout; a reader that has enough is no failure.
fn print(bytes: &[u8]) -> anyhow::Result<Exit> {
    match io::Write::write_all(&mut io::stdout(), bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}

fn start_log(
    LogArgs {
        log_level,
        log_format,
    }: &LogArgs,
) {
    let level = match log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match log_format {
        LogFormat::Text => lines.without_time().with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let mut wanted = Targets::new().with_default(level);
    if level < LevelFilter::DEBUG {
        // It tells each failed request, which we tell as often as it is news.
        wanted = wanted.with_target("kube_client", LevelFilter::OFF);
    }
    tracing_subscriber::registry()
        .with(lines)
        .with(wanted)
        .init();
}
