//! The victims: this same executable, run as `hog MODE KEY=VALUE…` inside a cgroup.
//!
//! Each hog ends by itself, so that an ineffective limit does no harm: after 256 MiB unless asked otherwise, after its
//! alarm, or with its parent.

use std::{
    collections::HashMap,
    ffi::{OsString, c_int, c_void},
    fs,
    os::unix::ffi::OsStringExt as _,
    process::{self, ExitCode},
    ptr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// What a hog touches at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Where a hog gives up: far above all limits of these tests, and harmless to any machine.
const CAP_BYTES: u64 = 256 << 20;
/// Distance of the bytes that are written: no page is smaller.
const STRIDE_BYTES: usize = 4096;

/// Exit code of a hog that was not killed.
const SURVIVED: c_int = 99;
/// Exit code of a hog that failed.
const FAILED: c_int = 98;

static TOUCHED: AtomicU64 = AtomicU64::new(0);
static CAP: AtomicU64 = AtomicU64::new(CAP_BYTES);

/// What a hog does.
struct Orders(HashMap<String, Vec<u8>>);

impl Orders {
    fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    fn number(&self, key: &str) -> Option<u64> {
        let bytes = self.bytes(key)?;
        Some(str::from_utf8(bytes).ok()?.parse().expect("a number"))
    }
}

/// Runs as a hog.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let mode = words.next().expect("a mode");
    let orders = Orders(
        words
            .map(|word| {
                let word = word.into_vec();
                let at = word
                    .iter()
                    .position(|&byte| byte == b'=')
                    .expect("KEY=VALUE");
                let key = String::from_utf8(word[..at].to_vec()).expect("a plain key");
                (key, word[at + 1..].to_vec())
            })
            .collect(),
    );
    guard(&orders);
    match mode.to_str().expect("a plain mode") {
        "plain" => {
            prepare(&orders);
            hog()
        }
        "hold" => {
            prepare(&orders);
            touch(usize::try_from(orders.number("bytes").expect("bytes")).expect("a size"));
            say_ready();
            wait_for_the_end()
        }
        "shared" => {
            prepare(&orders);
            shared()
        }
        "memory-file" => {
            prepare(&orders);
            memory_file()
        }
        "pipes" => {
            prepare(&orders);
            pipes()
        }
        "sparse" => {
            prepare(&orders);
            sparse()
        }
        "threads" => threads(&orders),
        "leaderless" => leaderless(&orders),
        "leader-exits" => leader_exits(&orders),
        "share" => share(&orders, 0),
        "vfork" => share(&orders, libc::CLONE_VFORK),
        "init" => namespace(|| {
            guard(&orders);
            prepare(&orders);
            hog()
        }),
        "child" => namespace(|| {
            guard(&orders);
            let child = fork(0, || {
                guard(&orders);
                prepare(&orders);
                hog()
            });
            killed(child)
        }),
        "nested" => namespace(|| {
            guard(&orders);
            namespace(|| {
                guard(&orders);
                prepare(&orders);
                hog()
            })
        }),
        "namespaces" => namespaces(orders.number("count").expect("count")),
        mode => panic!("unknown mode {mode}"),
    }
}

/// Sees to it that this process ends with its parent, and in any case.
fn guard(orders: &Orders) {
    let seconds = orders.number("alarm").expect("an alarm");
    // SAFETY: both take numbers only.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(seconds.try_into().expect("a short time"));
    }
}

