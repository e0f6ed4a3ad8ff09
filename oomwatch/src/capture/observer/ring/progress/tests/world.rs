//! A simulated machine: BPF programs that write to rings, bpffs that keeps them, an agent that may be killed at any time, and
//! a store that outlives it.

use std::{collections::BTreeMap, convert::Infallible};

use oomwatch_ebpf::record::SIGNAL_SENT;

use super::super::*;
use crate::{
    capture::{
        bpf::{pins::GenerationName, symbols::Symbols},
        observer::ring::generation::{
            Generation, Previous, Unreadable, divide, is_reported, unreported,
        },
    },
    model::kill::NonKillKind,
    testing::{RecordBuilder, stack},
};

const KALLSYMS: &str = "\
ffffffff81000000 T _stext
ffffffff81200000 t oom_kill_memcg_member
ffffffff81200100 t __oom_kill_process
ffffffff81200200 t oom_kill_process
ffffffff81200300 T out_of_memory
ffffffff81200400 t mem_cgroup_out_of_memory
ffffffff81200500 t x
";

/// A process that the OOM killer kills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    pub(super) trigger: u32,
    /// Whether it is a further member of a group.
    pub(super) is_member: bool,
}

/// The only victim of an incident.
pub(super) fn alone(pid: u32) -> Target {
    Target {
        pid,
        trigger: 10_000 + pid,
        is_member: false,
    }
}

/// A further member of the group whose first victim is `alone(first)`.
pub(super) fn member(pid: u32, first: u32) -> Target {
    Target {
        pid,
        trigger: 10_000 + first,
        is_member: true,
    }
}

/// The bytes that a program writes.
pub(super) fn record(target: Target, boot_time_ns: u64) -> Vec<u8> {
    const INNER: u64 = 0xffff_ffff_8120_0110;
    let outer = [
        0xffff_ffff_8120_0210,
        0xffff_ffff_8120_0310,
        0xffff_ffff_8120_0410,
        0xffff_ffff_8100_0010,
    ];
    let frames = if target.is_member {
        [&[INNER, 0xffff_ffff_8120_0010][..], &outer].concat()
    } else {
        [&[INNER][..], &outer].concat()
    };
    RecordBuilder::new()
        .set(|record| {
            record.header.boot_time_ns = boot_time_ns;
            record.victim.tgid = target.pid;
            record.victim.tid = target.pid;
            record.start_time_ns = u64::from(target.pid);
            record.trigger.tid = target.trigger;
            record.signal = SIGNAL_SENT;
            record.stack = stack(&frames);
        })
        .bytes()
}

/// Attached programs and their ring.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) name: GenerationName,
    is_pinned: bool,
    is_attached: bool,
    pub(super) has_current_layout: bool,
    /// Complete records by position.
    records: BTreeMap<u64, Vec<u8>>,
    produced: u64,
    released: u64,
    rejected: u64,
}

impl Programs {
    fn write(&mut self, capacity: u64, record: Vec<u8>) {
        let length = record.len() as u64;
        if self.produced + length - self.released > capacity {
            self.rejected += 1;
        } else {
            self.records.insert(self.produced, record);
            self.produced += length;
        }
    }

    fn end_of(&self, position: u64) -> u64 {
        position + self.records[&position].len() as u64
    }
}

/// What the store has committed.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) cursor: Option<Cursor>,
    /// Process id and incident time of each kill.
    pub(super) kills: Vec<(u32, u64)>,
    pub(super) rekills: Vec<u32>,
    pub(super) losses: Losses,
}

/// A running agent.
pub(super) struct Agent {
    pub(super) progress: RingProgress,
    /// Names of the generations of `progress`, and up to where the ring of each was read.
    rings: Vec<(GenerationName, u64)>,
    /// Delivered and not stored.
    items: Vec<CaptureItem>,
    stored: Losses,
    /// How long a kill waits for the kernel log.
    pub(super) patience: Option<Duration>,
}

pub(super) struct World {
    /// Since boot.
    pub(super) clock_ns: u64,
    pub(super) now: Instant,
    pub(super) capacity: u64,
    pub(super) programs: Vec<Programs>,
    pub(super) store: Store,
    previous: Vec<Generation>,
    pub(super) agent: Option<Agent>,
    /// Kills that a pinned program has seen.
    pub(super) seen: Vec<u32>,
}

