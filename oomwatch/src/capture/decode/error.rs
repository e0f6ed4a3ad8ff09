//! Why bytes of the ring are not a record.

/// Bytes that are not a record of this layout.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the fixed part of a record of its kind.
    #[error("record of kind {kind} is truncated: {length} bytes of at least {needed}")]
    Truncated {
        /// Kind in the header; 0 where the header itself is truncated.
        kind: u32,
        /// Bytes received.
        length: usize,
        /// Bytes that a record of this kind has at least.
        needed: usize,
    },
    /// The length in the header is not the number of bytes received.
    #[error("record has the length {claimed} in its header, but {length} bytes were received")]
    Length {
        /// Length in the header.
        claimed: u32,
        /// Bytes received.
        length: usize,
    },
    /// A kind that this version does not know.
    #[error("record of unknown kind {0}")]
    Kind(u32),
    /// A field has a value that the programs never write.
    #[error("record has the invalid value {value} in the field {field}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}
