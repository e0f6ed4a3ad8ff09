//! Reads BTF, the kernel's own description of its types (`Documentation/bpf/btf.rst`), from the bytes of one file.
//!
//! Names become type ids, paths become offsets. Total: any input gives an answer or an error, in time linear in its size for
//! parsing and bounded for each look-up, whatever cycles it holds. Only whole files in little-endian order are read: neither
//! the split BTF of modules nor a file of the other byte order. An index of four bytes a type is all that is allocated.

use thiserror::Error;

use self::raw::{Extent, Layout, Sections, Type};

pub use self::raw::Kind;

#[cfg(test)]
pub(crate) mod build;
mod raw;
pub mod skeleton;
#[cfg(test)]
mod tests;

/// Modifiers behind one another, and structures inside one another, that are followed; the kernel's own stay below 10.
const MAX_DEPTH: u32 = 16;
/// Members that one look-up may visit; `task_struct` has some 300.
const MAX_MEMBERS: u32 = 1 << 14;
/// Bytes of a pointer: BTF does not tell, and the programs load on 64-bit kernels only.
const POINTER_SIZE: u32 = 8;

/// Why bytes are not BTF that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// Not even a header.
    #[error("the file ends inside its header")]
    Short,
    /// Another kind of file.
    #[error("the file is not BTF (it begins with {magic:#06x}, not 0xeb9f)")]
    Magic {
        /// What it begins with.
        magic: u16,
    },
    /// The other byte order.
    #[error("the file is in big-endian byte order, that of another machine")]
    Swapped,
    /// A format of the future.
    #[error("version {version} with flags {flags:#x} is not known")]
    Version {
        /// 1 in all kernels so far.
        version: u8,
        /// 0 in all kernels so far.
        flags: u8,
    },
    /// A section is not inside the file: it is cut off or damaged.
    #[error("the {section} section is not inside the file")]
    Section {
        /// Which one.
        section: &'static str,
    },
    /// The string section does not begin and end with a NUL.
    #[error("the string section does not begin and end with a nul")]
    Strings,
    /// A type that the type section ends in.
    #[error("type {id} is cut off")]
    Type {
        /// Its id.
        id: u32,
    },
    /// A kind that is not known, of a size that is not known.
    #[error("type {id} is of kind {kind}, which is not known")]
    Kind {
        /// Id of the type.
        id: u32,
        /// `BTF_KIND_`.
        kind: u32,
    },
    /// A name outside the string section.
    #[error("a name of type {id} is at {offset}, outside the string section")]
    Name {
        /// Id of the type.
        id: u32,
        /// Where the name should be.
        offset: u32,
    },
    /// A type that does not exist.
    #[error("type {id} refers to type {reference}, which does not exist")]
    Reference {
        /// Id of the type.
        id: u32,
        /// What it refers to.
        reference: u32,
    },
}

/// A type's number in its file; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

impl TypeId {
    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Somewhere inside a structure, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the beginning of the structure that the look-up began with.
    pub offset: u32,
    /// What is there.
    pub type_id: TypeId,
}

impl Place {
    /// The beginning of a structure.
    #[must_use]
    pub fn start(type_id: TypeId) -> Self {
        Self { offset: 0, type_id }
    }
}

