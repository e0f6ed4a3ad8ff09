//! The `Killed process` line, and the `Kill process` line of kernels before 5.1.

use bstr::ByteSlice as _;

use super::parsed::{Killed, Line, Message};
use crate::capture::kmsg::number::{parse_kib, parse_number};

/// Parses `<message>: Killed process …` and `<message>: Kill process …`.
pub(super) fn parse(text: &[u8]) -> Option<Line<'_>> {
    if let Some((message, rest)) = split_message(text) {
        let killed = killed(message, rest).map_or(Line::Incomplete, Line::Killed);
        return match (message, &killed) {
            // With a message that is not the kernel's own, only a complete line is accepted.
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

/// Splits a line at `Killed process `: the message, and the text after it.
fn split_message(text: &[u8]) -> Option<(Message, &[u8])> {
    let (message, rest) = known_message(text);
    if let Some(rest) = rest.strip_prefix(b"Killed process ") {
        return Some((message, rest));
    }
    // A thread name (15 bytes) is too short to contain this.
    let (message, rest) = text.rsplit_once_str(b": Killed process ")?;
    // A path that ends another line may look like a kill, and its name can be chosen by a user. The kernel's own message
    // behind other words is quoted.
    let is_quoted =
        message.ends_with(b"Memory cgroup out of memory") || message.ends_with(b"Out of memory");
    (!is_quoted && !message.contains(&b'/')).then_some((Message::Other, rest))
}

/// Splits one of the kernel's own messages off the text.
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

/// Parses the text after `Killed process `: `P (c) sizes`, `P (c), UID U, sizes` or `P, UID U, (c) sizes`.
fn killed(message: Message, text: &[u8]) -> Option<Killed<'_>> {
    let (tid, text) = leading_number(text)?;
    let (uid, text) = match text.strip_prefix(b", UID ") {
        Some(text) => leading_number(text).map(|(uid, text)| (Some(uid), text))?,
        None => (None, text),
    };
    let text = text.strip_prefix(b",").unwrap_or(text);
    let text = text.strip_prefix(b" (")?;
    // The process chooses its name, so the name ends at the last possible delimiter.
    let (name, sizes) = match text.rsplit_once_str(b" total-vm:") {
        Some((name, sizes)) => (name, Some(sizes)),
        None => (text.strip_suffix(b".").unwrap_or(text), None),
    };
    let (comm, uid) = if let Some(comm) = name.strip_suffix(b")") {
        (comm, uid)
    } else {
        let (comm, uid) = name.rsplit_once_str(b"), UID ")?;
        (comm, Some(parse_number(uid.strip_suffix(b",")?)?))
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
            .try_for_each(|field| parse_field(&mut killed, field))?;
    }
    Some(killed)
}

/// Parses `key:value` or `key:value,`. Unknown keys of newer kernels are skipped; any other text means that this is no kill line.
fn parse_field(killed: &mut Killed<'_>, field: &[u8]) -> Option<()> {
    let field = field.strip_suffix(b",").unwrap_or(field);
    let (key, value) = field.split_once_str(b":")?;
    match key {
        b"anon-rss" => killed.anon_rss_bytes = Some(size(value)?),
        b"file-rss" => killed.file_rss_bytes = Some(size(value)?),
        b"shmem-rss" => killed.shmem_rss_bytes = Some(size(value)?),
        b"UID" => killed.uid = Some(parse_number(value)?),
        b"pgtables" => killed.pgtables_kilobytes = Some(parse_number(value.strip_suffix(b"kB")?)?),
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

/// Parses `42kB` or `42kB,` to bytes.
fn size(text: &[u8]) -> Option<u64> {
    parse_kib(
        text.strip_suffix(b",")
            .unwrap_or(text)
            .strip_suffix(b"kB")?,
    )
}

/// Splits the decimal number at the start of the text off its rest.
pub(super) fn leading_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.find_not_byteset(b"0123456789").unwrap_or(text.len());
    Some((parse_number(&text[..end])?, &text[end..]))
}
