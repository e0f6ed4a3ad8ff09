//! The stack of the task that invoked the killer: whether an allocation or a lowered limit did.

use bstr::ByteSlice as _;

/// Functions that set a limit, and reclaim or kill until the usage is below it.
const LOWER: &[&str] = &[
    "memory_max_write",
    "mem_cgroup_resize_max",
    "mem_cgroup_resize_limit",
    "mem_cgroup_resize_memsw_limit",
    "mem_cgroup_write",
];
/// Beginnings and parts of the functions that allocate or charge.
const ALLOCATE: &[&str] = &[
    "charge",
    "alloc_pages",
    "alloc_frozen_pages",
    "mem_cgroup_oom_synchronize",
    "pagefault_out_of_memory",
];

/// What the frames so far show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stack {
    limit_lowered: Option<bool>,
}

impl Stack {
    /// Adds a line: false if it is none of the stack.
    pub(super) fn add(&mut self, text: &[u8]) -> bool {
        let text = text.trim_ascii();
        if matches!(text, b"<TASK>" | b"<IRQ>" | b"</IRQ>") {
            return true;
        }
        let Some(frame) = function(text) else {
            return false;
        };
        // A frame with a mark was found on the stack and may be of an earlier call.
        if let Frame::Certain(name) = frame {
            let is_lower = LOWER.iter().any(|lower| lower.as_bytes() == name);
            let allocates = ALLOCATE.iter().any(|part| name.contains_str(part));
            if is_lower || allocates {
                // The innermost frame decides: a write of a file allocates too.
                self.limit_lowered.get_or_insert(is_lower);
            }
        }
        true
    }

    pub(super) fn limit_lowered(self) -> Option<bool> {
        self.limit_lowered
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame<'a> {
    Certain(&'a [u8]),
    Uncertain,
}

/// The function of a line such as ` ? out_of_memory.part.0+0x214/0x500`, or `[<ffffffff97d81340>] dump_stack+0x19/0x1b`.
fn function(text: &[u8]) -> Option<Frame<'_>> {
    let (before, _) = text.split_once_str(b"+0x")?;
    // 32-bit ARM: `try_charge from mem_cgroup_charge+0x5c/0x90`.
    let before = before
        .split_once_str(b" from ")
        .map_or(before, |(name, _)| name);
    let start = before.rfind_byte(b' ').map_or(0, |at| at + 1);
    let (marks, name) = before.split_at(start);
    let name = name.split(|&byte| byte == b'.').next()?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_mark = |byte: &u8| byte.is_ascii_hexdigit() || b"[]<>? x".contains(byte);
    let is_frame = !name.is_empty() && name.iter().all(is_name) && marks.iter().all(is_mark);
    is_frame.then_some(if marks.contains(&b'?') {
        Frame::Uncertain
    } else {
        Frame::Certain(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(lines: &[&str]) -> Option<bool> {
        let mut stack = Stack::default();
        for line in lines {
            assert!(stack.add(line.as_bytes()), "{line}");
        }
        stack.limit_lowered()
    }

    #[test]
    fn innermost_frame_shows_what_invoked_the_killer() {
        for (lines, expected) in [
            (
                &[
                    " <TASK>",
                    " dump_header+0x43/0x1c0",
                    " oom_kill_process.cold+0x8/0x8a",
                    " out_of_memory+0x214/0x500",
                    " mem_cgroup_out_of_memory+0xc0/0x110",
                    " memory_max_write+0x132/0x1d0",
                    " cgroup_file_write+0x8a/0x150",
                    " kernfs_fop_write_iter+0x15f/0x210",
                    " vfs_write+0x2a6/0x480",
                ][..],
                Some(true),
            ),
            (
                &[
                    " mem_cgroup_out_of_memory+0xc0/0x110",
                    " try_charge_memcg+0x422/0x6f0",
                    " charge_memcg+0x2f/0x90",
                    " memory_max_write+0x132/0x1d0",
                ],
                Some(false),
            ),
            (
                &[
                    " out_of_memory+0x217/0x4b0",
                    " __alloc_pages_slowpath.constprop.0+0xfe2/0x1470",
                ],
                Some(false),
            ),
            (
                &[
                    "[<ffffffff97d81340>] dump_stack+0x19/0x1b",
                    "[<ffffffff97d7bc5b>] ? mem_cgroup_write+0x5/0x10",
                    "[<ffffffff97d7bc5b>] pagefault_out_of_memory+0x14/0x90",
                ],
                Some(false),
            ),
            (
                &[
                    "[<ffffffff97d81340>] out_of_memory+0x19/0x1b",
                    "[<ffffffff97d7bc5b>] mem_cgroup_resize_limit.isra.3+0x14/0x90",
                ],
                Some(true),
            ),
            (
                &[
                    "[c000001fd3d3b7a0] [c000000000a1bc7c] out_of_memory+0xb0/0x100 (unreliable)",
                    "[c000001fd3d3b7a0] [c000000000a1bc7c] try_charge+0x8d4/0xa20",
                ],
                Some(false),
            ),
            (
                &[
                    " out_of_memory+0x1e4/0x4d0",
                    " moom_callback+0x70/0xa0",
                    " process_one_work+0x18e/0x350",
                ],
                None,
            ),
            (
                &[
                    " out_of_memory from mem_cgroup_out_of_memory+0x88/0xb0",
                    " mem_cgroup_out_of_memory from memory_max_write+0xd4/0x130",
                    " memory_max_write from cgroup_file_write+0x90/0x180",
                ],
                Some(true),
            ),
            (&[" out_of_memory+0x1e4/0x4d0"], None),
            (&[" ? memory_max_write+0x1/0x2"], None),
        ] {
            assert_eq!(lowered(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn other_lines_end_the_stack() {
        for text in [
            "",
            " </TASK>",
            "RIP: 0033:0x420b4a",
            "RAX: 0000000000000001 RBX: 00000000000001d0",
            "+0x",
            "a name +0x1/0x2",
            "memory_max_write",
            "x/memory_max_write+0x1/0x2",
        ] {
            assert!(!Stack::default().add(text.as_bytes()), "{text}");
        }
    }
}