impl World {
    /// A machine on which no agent has run.
    pub(super) fn new() -> Self {
        Self {
            clock_ns: 1_000_000,
            now: Instant::now(),
            capacity: 1 << 20,
            programs: Vec::new(),
            store: Store::default(),
            previous: Vec::new(),
            agent: None,
            seen: Vec::new(),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.clock_ns += u64::try_from(time.as_nanos()).expect("a short time");
    }

    /// The OOM killer kills a process; each attached program writes a record of its own.
    pub(super) fn kill(&mut self, target: Target) {
        if self
            .programs
            .iter()
            .any(|programs| programs.is_pinned && programs.is_attached)
            && !self.seen.contains(&target.pid)
        {
            self.seen.push(target.pid);
        }
        for programs in self.programs.iter_mut().filter(|found| found.is_attached) {
            self.clock_ns += 1;
            programs.write(self.capacity, record(target, self.clock_ns));
        }
    }

    /// Start, step 1: the own programs are attached.
    pub(super) fn attach(&mut self) {
        self.programs.push(Programs {
            name: GenerationName::new(self.clock_ns),
            is_pinned: false,
            is_attached: true,
            has_current_layout: true,
            records: BTreeMap::new(),
            produced: 0,
            released: 0,
            rejected: 0,
        });
    }

    /// Start, step 2: the previous generations are opened, and the own one is pinned.
    pub(super) fn pin(&mut self) {
        let cursor = self.store.cursor.as_ref();
        let (own, clock_ns) = (self.programs.len() - 1, self.clock_ns);
        let mut index = 0;
        self.programs.retain(|programs| {
            index += 1;
            index > own || !is_reported(programs.name, cursor, clock_ns)
        });
        let [previous @ .., own] = &mut self.programs[..] else {
            panic!("no programs are attached");
        };
        self.previous = previous
            .iter()
            .map(|programs| {
                let mut generation = Generation::new(programs.name, programs.released);
                let cursor = generation.own_cursor(cursor);
                if let Some(cursor) = cursor
                    && (programs.released..=programs.produced).contains(&cursor.position)
                {
                    generation.position = cursor.position;
                }
                generation.previous = Some(Previous {
                    rejected: programs.rejected,
                    unreported: unreported(programs.rejected, cursor),
                    has_current_layout: programs.has_current_layout,
                    unreadable: None,
                });
                generation
            })
            .collect();
        if !previous.is_empty() {
            own.name = GenerationName::new(clock_ns);
        }
        own.is_pinned = true;
    }

    /// Start, step 3: the previous programs are detached. The agent runs.
    pub(super) fn detach(&mut self) {
        let [previous @ .., own] = &mut self.programs[..] else {
            panic!("no programs are attached");
        };
        for programs in previous {
            programs.is_attached = false;
        }
        let mut states = std::mem::take(&mut self.previous);
        divide(states.iter_mut(), own.name.since_boot_time_ns);
        let rings = self.programs.iter().zip(&states);
        let mut rings: Vec<_> = rings
            .map(|(programs, state)| (programs.name, state.position))
            .collect();
        let own = &self.programs[self.programs.len() - 1];
        rings.push((own.name, own.released));
        let symbols = Symbols::read(KALLSYMS.as_bytes()).expect("symbols");
        let incident = self.store.cursor.as_ref();
        let incident = incident.map(|cursor| cursor.incident.clone());
        let decoder = Decoder::new(4096, Some(symbols), incident.unwrap_or_default());
        self.agent = Some(Agent {
            progress: RingProgress::new(
                states,
                Generation::new(own.name, own.released),
                decoder,
                ReleaseMode::WhenStored,
                self.now,
            ),
            rings,
            items: Vec::new(),
            stored: Losses::default(),
            patience: None,
        });
    }

    pub(super) fn start(&mut self) {
        self.attach();
        self.clock_ns += 1000;
        self.pin();
        self.clock_ns += 1000;
        self.detach();
    }

    /// SIGKILL: what is pinned stays.
    pub(super) fn crash(&mut self) {
        self.agent = None;
        self.previous.clear();
        self.programs.retain(|programs| programs.is_pinned);
    }

    pub(super) fn agent(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("an agent runs")
    }

    fn programs(&mut self, name: GenerationName) -> &mut Programs {
        let found = self
            .programs
            .iter_mut()
            .find(|programs| programs.name == name);
        found.expect("the generation exists")
    }

    /// A program of the newest generation writes these bytes.
    pub(super) fn write(&mut self, record: Vec<u8>) {
        let capacity = self.capacity;
        if let Some(programs) = self.programs.last_mut() {
            programs.write(capacity, record);
        }
    }

    /// The start has counted `records` records of another layout in the first ring.
    pub(super) fn set_unreadable(&mut self, records: u64) {
        let generation = &mut self.agent().progress.generations[0];
        if let Some(previous) = &mut generation.previous {
            previous.unreadable = Some(Unreadable {
                position: generation.position,
                records,
            });
        }
    }

    /// Room for a record that is never completed in the ring of a generation.
    pub(super) fn begin_record(&mut self, index: usize) {
        self.programs[index].produced += 8;
    }

    pub(super) fn used(&self, index: usize) -> u64 {
        self.programs[index].produced - self.programs[index].released
    }

    /// What the IO shell does to read.
    pub(super) fn read(&mut self) {
        let Some(mut agent) = self.agent.take() else {
            return;
        };
        let (now, patience) = (self.now, agent.patience);
        loop {
            let (name, read) = agent.rings[agent.progress.reading()];
            let programs = self.programs(name);
            let mut position = read;
            while programs.records.contains_key(&position) {
                let bytes = &programs.records[&position];
                agent.progress.record(
                    position,
                    bytes,
                    |_| None,
                    |_| patience.map(|time| now + time),
                );
                position = programs.end_of(position);
            }
            agent.rings[agent.progress.reading()].1 = position;
            let drained = Drained {
                position,
                released: programs.released,
                has_unread: programs.produced != position,
            };
            match agent.progress.drained(drained, now) {
                Step::ReadNext => {}
                Step::Release(position) => programs.released = position,
                Step::Wait => break,
            }
        }
        self.agent = Some(agent);
    }

    pub(super) fn deliver(&mut self) {
        let now = self.now;
        if let Some(Agent {
            progress, items, ..
        }) = &mut self.agent
        {
            let ControlFlow::Continue(()) = progress.deliver(now, |item| {
                items.push(item);
                ControlFlow::<Infallible>::Continue(())
            });
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let own = self.programs.last().expect("programs are attached");
        let agent = self.agent.as_ref().expect("an agent runs");
        let Ok(progress) = agent
            .progress
            .progress(|| Ok::<_, Infallible>(own.rejected));
        progress
    }

    /// Commits the delivered items together with the cursor and the losses.
    pub(super) fn save(&mut self) {
        if self.agent.is_none() {
            return;
        }
        let Progress { cursor, losses } = self.progress();
        let Some(agent) = &mut self.agent else { return };
        let store = &mut self.store;
        for item in agent.items.drain(..) {
            match item {
                CaptureItem::Kill(kill) => store.kills.push((
                    kill.victim.pid,
                    kill.incident_boot_time_ns.expect("an incident"),
                )),
                CaptureItem::NonKill(event) => {
                    assert_eq!(event.kind, NonKillKind::Rekill);
                    store.rekills.push(event.pid);
                }
                CaptureItem::Gap(_) => panic!("not from a ring"),
            }
        }
        store.cursor = cursor;
        store.losses.dropped += losses.dropped - agent.stored.dropped;
        store.losses.undecoded += losses.undecoded - agent.stored.undecoded;
        agent.stored = losses;
    }

    /// Releases up to the stored cursor.
    pub(super) fn release(&mut self) {
        let (Some(agent), Some(cursor)) = (&mut self.agent, &self.store.cursor) else {
            return;
        };
        let Some(released) = agent.progress.release(cursor) else {
            return;
        };
        for (name, _) in agent.rings.drain(..released.generations) {
            self.programs.retain(|programs| programs.name != name);
        }
        let (name, read) = agent.rings[0];
        let programs = self.programs(name);
        let position = released.position.min(read);
        if position > programs.released {
            programs.released = position;
            programs.records = programs.records.split_off(&position);
        }
    }

    /// Starts an agent, if none runs, and lets it work until nothing is left to do.
    pub(super) fn settle(&mut self) {
        if self.agent.is_none() {
            self.start();
        }
        for _ in 0..4 {
            self.pass(Duration::from_secs(10));
            self.read();
            self.deliver();
            self.save();
            self.release();
        }
    }

    /// Process ids of the stored kills, in order.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.store.kills.iter().map(|&(pid, _)| pid).collect()
    }
}