/// Becomes who the test wants to see killed, and waits for its word.
fn prepare(orders: &Orders) {
    if let Some(entrance) = orders.bytes("move") {
        let entrance = str::from_utf8(entrance).expect("a plain path");
        fs::write(entrance, "0").expect("move to another cgroup");
    }
    if let Some(adj) = orders.bytes("adj") {
        fs::write("/proc/self/oom_score_adj", adj).expect("write oom_score_adj");
    }
    if let Some(bytes) = orders.number("cap") {
        CAP.store(bytes, Ordering::Relaxed);
    }
    if let Some(node) = orders.number("node") {
        bind_to(node);
    }
    if let Some(name) = orders.bytes("name") {
        let name = [name, b"\0"].concat();
        // SAFETY: the name ends with a NUL, and is copied.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
    if let Some(uid) = orders.number("uid") {
        // SAFETY: takes a number.
        let set = unsafe { libc::setuid(uid.try_into().expect("a user id")) };
        assert_eq!(set, 0, "become user {uid}");
        // Another user loses it.
        guard(orders);
    }
    if orders.bytes("gate").is_some() {
        say_ready();
        wait_for_the_word();
    }
}

/// Takes memory of this node and no other.
fn bind_to(node: u64) {
    let nodes: libc::c_ulong = 1 << node;
    let bits = libc::c_ulong::BITS;
    // SAFETY: a place that is read, of so many bits.
    let set = unsafe {
        libc::syscall(
            libc::SYS_set_mempolicy,
            libc::MPOL_BIND,
            &raw const nodes,
            bits,
        )
    };
    assert_eq!(set, 0, "bind to node {node}");
}

/// Reports to the test; with system calls alone, since memory may be shared with another process.
fn say_ready() {
    let word = b"ready\n";
    // SAFETY: a buffer and its length.
    unsafe { libc::write(1, word.as_ptr().cast(), word.len()) };
}

/// Waits until the test closes stdin.
fn wait_for_the_word() {
    let mut byte = 0u8;
    // SAFETY: a buffer and its length.
    while unsafe { libc::read(0, ptr::from_mut(&mut byte).cast(), 1) } > 0 {}
}

fn wait_for_the_end() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Touches fresh memory until it is killed.
fn hog() -> ! {
    let cap = CAP.load(Ordering::Relaxed);
    while TOUCHED.fetch_add(CHUNK_BYTES as u64, Ordering::Relaxed) < cap {
        touch(CHUNK_BYTES);
    }
    exit(SURVIVED)
}

fn touch(bytes: usize) {
    write_pages(
        map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        bytes,
    );
}

fn map(bytes: usize, flags: c_int, file: c_int) -> *mut u8 {
    // SAFETY: a new mapping, which touches none that exists.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            file,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        exit(FAILED);
    }
    start.cast()
}

fn write_pages(start: *mut u8, bytes: usize) {
    for offset in (0..bytes).step_by(STRIDE_BYTES) {
        // SAFETY: inside the mapping.
        unsafe { start.add(offset).write_volatile(1) };
    }
}

/// Touches a memory file until it is killed.
fn shared() -> ! {
    let bytes = usize::try_from(CAP_BYTES).expect("a size");
    // SAFETY: a name that ends with a NUL, and numbers.
    let file = unsafe {
        let file = libc::memfd_create(c"hog".as_ptr(), 0);
        if file < 0 || libc::ftruncate(file, bytes.try_into().expect("a size")) != 0 {
            exit(FAILED);
        }
        file
    };
    write_pages(map(bytes, libc::MAP_SHARED, file), bytes);
    exit(SURVIVED)
}

/// Writes a memory file that it does not map, until it is killed.
fn memory_file() -> ! {
    // SAFETY: a name that ends with a NUL, and a number.
    let file = unsafe { libc::memfd_create(c"hog".as_ptr(), 0) };
    fill(file, CAP_BYTES);
    exit(SURVIVED)
}

/// Fills pipes until it is killed.
fn pipes() -> ! {
    for _ in 0..CAP_BYTES >> 20 {
        let mut ends = [0; 2];
        // SAFETY: a place for two numbers; then numbers only.
        let made = unsafe {
            libc::pipe(ends.as_mut_ptr()) == 0
                && libc::fcntl(ends[1], libc::F_SETPIPE_SZ, 1 << 20) > 0
        };
        if !made {
            exit(FAILED);
        }
        fill(ends[1], 1 << 20);
    }
    exit(SURVIVED)
}

fn fill(file: c_int, bytes: u64) {
    let block = [1u8; 1 << 14];
    for _ in 0..bytes / block.len() as u64 {
        // SAFETY: a buffer and its length.
        if unsafe { libc::write(file, block.as_ptr().cast(), block.len()) } < 0 {
            exit(FAILED);
        }
    }
}

