//! JSON output, schema `oomwatch/v1`: one record per line. `docs/output.md` is its reference, and `docs/oomwatch-v1.schema.json` its JSON Schema. Fields may be added, never
//! renamed.
//!
//! In a string of bytes that are not UTF-8, U+FFFD stands for each invalid sequence, and a field with the same name and
//! the suffix `_hex` holds all bytes.

mod account;
mod encoding;
mod gap;
mod kill;
mod objects;
#[cfg(test)]
mod schema_tests;

pub use self::{
    gap::gap_to_json,
    kill::{coalesced_to_json, kill_to_json},
};
