//! The `format` files of tracepoints to the offsets of their fields: what a kernel without BTF still tells.
//!
//! A line of one is `\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;` (`f_show` of `kernel/trace/trace_events.c`). Where the
//! fields begin differs: RHEL's kernels have a longer common header.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oomwatch_ebpf::record::{ABSENT, Formats};

/// Where tracefs is mounted, in the order in which aya looks for it.
pub const TRACEFS: [&str; 2] = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];

/// Why the classic tracepoints are of no use.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// tracefs is not mounted, or this process may not look into it.
    #[error(
        "find tracefs: mount it (mount -t tracefs tracefs /sys/kernel/tracing), and be root to read it"
    )]
    NoTracefs,
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A field without which no kill can be told from another.
    #[error("find the field {field} in {path}: none of that name and size")]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
    },
}

/// Reads the formats below `/`, or what stands for it.
pub fn load(root: &Path) -> Result<Formats, FormatError> {
    let events = TRACEFS
        .iter()
        .map(|place| root.join(place).join("events"))
        .find(|events| events.is_dir())
        .ok_or(FormatError::NoTracefs)?;
    let read = |event: &str| {
        let path = events.join(event).join("format");
        match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(FormatError::Read { path, source }),
        }
    };
    let (signal_path, signal) = read("signal/signal_generate")?;
    let (mark_path, mark) = read("oom/mark_victim")?;
    let formats = find(&signal, &mark);
    for (field, offset, path) in [
        ("sig", formats.signal_sig, &signal_path),
        ("code", formats.signal_code, &signal_path),
        ("pid", formats.signal_pid, &signal_path),
        ("pid", formats.mark_pid, &mark_path),
    ] {
        if offset == ABSENT {
            let path = path.clone();
            return Err(FormatError::Field { path, field });
        }
    }
    Ok(formats)
}

/// Looks up all fields; what is not there, or of another size than the programs read, is [`ABSENT`].
#[must_use]
pub fn find(signal: &str, mark: &str) -> Formats {
    Formats {
        signal_sig: field(signal, "sig", 4),
        signal_code: field(signal, "code", 4),
        signal_pid: field(signal, "pid", 4),
        mark_pid: field(mark, "pid", 4),
        mark_comm: field(mark, "comm", 4),
        mark_uid: field(mark, "uid", 4),
        mark_total_vm: field(mark, "total_vm", 8),
        mark_anon_rss: field(mark, "anon_rss", 8),
        mark_file_rss: field(mark, "file_rss", 8),
        mark_shmem_rss: field(mark, "shmem_rss", 8),
        mark_pgtables: field(mark, "pgtables", 8),
        mark_oom_score_adj: field(mark, "oom_score_adj", 2),
    }
}

/// Where a field of this name and size begins.
fn field(format: &str, name: &str, size: u32) -> u32 {
    format
        .lines()
        .filter_map(parse_field)
        .find(|&(found, _, found_size)| found == name && found_size == size)
        .map_or(ABSENT, |(_, offset, _)| offset)
}

/// Name, offset and size.
fn parse_field(line: &str) -> Option<(&str, u32, u32)> {
    let mut parts = line.split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let name = declaration.split_ascii_whitespace().next_back()?;
    let name = name.split('[').next()?;
    let mut number = |key| parts.next()?.strip_prefix(key)?.parse().ok();
    Some((name, number("offset:")?, number("size:")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As 6.18 shows it, shortened.
    const SIGNAL: &str = "\
name: signal_generate
ID: 190
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int sig;\toffset:8;\tsize:4;\tsigned:1;
\tfield:int errno;\toffset:12;\tsize:4;\tsigned:1;
\tfield:int code;\toffset:16;\tsize:4;\tsigned:1;
\tfield:char comm[16];\toffset:20;\tsize:16;\tsigned:0;
\tfield:pid_t pid;\toffset:36;\tsize:4;\tsigned:1;

print fmt: \"sig=%d\", REC->sig
";

    /// Before 6.9 and the stable kernels of 2025.
    const OLD_MARK: &str = "\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;\n";

    const NEW_MARK: &str = "\
\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] comm;\toffset:12;\tsize:4;\tsigned:0;
\tfield:unsigned long total_vm;\toffset:16;\tsize:8;\tsigned:0;
\tfield:unsigned long anon_rss;\toffset:24;\tsize:8;\tsigned:0;
\tfield:unsigned long file_rss;\toffset:32;\tsize:8;\tsigned:0;
\tfield:unsigned long shmem_rss;\toffset:40;\tsize:8;\tsigned:0;
\tfield:uid_t uid;\toffset:48;\tsize:4;\tsigned:0;
\tfield:unsigned long pgtables;\toffset:56;\tsize:8;\tsigned:0;
\tfield:short oom_score_adj;\toffset:64;\tsize:2;\tsigned:1;
";

    #[test]
    fn fields_are_found_where_the_kernel_has_them() {
        let expected = Formats {
            signal_sig: 8,
            signal_code: 16,
            signal_pid: 36,
            mark_pid: 8,
            ..Formats::NONE
        };
        assert_eq!(find(SIGNAL, OLD_MARK), expected);
        let expected = Formats {
            mark_comm: 12,
            mark_uid: 48,
            mark_total_vm: 16,
            mark_anon_rss: 24,
            mark_file_rss: 32,
            mark_shmem_rss: 40,
            mark_pgtables: 56,
            mark_oom_score_adj: 64,
            ..expected
        };
        assert_eq!(find(SIGNAL, NEW_MARK), expected);
    }

    #[test]
    fn field_that_is_not_as_it_should_be_is_absent() {
        for line in [
            "",
            "field:int pid",
            "\tfield:int pid;\toffset:x;\tsize:4;",
            "\tfield:int pid;\toffset:-1;\tsize:4;",
            "\tfield:int pid;\toffset:8;\tsize:8;",
            "\tfield:int pid;\tsize:4;\toffset:8;",
            "\tfield:int common_pid;\toffset:8;\tsize:4;",
            "\tfield:;\toffset:8;\tsize:4;",
        ] {
            assert_eq!(find("", line).mark_pid, ABSENT, "{line:?}");
        }
    }

    #[test]
    fn kernel_without_tracefs_is_told_what_to_do() {
        let error = load(Path::new("/nonexistent")).expect_err("no such folder");
        assert!(error.to_string().contains("mount -t tracefs"), "{error}");
    }

    #[test]
    fn files_are_read_below_a_root_and_a_missing_field_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let events = root.path().join("sys/kernel/tracing/events");
        for (event, text) in [
            ("signal/signal_generate", SIGNAL),
            ("oom/mark_victim", NEW_MARK),
        ] {
            fs::create_dir_all(events.join(event)).expect("make a folder");
            fs::write(events.join(event).join("format"), text).expect("write a format");
        }
        assert_eq!(load(root.path()).expect("formats"), find(SIGNAL, NEW_MARK));
        fs::write(events.join("oom/mark_victim/format"), "").expect("write a format");
        let error = load(root.path()).expect_err("no pid").to_string();
        assert!(error.starts_with("find the field pid in "), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = find(&text, &text);
        }
    }
}