/// Reads pages that are far apart until it is killed: each needs a page table, and none needs memory.
fn sparse() -> ! {
    const APART_BYTES: usize = 2 << 20;
    let count = usize::try_from(CAP_BYTES).expect("a size") / STRIDE_BYTES;
    let bytes = count * APART_BYTES;
    let start = map(
        bytes,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
    );
    // SAFETY: the mapping, and a number.
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_NOHUGEPAGE) };
    for offset in (0..bytes).step_by(APART_BYTES) {
        // SAFETY: inside the mapping.
        unsafe { start.add(offset).read_volatile() };
    }
    exit(SURVIVED)
}

/// All threads touch memory.
fn threads(orders: &Orders) -> ! {
    prepare(orders);
    let count = orders.number("count").expect("count");
    let start = Arc::new(Barrier::new(usize::try_from(count).expect("a count")));
    for _ in 1..count {
        let start = start.clone();
        spawn(move || {
            start.wait();
            hog()
        });
    }
    start.wait();
    hog()
}

/// The other threads touch memory once the leader is gone.
fn leader_exits(orders: &Orders) -> ! {
    prepare(orders);
    for _ in 0..orders.number("count").expect("count") {
        spawn(|| {
            wait_for_the_leader();
            hog()
        });
    }
    // SAFETY: ends this thread only; the others use nothing of its stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    exit(FAILED)
}

/// Another thread holds memory, and waits, once the leader is gone.
fn leaderless(orders: &Orders) -> ! {
    prepare(orders);
    let bytes = usize::try_from(orders.number("bytes").expect("bytes")).expect("a size");
    spawn(move || {
        wait_for_the_leader();
        touch(bytes);
        say_ready();
        wait_for_the_end()
    });
    // SAFETY: ends this thread only; the other uses nothing of its stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    exit(FAILED)
}

/// Waits until the leader of this process has exited.
fn wait_for_the_leader() {
    let stat = format!("/proc/self/task/{}/stat", process::id());
    while !fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")) {
        thread::yield_now();
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .name("worker".into())
        .spawn(run)
        .expect("start a thread");
}

/// A child with the same memory touches it.
fn share(orders: &Orders, flags: c_int) -> ! {
    extern "C" fn child(alarm: *mut c_void) -> c_int {
        // SAFETY: both take numbers only. The memory is the parent's: nothing of the standard library may run here.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::alarm(u32::try_from(alarm as usize).unwrap_or(1));
        }
        say_ready();
        wait_for_the_word();
        hog()
    }
    prepare(orders);
    let alarm = usize::try_from(orders.number("alarm").expect("an alarm")).expect("a short time");
    let stack = map(CHUNK_BYTES, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    // SAFETY: the stack grows down from the end of its own mapping, which is never freed.
    let child = unsafe {
        libc::clone(
            child,
            stack.add(CHUNK_BYTES).cast(),
            flags | libc::CLONE_VM | libc::SIGCHLD,
            ptr::without_provenance_mut(alarm),
        )
    };
    killed(child)
}

/// Runs `init` as the first process of a new PID namespace.
fn namespace(init: impl FnOnce()) -> ! {
    killed(fork(libc::CLONE_NEWPID, init))
}

/// PID namespaces whose first process ends while a second one runs, so that the kernel kills that.
fn namespaces(count: u64) -> ! {
    for _ in 0..count {
        let init = fork(libc::CLONE_NEWPID, || {
            fork(0, || wait_for_the_end());
            exit(0)
        });
        if status_of(init) != 0 {
            exit(FAILED);
        }
    }
    exit(0)
}

/// Forks; this process has one thread.
fn fork(flags: c_int, child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: without CLONE_VM the child has its own copy of everything, as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    match libc::pid_t::try_from(pid).expect("a process id") {
        0 => {
            child();
            exit(FAILED)
        }
        -1 => exit(FAILED),
        pid => pid,
    }
}

/// Ends well if this child is killed, or ends well itself after its own child was.
fn killed(child: libc::pid_t) -> ! {
    let status = status_of(child);
    let was_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    exit(if was_killed || status == 0 { 0 } else { FAILED })
}

fn status_of(child: libc::pid_t) -> c_int {
    let mut status = -1;
    // SAFETY: a place for the status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    status
}

fn exit(code: c_int) -> ! {
    // SAFETY: takes a number. No destructor may run: memory may be shared with another process.
    unsafe { libc::_exit(code) }
}
