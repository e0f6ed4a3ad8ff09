//! Writes BTF that contains only a few functions, at the ids that they have in the kernel.
//!
//! aya looks up the id of an fentry target by name, in BTF that it has parsed completely: 25 MB of memory for a kernel's. In
//! this file it finds the same id with a tenth of that.

/// `BTF_KIND_PTR` and `BTF_KIND_FUNC`, as `btf_type.info` has them.
const POINTER: u32 = 2 << 24;
const FUNCTION: u32 = 12 << 24;
/// Bytes of `struct btf_header`.
const HEADER_LENGTH: u32 = 24;

/// The bytes of a BTF file with these functions (id and name). All other ids up to the last one are pointers to `void`.
#[must_use]
pub fn skeleton(functions: &[(u32, &str)]) -> Vec<u8> {
    let last = functions.iter().map(|&(id, _)| id).max().unwrap_or(0);
    let mut types = Vec::with_capacity(last as usize * 12);
    let mut strings = vec![0];
    for id in 1..=last {
        let function = functions.iter().find(|&&(number, _)| number == id);
        let (name, info) = match function {
            Some((_, name)) => {
                let offset = strings.len();
                strings.extend(name.as_bytes());
                strings.push(0);
                (offset, FUNCTION)
            }
            None => (0, POINTER),
        };
        for number in [u32::try_from(name).unwrap_or(0), info, 0] {
            types.extend(number.to_le_bytes());
        }
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0);
    let mut file = vec![0x9f, 0xeb, 1, 0];
    for number in [
        HEADER_LENGTH,
        0,
        length(&types),
        length(&types),
        length(&strings),
    ] {
        file.extend(number.to_le_bytes());
    }
    file.extend(types);
    file.extend(strings);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::bpf::btf::{Btf, Kind};

    #[test]
    fn functions_have_their_ids_and_no_other_type_has_a_name() {
        let file = skeleton(&[(900, "oom_kill_process"), (7, "mark_oom_victim")]);
        let btf = Btf::parse(&file).expect("BTF");
        let found = btf.types([
            (Kind::Func, "mark_oom_victim"),
            (Kind::Func, "oom_kill_process"),
            (Kind::Func, ""),
        ]);
        assert_eq!(
            found.map(|id| id.map(crate::capture::bpf::btf::TypeId::number)),
            [Some(7), Some(900), None]
        );
    }

    #[test]
    fn no_functions_give_a_valid_file() {
        assert!(Btf::parse(&skeleton(&[])).is_ok());
    }
}
