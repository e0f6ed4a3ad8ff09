//! Flags that several commands share, and the configuration they become.

use std::path::PathBuf;

use clap::{Args, ValueHint, builder::NonEmptyStringValueParser};
use jiff::tz::TimeZone;

use super::values::{BACKENDS, COLORS, OUTPUTS, SCOPES, one_of};
use crate::{
    capture::{bpf::pins::BPFFS, config::CaptureConfig},
    deliver::{
        color::ColorChoice,
        printer::{OutputConfig, OutputFormat},
        text::columns::Column,
    },
    identify::sockets::SocketChoice,
    model::{
        backend::Backend,
        cgroup::KubeletRoot,
        filter::{CgroupPath, Filter},
        kill::Scope,
        workload::WorkloadPattern,
    },
};

/// A backend; absent for `auto`. An alias because clap takes a field of type `Option` for an optional flag.
type BackendChoice = Option<Backend>;

/// How kills are captured, and where the kernel's files are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub struct KernelArgs {
    /// How kills are captured
    #[arg(long, value_parser = one_of(BACKENDS), default_value = "auto")]
    pub backend: BackendChoice,
    /// The running kernel's types in BTF
    #[arg(long, value_name = "FILE", default_value = "/sys/kernel/btf/vmlinux")]
    pub btf: PathBuf,
    /// The host's /proc
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    pub proc_root: PathBuf,
    /// The host's cgroup file system
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,
    /// The kernel log
    #[arg(long, value_name = "FILE", default_value = "/dev/kmsg")]
    pub kmsg: PathBuf,
}

impl From<KernelArgs> for CaptureConfig {
    fn from(args: KernelArgs) -> Self {
        let KernelArgs {
            backend,
            btf,
            proc_root,
            cgroup_root,
            kmsg,
        } = args;
        Self {
            backend,
            btf,
            proc_root,
            cgroup_root,
            kmsg,
        }
    }
}

/// What the agent keeps in the kernel while it does not run.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The BPF file system in which the agent pins its programs and its ring, so that they keep recording while it does not run
    #[arg(
        long,
        env = "OOMWATCH_BPFFS",
        value_name = "DIR",
        default_value = BPFFS,
        help_heading = "Kernel"
    )]
    pub bpffs: PathBuf,
}

/// Sockets of container runtimes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Container runtimes")]
pub struct RuntimeArgs {
    /// Socket of a runtime that speaks CRI, which names containers and pods; `auto` looks in the usual places
    #[arg(
        long,
        env = "OOMWATCH_CRI_SOCKET",
        value_name = "PATH|auto|off",
        default_value = "auto"
    )]
    pub cri_socket: SocketChoice,
    /// Docker's socket, which names its containers; `auto` looks in the usual place
    #[arg(
        long,
        env = "OOMWATCH_DOCKER_SOCKET",
        value_name = "PATH|auto|off",
        default_value = "auto"
    )]
    pub docker_socket: SocketChoice,
    /// Podman's sockets, each of which names the containers of the user whose Podman listens there; `auto` is root's in the usual place
    #[arg(
        long,
        env = "OOMWATCH_PODMAN_SOCKET",
        value_name = "PATH|auto|off",
        default_value = "auto",
        value_delimiter = ','
    )]
    pub podman_socket: Vec<SocketChoice>,
}

/// Where a kubelet has its pods.
#[derive(Debug, Args)]
pub struct KubeletArgs {
    /// The cgroup in which the node's kubelet has its pods, such as / or /kubelet.slice: nothing elsewhere is taken for a pod
    #[arg(
        long,
        env = "OOMWATCH_KUBELET_CGROUP_ROOT",
        value_name = "PATH",
        help_heading = "Kernel"
    )]
    pub kubelet_cgroup_root: Option<CgroupPath>,
}

impl From<KubeletArgs> for Option<KubeletRoot> {
    fn from(args: KubeletArgs) -> Self {
        let KubeletArgs {
            kubelet_cgroup_root,
        } = args;
        kubelet_cgroup_root.map(|root| KubeletRoot::at(root.as_bytes()))
    }
}

/// How kills are printed.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Output format
    #[arg(short, long, value_parser = one_of(OUTPUTS), default_value = "text")]
    pub output: OutputFormat,
    /// Columns of text output, separated by commas, such as time,pid,object; the titles of `-o wide` and node, incident
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_hint = ValueHint::Other)]
    pub columns: Option<Vec<Column>>,
    /// Print times in UTC instead of local time; JSON is always in UTC
    #[arg(long)]
    pub utc: bool,
    /// When to color the lines: red where the machine ran out of memory, bold where a container's main process was killed
    #[arg(long, value_parser = one_of(COLORS), default_value = "auto")]
    pub color: ColorChoice,
    /// Leave out the line with the column titles
    #[arg(long)]
    pub no_header: bool,
}

impl From<OutputArgs> for OutputConfig {
    fn from(args: OutputArgs) -> Self {
        let OutputArgs {
            output,
            columns,
            utc,
            color,
            no_header,
        } = args;
        Self {
            format: output,
            columns,
            zone: zone(utc),
            color,
            has_header: !no_header,
        }
    }
}

/// The time zone of text output, and of times on the command line that state none.
pub(super) fn zone(is_utc: bool) -> TimeZone {
    if is_utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    }
}

/// Filters; a kill is shown if it passes all of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Only pods of this namespace
    #[arg(short, long, value_name = "NAME", value_hint = ValueHint::Other, value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// Only pods with this name
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other, value_parser = NonEmptyStringValueParser::new())]
    pub pod: Option<String>,
    /// Only pods of this workload, such as Deployment/web or web
    #[arg(long, value_name = "KIND/NAME", value_hint = ValueHint::Other)]
    pub workload: Option<WorkloadPattern>,
    /// Only containers with this name, or whose id begins with it
    #[arg(short, long, value_name = "NAME|ID", value_hint = ValueHint::Other, value_parser = NonEmptyStringValueParser::new())]
    pub container: Option<String>,
    /// Only this systemd unit, such as nginx.service; `.service` may be left out
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other, value_parser = NonEmptyStringValueParser::new())]
    pub unit: Option<String>,
    /// Only victims in this cgroup or below it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::Other)]
    pub cgroup: Option<CgroupPath>,
    /// Only kills for which this ran out of memory
    #[arg(long, value_parser = one_of(SCOPES))]
    pub scope: Option<Scope>,
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs {
            namespace,
            pod,
            workload,
            container,
            unit,
            cgroup,
            scope,
        } = args;
        Self {
            namespace,
            pod,
            workload,
            container,
            unit,
            cgroup,
            scope,
            ..Self::default()
        }
    }
}
