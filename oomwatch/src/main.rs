//! The command: reads the command line, starts the log, runs, and ends with the right exit code.

use std::io;

use anyhow::Context as _;
use jiff::Timestamp;
use oomwatch::{
    cli::{self, Cli, Command, EscapedLines, LogArgs, LogFormat},
    commands::{agent, cleanup, doctor, exit::Exit, explain, history, report, watch},
};
use tokio::runtime::{self, Runtime};
use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

fn main() -> Exit {
    let Cli { command, log } = cli::parse();
    start_log(&log);
    run(command).unwrap_or_else(|error| {
        error!("{error:#}");
        Exit::Failed
    })
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Watch(args) => runtime()?.block_on(watch::run((*args).into())),
        Command::Agent(args) => runtime()?.block_on(agent::run((*args).into())),
        Command::Doctor(args) => doctor::run(&args.into()),
        Command::Cleanup(args) => runtime()?.block_on(cleanup::run(args.into())),
        Command::Report(args) => report::run(args.config(Timestamp::now())),
        Command::History(args) => history::run(args.config(Timestamp::now())),
        Command::Explain(args) => explain::run((*args).into()),
        Command::Version => print(cli::version().as_bytes()),
        Command::Completions { shell } => print(&cli::completions(shell)),
        Command::Man { folder } => {
            cli::write_manual_pages(&folder).with_context(|| {
                format!("failed to write manual pages into {}", folder.display())
            })?;
            Ok(Exit::Done)
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// Writes to stdout; a closed pipe is no failure.
fn print(bytes: &[u8]) -> anyhow::Result<Exit> {
    match io::Write::write_all(&mut io::stdout(), bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}

fn start_log(log: &LogArgs) {
    let level = log.level();
    let lines = fmt::layer().with_target(false);
    let lines = match log.log_format {
        LogFormat::Text => lines
            .without_time()
            .with_ansi(false)
            .with_writer(|| EscapedLines)
            .boxed(),
        LogFormat::Json => lines.json().with_writer(io::stderr).boxed(),
    };
    let mut targets = Targets::new().with_default(level);
    if level < LevelFilter::DEBUG {
        // It logs each failed request; oomwatch logs a failure once, until it changes.
        targets = targets.with_target("kube_client", LevelFilter::OFF);
    }
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
}
