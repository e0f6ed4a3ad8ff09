//! Flags of `oomwatch doctor`.

use clap::Args;

use super::{
    shared::{KernelArgs, PinArgs},
    values::{COLORS, DOCTOR_OUTPUTS, one_of},
};
use crate::{
    commands::doctor::{DoctorConfig, OutputFormat},
    deliver::color::ColorChoice,
};

/// `oomwatch doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Output format
    #[arg(short, long, value_parser = one_of(DOCTOR_OUTPUTS), default_value = "text")]
    pub output: OutputFormat,
    /// When to color the lines
    #[arg(long, value_parser = one_of(COLORS), default_value = "auto")]
    pub color: ColorChoice,
    /// Where an agent pins.
    #[command(flatten)]
    pub pins: PinArgs,
    /// How kills are captured.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

impl From<DoctorArgs> for DoctorConfig {
    fn from(args: DoctorArgs) -> Self {
        let DoctorArgs {
            output,
            color,
            pins,
            kernel,
        } = args;
        Self {
            format: output,
            color,
            bpffs: pins.bpffs,
            capture: kernel.into(),
        }
    }
}
