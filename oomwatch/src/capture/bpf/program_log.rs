//! Logs what the programs of an object with log lines print (`cargo xtask ebpf --bpf-log`).

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tracing::{info, warn};

use crate::capture::ring::ready::Ready;

/// Passes the lines on to `tracing`.
struct Tracing;

impl Log for Tracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        info!("bpf: {}", record.args());
    }

    fn flush(&self) {}
}

/// Starts a task that logs the lines of the programs. Must be called inside a tokio runtime.
pub(super) fn start(ebpf: &mut Ebpf) {
    let mut logger = match EbpfLogger::init_with_logger(ebpf, Tracing) {
        Ok(logger) => logger,
        Err(error) => {
            warn!(%error, "the BPF object has no log lines");
            return;
        }
    };
    let ready = match Ready::new(&logger) {
        Ok(ready) => ready,
        Err(error) => {
            warn!(%error, "failed to wait for the log of the BPF programs");
            return;
        }
    };
    tokio::spawn(async move {
        loop {
            logger.flush();
            if let Err(error) = ready.readable().await {
                warn!(%error, "failed to wait for the log of the BPF programs");
                return;
            }
        }
    });
}
