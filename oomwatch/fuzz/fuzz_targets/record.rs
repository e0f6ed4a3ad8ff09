//! Decodes any bytes as a record of the ring.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::decode::{
    AccountLayout, decode, decode_account, statistics::StatisticsLayout,
};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes, 4096);
    for is_indexed in [false, true] {
        let layout = AccountLayout {
            page_bytes: 4096,
            statistics: StatisticsLayout {
                enumerators: std::array::from_fn(|number| Some(5 * number)),
                count: 64,
                is_indexed,
            },
        };
        let _ = decode_account(bytes, &layout);
    }
});