/// The types of one file.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    layouts: &'a [Layout],
    /// Where each type begins in `types`; type 1 is the first.
    index: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Reads a file once, from its first type to its last, and checks every length, name and type id that is in it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let Sections {
            types,
            strings,
            layouts,
        } = Sections::read(bytes)?;
        let mut index = Vec::new();
        // How many types there are is known at the end only.
        let (mut highest, mut highest_in) = (0, 0);
        let mut rest = types;
        let mut id = 0;
        while !rest.is_empty() {
            id += 1;
            let (found, after) = Type::read(id, rest, layouts)?;
            let Extent { name, reference } = found.extent();
            if name as usize >= strings.len() {
                return Err(BtfError::Name { id, offset: name });
            }
            if reference > highest {
                (highest, highest_in) = (reference, id);
            }
            // Sections are measured in 32 bits, so that this cannot fail.
            index.push(u32::try_from(types.len() - rest.len()).map_err(|_| BtfError::Type { id })?);
            rest = after;
        }
        if highest > id {
            return Err(BtfError::Reference {
                id: highest_in,
                reference: highest,
            });
        }
        Ok(Self {
            types,
            strings,
            layouts,
            index,
        })
    }

    /// Finds many types by kind and name in one pass. Of several structures the largest is taken, the first if they are equal:
    /// names come again as empty structures, and where a driver has a small one of its own.
    #[must_use]
    pub fn types<const N: usize>(&self, wanted: [(Kind, &str); N]) -> [Option<TypeId>; N] {
        let kinds = wanted.iter().fold(0, |kinds, (kind, _)| kinds | kind.bit());
        let mut found = [None; N];
        for (id, candidate) in self.iter(kinds) {
            let size = match candidate.kind {
                Kind::Struct | Kind::Union => candidate.size_or_ref,
                _ => 0,
            };
            for (found, (kind, name)) in found.iter_mut().zip(wanted) {
                if candidate.kind == kind
                    && found.is_none_or(|(largest, _)| largest < size)
                    && self.is_named(candidate.name, name)
                {
                    *found = Some((size, id));
                }
            }
        }
        found.map(|found| found.map(|(_, id)| id))
    }

    /// Finds the values of many enumerators, of any enumeration, in one pass. One that has two values has none.
    #[must_use]
    pub fn enumerators<const N: usize>(&self, wanted: [&str; N]) -> [Option<i64>; N] {
        let mut found = [None; N];
        for (name, value) in self
            .iter(Kind::Enum.bit() | Kind::Enum64.bit())
            .flat_map(|(_, candidate)| candidate.enumerators())
        {
            for (found, wanted) in found.iter_mut().zip(wanted) {
                if self.is_named(name, wanted) {
                    *found = match *found {
                        Some(other) if other != value => Some(None),
                        _ => Some(value),
                    };
                }
            }
        }
        found.map(Option::flatten)
    }

    /// The member of a structure or union at a path such as `memory.usage`, as C would name it: through unnamed structures and
    /// unions. Nothing for a bitfield.
    #[must_use]
    pub fn member(&self, of: Place, path: &str) -> Option<Place> {
        path.split('.').try_fold(of, |place, name| {
            let mut visits = MAX_MEMBERS;
            let (bits, type_id) = self.search(place.type_id, name, MAX_DEPTH, &mut visits)?;
            let bytes = u32::try_from(bits / 8).ok().filter(|_| bits % 8 == 0)?;
            Some(Place {
                offset: place.offset.checked_add(bytes)?,
                type_id,
            })
        })
    }

    /// An element of an array; nothing past its end.
    #[must_use]
    pub fn element(&self, of: Place, number: u32) -> Option<Place> {
        let array = self.resolve(of.type_id)?.array()?;
        let type_id = TypeId(array.element.get());
        let skipped = self
            .size(type_id)?
            .checked_mul(number)
            .filter(|_| number < array.length.get())?;
        Some(Place {
            offset: of.offset.checked_add(skipped)?,
            type_id,
        })
    }

    /// Bytes that a value of the type takes; nothing for what has no size, such as a function.
    #[must_use]
    pub fn size(&self, type_id: TypeId) -> Option<u32> {
        let mut elements: u32 = 1;
        let mut type_id = type_id;
        for _ in 0..MAX_DEPTH {
            let found = self.resolve(type_id)?;
            match found.kind {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float => {
                    return found.size_or_ref.checked_mul(elements);
                }
                Kind::Ptr => return POINTER_SIZE.checked_mul(elements),
                Kind::Array => {
                    let array = found.array()?;
                    elements = elements.checked_mul(array.length.get())?;
                    type_id = TypeId(array.element.get());
                }
                Kind::Fwd
                | Kind::Typedef
                | Kind::Volatile
                | Kind::Const
                | Kind::Restrict
                | Kind::Func
                | Kind::FuncProto
                | Kind::Var
                | Kind::DataSec
                | Kind::DeclTag
                | Kind::TypeTag
                | Kind::Other => return None,
            }
        }
        None
    }

    /// What a pointer points to.
    #[must_use]
    pub fn pointee(&self, pointer: TypeId) -> Option<TypeId> {
        let found = self.resolve(pointer)?;
        (found.kind == Kind::Ptr).then_some(TypeId(found.size_or_ref))
    }

    /// The types of a function's parameters.
    #[must_use]
    pub fn parameters(
        &self,
        function: TypeId,
    ) -> Option<impl ExactSizeIterator<Item = TypeId> + use<'a>> {
        let found = self.resolve(function)?;
        (found.kind == Kind::FuncProto).then(|| {
            found
                .parameters()
                .iter()
                .map(|parameter| TypeId(parameter.type_id.get()))
        })
    }

    /// Where a member begins, in bits, and what it is.
    fn search(
        &self,
        of: TypeId,
        name: &str,
        depth: u32,
        visits: &mut u32,
    ) -> Option<(u64, TypeId)> {
        let depth = depth.checked_sub(1)?;
        let of = self.resolve(of)?;
        for member in of.members() {
            *visits = visits.checked_sub(1)?;
            let type_id = TypeId(member.type_id.get());
            if self.is_named(member.name.get(), name) {
                return Some((of.member_bits(member)?.into(), type_id));
            }
            if member.name.get() == 0
                && let Some((inner, found)) = self.search(type_id, name, depth, visits)
            {
                return Some((u64::from(of.member_bits(member)?) + inner, found));
            }
        }
        None
    }

    /// The type behind modifiers and typedefs.
    fn resolve(&self, type_id: TypeId) -> Option<Type<'a>> {
        let mut found = self.get(type_id)?;
        for _ in 0..MAX_DEPTH {
            match found.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    found = self.get(TypeId(found.size_or_ref))?;
                }
                Kind::Int
                | Kind::Ptr
                | Kind::Array
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Fwd
                | Kind::Func
                | Kind::FuncProto
                | Kind::Var
                | Kind::DataSec
                | Kind::Float
                | Kind::DeclTag
                | Kind::Enum64
                | Kind::Other => return Some(found),
            }
        }
        None
    }

    fn get(&self, TypeId(id): TypeId) -> Option<Type<'a>> {
        let offset = *self.index.get(id.checked_sub(1)? as usize)?;
        let bytes = self.types.get(offset as usize..)?;
        Type::read(id, bytes, self.layouts)
            .ok()
            .map(|(found, _)| found)
    }

    /// The types of these kinds.
    fn iter(&self, kinds: u32) -> impl Iterator<Item = (TypeId, Type<'a>)> {
        (1..)
            .map_while(|id| Some((TypeId(id), self.get(TypeId(id))?)))
            .filter(move |(_, found)| kinds & found.kind.bit() != 0)
    }

    /// Looks at the end first: that one byte tells nearly all names apart, and no string is read further than `name` is long.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|string| string.split_at_checked(name.len()))
            .is_some_and(|(string, rest)| rest.first() == Some(&0) && string == name.as_bytes())
    }
}
