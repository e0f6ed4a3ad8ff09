//! Reads BTF, the kernel's description of its types (`Documentation/bpf/btf.rst`), from the bytes of one file.
//!
//! Turns names into type ids, and paths such as `memory.usage` into offsets. Any input gives a result or an error: parsing
//! takes time linear in the size of the file, and each look-up is bounded, whatever cycles the types contain. Reads complete
//! little-endian files only, not the split BTF of modules. Allocates an index of four bytes per type.

use self::raw::{Extent, Layout, Sections, Type};

pub use self::{error::BtfError, raw::Kind};

#[cfg(test)]
pub(crate) mod build;
mod error;
mod raw;
pub mod skeleton;
#[cfg(test)]
mod tests;

/// Depth of nested modifiers, and of nested structures, that a look-up follows; in kernels it is below 10.
const MAX_DEPTH: u32 = 16;
/// Number of members that one look-up may visit; `task_struct` has about 300.
const MAX_MEMBERS: u32 = 1 << 14;
/// Bytes of a pointer. BTF does not state it; the programs load on 64-bit kernels only.
const POINTER_SIZE: u32 = 8;

/// The number of a type in its file; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

impl TypeId {
    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// An offset inside a structure, and the type of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedOffset {
    /// Bytes from the beginning of the structure in which the look-up started.
    pub offset: u32,
    /// The type at that offset.
    pub type_id: TypeId,
}

impl TypedOffset {
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
    /// Offset of each type in `types`; the first entry is type 1.
    index: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Indexes the types of a file in one pass, and checks every length, name and type id in it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let Sections {
            types,
            strings,
            layouts,
        } = Sections::read(bytes)?;
        let mut index = Vec::new();
        // The number of types is known at the end only.
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
            // Cannot fail: the length of a section is a 32-bit number.
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

    /// Finds several types by kind and name in one pass. Of several structures of a name it takes the largest, and the first of
    /// equal ones: a name may occur again as an empty structure, or as a small one of a driver.
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

    /// Finds the values of several enumerators, of any enumeration, in one pass. An enumerator with two different values counts
    /// as not found.
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

    /// The member of a structure or union at a path such as `memory.usage`. As in C, unnamed structures and unions are searched
    /// too. `None` for a bitfield.
    #[must_use]
    pub fn member(&self, of: TypedOffset, path: &str) -> Option<TypedOffset> {
        path.split('.').try_fold(of, |at, name| {
            let mut visits = MAX_MEMBERS;
            let (bits, type_id) = self.find_member(at.type_id, name, MAX_DEPTH, &mut visits)?;
            let bytes = u32::try_from(bits / 8).ok().filter(|_| bits % 8 == 0)?;
            Some(TypedOffset {
                offset: at.offset.checked_add(bytes)?,
                type_id,
            })
        })
    }

    /// Element `number` of an array; `None` past its end.
    #[must_use]
    pub fn element(&self, of: TypedOffset, number: u32) -> Option<TypedOffset> {
        let array = self.resolve(of.type_id)?.array()?;
        let type_id = TypeId(array.element.get());
        let skipped = self
            .size(type_id)?
            .checked_mul(number)
            .filter(|_| number < array.length.get())?;
        Some(TypedOffset {
            offset: of.offset.checked_add(skipped)?,
            type_id,
        })
    }

    /// Size of a value of the type in bytes; `None` for a type without a size, such as a function.
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

    /// The type that a pointer points to; `None` for another type.
    #[must_use]
    pub fn pointee(&self, pointer: TypeId) -> Option<TypeId> {
        let found = self.resolve(pointer)?;
        (found.kind == Kind::Ptr).then_some(TypeId(found.size_or_ref))
    }

    /// The parameter types of a function prototype; `None` for another type.
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

    /// Offset of a member in bits, and its type.
    fn find_member(
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
                && let Some((inner, found)) = self.find_member(type_id, name, depth, visits)
            {
                return Some((u64::from(of.member_bits(member)?) + inner, found));
            }
        }
        None
    }

    /// The type without its modifiers and typedefs.
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

    /// Whether the string at `offset` is `name`. Compares the terminating NUL first: that byte alone excludes nearly all names.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|string| string.split_at_checked(name.len()))
            .is_some_and(|(string, rest)| rest.first() == Some(&0) && string == name.as_bytes())
    }
}
