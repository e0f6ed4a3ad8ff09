//! The line of a kill, in all its shapes.

use bstr::ByteSlice as _;

use super::{Line, kilobytes};
use crate::capture::kmsg::record::number;

/// What the kernel killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed<'a> {
    /// Why.
    pub message: Message,
    /// The thread that was found: of the process's, one that still had its memory.
    pub tid: u32,
    /// Its name.
    pub comm: &'a [u8],
    /// Its user; since 5.4, and on RHEL 6 and 7.
    pub uid: Option<u32>,
    /// Address space.
    pub total_vm_bytes: Option<u64>,
    /// Resident anonymous memory.
    pub anon_rss_bytes: Option<u64>,
    /// Resident memory of files.
    pub file_rss_bytes: Option<u64>,
    /// Resident shared memory; since 4.5.
    pub shmem_rss_bytes: Option<u64>,
    /// Page tables, in KiB if the kernel kept to its own label; since 5.4.
    pub pgtables_kilobytes: Option<u64>,
    /// -1000 to 1000; since 5.4.
    pub oom_score_adj: Option<i32>,
}

/// What stands before the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `Memory cgroup out of memory`.
    Memcg,
    /// `Out of memory`, also `(oom_kill_allocating_task)`.
    System,
    /// Anything else, as a BPF program may choose it.
    Other,
    /// Nothing: before 5.1 it stands in the line before.
    None,
}

/// Reads `<message>: Killed process …` and `<message>: Kill process …`.
pub(super) fn parse(text: &[u8]) -> Option<Line<'_>> {
    if let Some((message, rest)) = split_message(text) {
        let killed = killed(message, rest).map_or(Line::Incomplete, Line::Killed);
        return match (message, &killed) {
            // Of what is not the kernel's own message, only a whole line is believed.
            (Message::Other, Line::Killed(Killed { total_vm_bytes, .. })) => {
                total_vm_bytes.and(Some(killed))
            }
            (Message::Other, _) => None,
            _ => Some(killed),
        };
    }
    let (message, rest) = known_message(text);
    let rest = rest
        .strip_prefix(b"Kill process ")?
        .strip_suffix(b" or sacrifice child")?;
    let (pid, _) = leading_number(rest)?;
    Some(Line::Chosen { message, pid })
}

/// Why, and what stands behind the message.
fn split_message(text: &[u8]) -> Option<(Message, &[u8])> {
    let (message, rest) = known_message(text);
    if let Some(rest) = rest.strip_prefix(b"Killed process ") {
        return Some((message, rest));
    }
    // A name is too short to hold this.
    let (message, rest) = text.rsplit_once_str(b": Killed process ")?;
    // A path at the end of some other line of the kernel's may look like a kill, and may be anybody's choice.
    (!message.contains(&b'/')).then_some((Message::Other, rest))
}

/// One of the kernel's own messages, and what stands behind it.
fn known_message(text: &[u8]) -> (Message, &[u8]) {
    const MESSAGES: [(&[u8], Message); 3] = [
        (b"Memory cgroup out of memory: ", Message::Memcg),
        (b"Out of memory: ", Message::System),
        (
            b"Out of memory (oom_kill_allocating_task): ",
            Message::System,
        ),
    ];
    MESSAGES
        .into_iter()
        .find_map(|(start, message)| Some((message, text.strip_prefix(start)?)))
        .unwrap_or((Message::None, text))
}

/// Behind `Killed process `: `P (c) sizes`, `P (c), UID U, sizes` or `P, UID U, (c) sizes`.
fn killed(message: Message, text: &[u8]) -> Option<Killed<'_>> {
    let (tid, text) = leading_number(text)?;
    let (uid, text) = match text.strip_prefix(b", UID ") {
        Some(text) => leading_number(text).map(|(uid, text)| (Some(uid), text))?,
        None => (None, text),
    };
    let text = text.strip_prefix(b",").unwrap_or(text);
    let text = text.strip_prefix(b" (")?;
    // The name is whatever the process chose, so that its end is the last that could be one.
    let (name, sizes) = match text.rsplit_once_str(b" total-vm:") {
        Some((name, sizes)) => (name, Some(sizes)),
        None => (text.strip_suffix(b".").unwrap_or(text), None),
    };
    let (comm, uid) = if let Some(comm) = name.strip_suffix(b")") {
        (comm, uid)
    } else {
        let (comm, uid) = name.rsplit_once_str(b"), UID ")?;
        (comm, Some(number(uid.strip_suffix(b",")?)?))
    };
    let mut killed = Killed {
        message,
        tid,
        comm,
        uid,
        total_vm_bytes: None,
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        pgtables_kilobytes: None,
        oom_score_adj: None,
    };
    if let Some(sizes) = sizes {
        let (total_vm, rest) = sizes.split_once_str(b" ").unwrap_or((sizes, b""));
        killed.total_vm_bytes = Some(size(total_vm)?);
        rest.split(|&byte| byte == b' ')
            .filter(|field| !field.is_empty())
            .try_for_each(|field| read(&mut killed, field))?;
    }
    Some(killed)
}

/// Takes `key:value` or `key:value,`. Keys of newer kernels are let pass, anything else is no such line.
fn read(killed: &mut Killed<'_>, field: &[u8]) -> Option<()> {
    let field = field.strip_suffix(b",").unwrap_or(field);
    let (key, value) = field.split_once_str(b":")?;
    match key {
        b"anon-rss" => killed.anon_rss_bytes = Some(size(value)?),
        b"file-rss" => killed.file_rss_bytes = Some(size(value)?),
        b"shmem-rss" => killed.shmem_rss_bytes = Some(size(value)?),
        b"UID" => killed.uid = Some(number(value)?),
        b"pgtables" => killed.pgtables_kilobytes = Some(number(value.strip_suffix(b"kB")?)?),
        b"oom_score_adj" => {
            killed.oom_score_adj = Some(str::from_utf8(value).ok()?.parse().ok()?);
        }
        _ => {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
            (key.iter().all(is_plain) && value.iter().all(is_plain)).then_some(())?;
        }
    }
    Some(())
}

/// `42kB` or `42kB,` in bytes.
fn size(text: &[u8]) -> Option<u64> {
    kilobytes(
        text.strip_suffix(b",")
            .unwrap_or(text)
            .strip_suffix(b"kB")?,
    )
}

fn leading_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.find_not_byteset(b"0123456789").unwrap_or(text.len());
    Some((number(&text[..end])?, &text[end..]))
}
