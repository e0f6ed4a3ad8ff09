//! Why bytes are not BTF that this reader understands.

use thiserror::Error;

/// Bytes that are not BTF, or BTF that is damaged or of an unknown format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// Shorter than a header.
    #[error("the file ends inside its header")]
    Short,
    /// Another kind of file.
    #[error("the file is not BTF (it begins with {magic:#06x}, not 0xeb9f)")]
    Magic {
        /// The first two bytes.
        magic: u16,
    },
    /// Big-endian byte order.
    #[error("the file is in big-endian byte order, that of another machine")]
    Swapped,
    /// An unknown version of the format.
    #[error("version {version} with flags {flags:#x} is unknown")]
    Version {
        /// 1 in all kernels so far.
        version: u8,
        /// 0 in all kernels so far.
        flags: u8,
    },
    /// A section reaches past the end of the file.
    #[error("the {section} section is not inside the file, which is truncated or damaged")]
    Section {
        /// Name of the section.
        section: &'static str,
    },
    /// The string section does not begin and end with a NUL.
    #[error("the string section does not begin and end with a NUL")]
    Strings,
    /// A type reaches past the end of the type section.
    #[error("type {id} is truncated")]
    Type {
        /// Id of the type.
        id: u32,
    },
    /// A kind of unknown size.
    #[error("type {id} is of the unknown kind {kind}")]
    Kind {
        /// Id of the type.
        id: u32,
        /// Number of the `BTF_KIND_` constant.
        kind: u32,
    },
    /// A name outside the string section.
    #[error("type {id} has a name at {offset}, outside the string section")]
    Name {
        /// Id of the type.
        id: u32,
        /// Offset of the name in the string section.
        offset: u32,
    },
    /// A reference to a type that does not exist.
    #[error("type {id} refers to type {reference}, which does not exist")]
    Reference {
        /// Id of the type.
        id: u32,
        /// Id of the type it refers to.
        reference: u32,
    },
}
