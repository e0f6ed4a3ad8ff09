//! Names of Events: derived from the id of a kill, so that a repeated create request gets `AlreadyExists`.

/// The maximum length of a DNS subdomain.
const MAX_LENGTH: usize = 253;

/// The 128-bit FNV-1a hash of a kill's id (boot id, start time and pid); wide enough to rule out collisions in practice.
pub(super) fn name_hash(id: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    id.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

/// `<object>.<hex>`, as in client-go (`tools/record/util`), or a UUID made of the hash if that is not a valid name.
pub(super) fn event_name(object: &str, hash: u128) -> String {
    let name = format!("{object}.{hash:x}");
    if is_subdomain(&name) {
        return name;
    }
    let hex = format!("{hash:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

/// Whether a name is a DNS subdomain (RFC 1123) by the API server's check: dot-separated labels of lower-case letters, digits
/// and inner dashes.
pub(super) fn is_subdomain(name: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_LENGTH
        && name.split('.').map(str::as_bytes).all(|label| {
            label.first().is_some_and(is_alphanumeric)
                && label.last().is_some_and(is_alphanumeric)
                && label
                    .iter()
                    .all(|byte| is_alphanumeric(byte) || *byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // C22 of the kubelet's checklist.
    #[test]
    fn name_is_object_name_and_hexadecimal_hash() {
        assert_eq!(
            event_name("test-pod", 105_999_103_295_324_396),
            "test-pod.178959f726d80ec"
        );
    }

    // C23.
    #[test]
    fn invalid_object_name_is_replaced_by_a_uuid() {
        for object in [
            "x".repeat(300).as_str(),
            "test.POD",
            "test.pod/invalid!chars?",
            "--test.pod/invalid!chars?",
            "",
            "a..b",
            "a-.b",
        ] {
            let name = event_name(object, 0x178_959f_726d_80ec);
            assert_eq!(name, "00000000-0000-0000-0178-959f726d80ec", "{object}");
        }
    }

    #[test]
    fn same_kill_has_the_same_name_and_other_kills_have_other_names() {
        let kill = |id: &str| event_name("cart-0", name_hash(id));
        assert_eq!(
            kill("0f1e2d3c-1176592e000-14665"),
            kill("0f1e2d3c-1176592e000-14665")
        );
        for other in [
            "0f1e2d3d-1176592e000-14665",
            "0f1e2d3c-1176592e001-14665",
            "0f1e2d3c-1176592e000-14666",
        ] {
            assert_ne!(kill("0f1e2d3c-1176592e000-14665"), kill(other));
        }
        // A published FNV-1a test vector.
        assert_eq!(name_hash("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    proptest! {
        #[test]
        fn every_name_is_a_subdomain(object in "[a-zA-Z0-9.-]{0,260}|.*", hash: u128) {
            let name = event_name(&object, hash);
            prop_assert!(is_subdomain(&name), "{}", name);
        }
    }
}
