//! Examples and exit codes, shown by `--help`.

pub(super) const WATCH: &str = "\
Examples:
  oomwatch watch                                every kill, until Ctrl-C
  oomwatch watch -o json --count 1              one kill as JSON, then end
  oomwatch watch --cgroup /system.slice -o wide kills below a cgroup, with all columns
  oomwatch watch --unit nginx                   kills in one systemd unit
  oomwatch watch --columns time,object,rss      chosen columns
  oomwatch watch --scope system --timeout 1h    an hour of kills for which the whole machine was out of memory

Exit codes: 0 done (also at --count, at --timeout, and when the reader of stdout is gone), 1 failed,
2 wrong usage, 130 ended by SIGINT, SIGTERM or SIGHUP.";

pub(super) const AGENT: &str = "\
Examples:
  oomwatch agent                                           as the DaemonSet runs it: the API server that the pod is given
  KUBECONFIG=~/.kube/config oomwatch agent --node node-1   by hand on a node, as the user of that file
  oomwatch agent --pod-events off --listen 127.0.0.1:10137  only the node's Events, metrics for this machine only

Without an API server the agent keeps running: kills are counted, logged, and kept for the API server
for as long as --events-max-age says. It exits if no backend attaches. If the history is not writable
it keeps running and reports not ready. A second agent waits until the first has ended.

Exit codes: 0 ended by SIGINT or SIGTERM, 1 failed, 2 wrong usage.";

pub(super) const DOCTOR: &str = "\
Status of a check:
  ok    present
  info  absent or unusual, and watch works without it
  warn  watch works, with less detail
  FAIL  watch cannot work

Every check is made for real: the programs of each backend are loaded and attached, files are opened,
sockets are connected to. Nothing stays attached.

The backends, best first: fentry, kprobe, raw-tracepoint, kmsg, counters. A refused one is no loss
while raw-tracepoint or a better one works. With --backend the checks are judged for a watch that is
started with the same option. docs/compatibility.md says what each backend needs and reports.

The keys of -o json: schema, version, works (true or false), backend (the one that watch uses),
summary, and checks, a list of objects of group, name, status (ok, info, warn, fail), finding and
remedy. Keys may be added, never renamed.

Exit codes: 0 watch works here, 1 it does not, 2 wrong usage.";

pub(super) const REPORT: &str = "\
Examples:
  dmesg | oomwatch report -                         the kills since boot, as far back as the log goes
  journalctl -k -b -1 | oomwatch report -o wide -   those of the boot before
  oomwatch report -o json --node n1 kern.log        one JSON object per kill

Reads dmesg, journalctl -k, syslog and /dev/kmsg; each line is recognised by its own form. A log has
less detail than watch: above ten kills in five seconds the kernel leaves out the victim's cgroup.

Exit codes: 0 done (also without a kill, and when the reader closes the pipe), 1 failed, 2 wrong usage.";

pub(super) const HISTORY: &str = "\
Examples:
  oomwatch history                                  the newest thousand kills, newest last
  oomwatch history --since 24h -n shop              one day of one namespace
  oomwatch history --since yesterday --until today  the day before
  oomwatch history --pod cart-0 -o json --limit 0   all kills of one pod as JSON
  oomwatch history --state-dir ./oomwatch.db        a copy of the file

Can run while the agent writes. A container that loses many processes within a minute has one line
with their number for those beyond twenty. Kills that were only counted are shown whatever the filters.

Exit codes: 0 done (also without a kill, and when the reader closes the pipe), 1 failed, 2 wrong usage.";

pub(super) const EXPLAIN: &str = "\
Examples:
  oomwatch explain                                   the newest kill in the history
  oomwatch explain 0f1e2d3c-1176592e000              the kill whose id begins so (oomwatch history -o json)
  oomwatch explain -o html > kill.html               the same as a page for a browser
  dmesg | oomwatch explain --log -                   every kill in a kernel log
  kubectl logs POD | oomwatch explain --json -       kills that another oomwatch printed as JSON

The page has names of processes and pods of all namespaces: it is for the node's operator.

Exit codes: 0 done (also when the reader closes the pipe), 1 failed or no such kill, 2 wrong usage.";

pub(super) const CLEANUP: &str = "\
Examples:
  oomwatch cleanup                what the agent has pinned: its programs are detached, the history stays
  oomwatch cleanup --history      the history too

Prints each path that it removes, one per line, and leaves everything else alone. It removes nothing
while an agent runs: stop the agent first.

Exit codes: 0 all is removed (also if there was nothing), 1 something is still there, 2 wrong usage.";
