//! The binary format of BTF (`include/uapi/linux/btf.h`): bytes to headers, sections and single types.
//!
//! Checks the length of each type only; the parent module checks what its numbers refer to.

use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use super::error::BtfError;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION`. It did not change when kinds were added and `info` was widened.
const VERSION: u8 = 1;

/// `struct btf_header` up to 7.0.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
struct Header {
    magic: U16,
    version: u8,
    flags: u8,
    length: U32,
    type_offset: U32,
    type_length: U32,
    string_offset: U32,
    string_length: U32,
}

/// The part of `struct btf_header` that 7.1 added.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
struct LayoutHeader {
    offset: U32,
    length: U32,
}

/// `struct btf_layout`: the size of a kind, for readers that do not know the kind (7.1 and later, optional).
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
pub(super) struct Layout {
    fixed: u8,
    element: u8,
    flags: U16,
}

/// The sections of a file.
pub(super) struct Sections<'a> {
    pub(super) types: &'a [u8],
    /// Begins and ends with a NUL.
    pub(super) strings: &'a [u8],
    /// By kind; empty in most files.
    pub(super) layouts: &'a [Layout],
}

impl<'a> Sections<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let (magic, _) = U16::read_from_prefix(bytes).map_err(|_| BtfError::Short)?;
        match magic.get() {
            MAGIC => {}
            magic if magic == MAGIC.swap_bytes() => return Err(BtfError::Swapped),
            magic => return Err(BtfError::Magic { magic }),
        }
        let (header, more) = Header::ref_from_prefix(bytes).map_err(|_| BtfError::Short)?;
        let Header {
            magic: _,
            version,
            flags,
            length,
            ..
        } = *header;
        if version != VERSION || flags != 0 {
            return Err(BtfError::Version { version, flags });
        }
        let length = length.get() as usize;
        let body = match bytes.get(length..) {
            Some(body) if length >= size_of::<Header>() => body,
            _ => return Err(BtfError::Section { section: "header" }),
        };
        let types = section(body, header.type_offset, header.type_length, "type")?;
        let strings = section(body, header.string_offset, header.string_length, "string")?;
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(BtfError::Strings);
        }
        let layouts = match LayoutHeader::ref_from_prefix(more) {
            Ok((layout, _)) if length >= size_of::<Header>() + size_of::<LayoutHeader>() => {
                let bytes = section(body, layout.offset, layout.length, "layout")?;
                <[Layout]>::ref_from_bytes(bytes)
                    .map_err(|_| BtfError::Section { section: "layout" })?
            }
            _ => &[],
        };
        Ok(Self {
            types,
            strings,
            layouts,
        })
    }
}

fn section<'a>(
    body: &'a [u8],
    offset: U32,
    length: U32,
    section: &'static str,
) -> Result<&'a [u8], BtfError> {
    body.get(offset.get() as usize..)
        .and_then(|rest| rest.get(..length.get() as usize))
        .ok_or(BtfError::Section { section })
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $raw:literal,)*) => {
        /// Kind of a type: `BTF_KIND_` of `include/uapi/linux/btf.h`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
            /// An unknown kind whose size the file states.
            Other,
        }

        impl Kind {
            fn from_raw(raw: u32) -> Self {
                match raw {
                    $($raw => Self::$name,)*
                    _ => Self::Other,
                }
            }

            /// The kind as an element of a bit set.
            pub(super) fn bit(self) -> u32 {
                1 << self as u32
            }
        }
    };
}

kinds! {
    /// An integer.
    Int = 1,
    /// A pointer.
    Ptr = 2,
    /// An array.
    Array = 3,
    /// A structure with its members.
    Struct = 4,
    /// A union with its members.
    Union = 5,
    /// An enumeration of 32-bit values.
    Enum = 6,
    /// A structure or union that is only declared.
    Fwd = 7,
    /// A typedef.
    Typedef = 8,
    /// `volatile`.
    Volatile = 9,
    /// `const`.
    Const = 10,
    /// `restrict`.
    Restrict = 11,
    /// A function; refers to its [`Kind::FuncProto`].
    Func = 12,
    /// A function prototype: parameters and result.
    FuncProto = 13,
    /// A variable.
    Var = 14,
    /// A section of variables.
    DataSec = 15,
    /// A floating-point number.
    Float = 16,
    /// A tag on a declaration.
    DeclTag = 17,
    /// A tag on a type, such as `__rcu`.
    TypeTag = 18,
    /// An enumeration of 64-bit values.
    Enum64 = 19,
}

/// `struct btf_type`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
struct TypeHeader {
    name: U32,
    info: U32,
    size_or_ref: U32,
}

/// `struct btf_member`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
pub(super) struct Member {
    pub(super) name: U32,
    pub(super) type_id: U32,
    offset: U32,
}

/// `struct btf_enum`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
struct Enumerator {
    name: U32,
    value: U32,
}

/// `struct btf_enum64`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
struct Enumerator64 {
    name: U32,
    low: U32,
    high: U32,
}

/// `struct btf_param`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
pub(super) struct Parameter {
    name: U32,
    pub(super) type_id: U32,
}

/// `struct btf_array`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
pub(super) struct Array {
    pub(super) element: U32,
    index: U32,
    pub(super) length: U32,
}

/// `struct btf_var_secinfo`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
struct SectionVariable {
    type_id: U32,
    offset: U32,
    size: U32,
}

/// One type.
#[derive(Clone, Copy)]
pub(super) struct Type<'a> {
    /// Offset of its name in the string section; 0 is no name.
    pub(super) name: u32,
    pub(super) kind: Kind,
    /// Size in bytes or type id, depending on the kind.
    pub(super) size_or_ref: u32,
    /// `kind_flag`: bitfields for structures, signed values for enumerations.
    flag: bool,
    body: &'a [u8],
}

/// The highest name offset and type id in a type.
pub(super) struct Extent {
    /// Offset in the string section.
    pub(super) name: u32,
    /// Type id.
    pub(super) reference: u32,
}

impl<'a> Type<'a> {
    /// The type at the beginning of `bytes`, and the bytes after it. `id` is used in the error only.
    pub(super) fn read(
        id: u32,
        bytes: &'a [u8],
        layouts: &[Layout],
    ) -> Result<(Self, &'a [u8]), BtfError> {
        let (header, rest) =
            TypeHeader::ref_from_prefix(bytes).map_err(|_| BtfError::Type { id })?;
        let info = header.info.get();
        // 24 bits of count and 7 of kind, as in newer kernels; in older ones the upper bits of both are 0.
        let (count, raw_kind) = (info & 0x00ff_ffff, info >> 24 & 0x7f);
        let kind = Kind::from_raw(raw_kind);
        let (fixed, element) = match kind {
            Kind::Int | Kind::Var | Kind::DeclTag => (4, 0),
            Kind::Array => (size_of::<Array>(), 0),
            Kind::Struct | Kind::Union => (0, size_of::<Member>()),
            Kind::Enum => (0, size_of::<Enumerator>()),
            Kind::Enum64 => (0, size_of::<Enumerator64>()),
            Kind::FuncProto => (0, size_of::<Parameter>()),
            Kind::DataSec => (0, size_of::<SectionVariable>()),
            Kind::Ptr
            | Kind::Fwd
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::Float
            | Kind::TypeTag => (0, 0),
            Kind::Other => match layouts.get(raw_kind as usize) {
                Some(layout) if raw_kind != 0 => (layout.fixed.into(), layout.element.into()),
                _ => return Err(BtfError::Kind { id, kind: raw_kind }),
            },
        };
        let (body, rest) = rest
            .split_at_checked(fixed + element * count as usize)
            .ok_or(BtfError::Type { id })?;
        let name = header.name.get();
        let size_or_ref = header.size_or_ref.get();
        let flag = info >> 31 == 1;
        Ok((
            Self {
                name,
                kind,
                size_or_ref,
                flag,
                body,
            },
            rest,
        ))
    }

    /// The members of a structure or union.
    pub(super) fn members(&self) -> &'a [Member] {
        match self.kind {
            Kind::Struct | Kind::Union => slice(self.body),
            _ => &[],
        }
    }

    /// Offset of a member in bits; `None` for a bitfield.
    pub(super) fn member_bits(&self, member: &Member) -> Option<u32> {
        let offset = member.offset.get();
        match (self.flag, offset >> 24) {
            (true, 0) => Some(offset & 0x00ff_ffff),
            (true, _) => None,
            (false, _) => Some(offset),
        }
    }

    /// The parameters of a [`Kind::FuncProto`].
    pub(super) fn parameters(&self) -> &'a [Parameter] {
        match self.kind {
            Kind::FuncProto => slice(self.body),
            _ => &[],
        }
    }

    /// Element and length of an array.
    pub(super) fn array(&self) -> Option<Array> {
        match self.kind {
            Kind::Array => Array::read_from_bytes(self.body).ok(),
            _ => None,
        }
    }

    /// The enumerators of an enumeration: offset of the name, and the value if it fits into `i64`.
    pub(super) fn enumerators(&self) -> impl Iterator<Item = (u32, Option<i64>)> + use<'a> {
        let signed = self.flag;
        let (short, long): (&[Enumerator], &[Enumerator64]) = match self.kind {
            Kind::Enum => (slice(self.body), &[]),
            Kind::Enum64 => (&[], slice(self.body)),
            _ => (&[], &[]),
        };
        let short = short.iter().map(move |Enumerator { name, value }| {
            let value = value.get();
            (
                name.get(),
                Some(if signed {
                    value.cast_signed().into()
                } else {
                    value.into()
                }),
            )
        });
        let long = long.iter().map(move |Enumerator64 { name, low, high }| {
            let value = u64::from(high.get()) << 32 | u64::from(low.get());
            (
                name.get(),
                if signed {
                    Some(value.cast_signed())
                } else {
                    value.try_into().ok()
                },
            )
        });
        short.chain(long)
    }

    /// The highest name offset and type id in this type.
    pub(super) fn extent(&self) -> Extent {
        let mut name = self.name;
        let mut reference = 0;
        match self.kind {
            Kind::Struct | Kind::Union => {
                for member in self.members() {
                    name = name.max(member.name.get());
                    reference = reference.max(member.type_id.get());
                }
            }
            Kind::FuncProto => {
                reference = self.size_or_ref;
                for parameter in self.parameters() {
                    name = name.max(parameter.name.get());
                    reference = reference.max(parameter.type_id.get());
                }
            }
            Kind::Enum | Kind::Enum64 => {
                name = self
                    .enumerators()
                    .fold(name, |highest, (name, _)| highest.max(name));
            }
            Kind::Array => {
                if let Some(Array {
                    element,
                    index,
                    length: _,
                }) = self.array()
                {
                    reference = element.get().max(index.get());
                }
            }
            Kind::DataSec => {
                for variable in slice::<SectionVariable>(self.body) {
                    reference = reference.max(variable.type_id.get());
                }
            }
            Kind::Ptr
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::Var
            | Kind::DeclTag
            | Kind::TypeTag => reference = self.size_or_ref,
            Kind::Int | Kind::Fwd | Kind::Float => {}
            // The meaning of its numbers is unknown.
            Kind::Other => name = 0,
        }
        Extent { name, reference }
    }
}

/// `bytes` as elements; [`Type::read`] made their length a multiple of an element's size.
fn slice<T: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> &[T] {
    <[T]>::ref_from_bytes(bytes).unwrap_or_default()
}
