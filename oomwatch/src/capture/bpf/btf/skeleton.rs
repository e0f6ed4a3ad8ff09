//! BTF with nothing in it but some functions at their own ids: what aya needs to hook a function.
//!
//! aya looks a function's id up by its name, in types that it parses whole: 25 MB for a kernel's. From this it finds the same
//! id for a tenth of that.

/// `BTF_KIND_PTR` and `BTF_KIND_FUNC`, as `btf_type.info` has them.
const POINTER: u32 = 2 << 24;
const FUNCTION: u32 = 12 << 24;
/// Bytes of `struct btf_header`.
const HEADER_LENGTH: u32 = 24;

/// The bytes of such a file. Every other id up to the last function's is a pointer to nothing.
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
    fn functions_have_their_own_ids_and_there_is_nothing_else() {
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
    fn without_functions_there_are_no_types() {
        assert!(Btf::parse(&skeleton(&[])).is_ok());
    }
}
