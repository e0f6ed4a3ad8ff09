//! Log lines of the programs, for debugging them. Only an object built with the feature `bpf-log` has them.

/// Logs a line through aya-log. Expands to nothing without the feature.
macro_rules! log {
    ($($argument:tt)*) => {{
        #[cfg(feature = "bpf-log")]
        aya_log_ebpf::debug!((), $($argument)*);
    }};
}
pub(super) use log;
