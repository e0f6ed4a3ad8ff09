//! Writes BTF for tests, type by type, with any number in it that a test needs.

/// A BTF file under construction. Each method that adds a type returns its id.
pub(crate) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    layouts: Vec<u8>,
    count: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            layouts: Vec::new(),
            count: 0,
        }
    }

    /// The id of the type that is added next.
    pub(crate) fn next(&self) -> u32 {
        self.count + 1
    }

    /// Adds a name and returns its offset; the empty name is at 0.
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        offset
    }

    /// Adds any type; `info` is kind, flag and count as in the file.
    pub(crate) fn raw(&mut self, name: u32, info: u32, size_or_type: u32, body: &[u32]) -> u32 {
        for number in [name, info, size_or_type].iter().chain(body) {
            self.types.extend(number.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn int(&mut self, name: &str, size: u32) -> u32 {
        let name = self.name(name);
        self.raw(name, 1 << 24, size, &[size * 8])
    }

    pub(crate) fn ptr(&mut self, to: u32) -> u32 {
        self.raw(0, 2 << 24, to, &[])
    }

    pub(crate) fn array(&mut self, of: u32, length: u32) -> u32 {
        self.raw(0, 3 << 24, 0, &[of, of, length])
    }

    /// Members: name, type and offset in bytes.
    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.compound(4, name, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.compound(5, name, size, members)
    }

    fn compound(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let name = self.name(name);
        let count = u32::try_from(members.len()).unwrap();
        let body: Vec<u32> = members
            .iter()
            .flat_map(|(name, of, offset)| [self.name(name), *of, offset * 8])
            .collect();
        self.raw(name, kind << 24 | count, size, &body)
    }

    pub(crate) fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
        let name = self.name(name);
        let count = u32::try_from(values.len()).unwrap();
        let body: Vec<u32> = values
            .iter()
            .flat_map(|(name, value)| [self.name(name), *value])
            .collect();
        self.raw(name, 6 << 24 | count, 4, &body)
    }

    pub(crate) fn typedef(&mut self, name: &str, of: u32) -> u32 {
        let name = self.name(name);
        self.raw(name, 8 << 24, of, &[])
    }

    /// Adds a type of a kind that only refers to another type, such as `const`.
    pub(crate) fn modifier(&mut self, kind: u32, of: u32) -> u32 {
        self.raw(0, kind << 24, of, &[])
    }

    /// Adds a function prototype with the result `void`.
    pub(crate) fn prototype(&mut self, parameters: &[u32]) -> u32 {
        let count = u32::try_from(parameters.len()).unwrap();
        let body: Vec<u32> = parameters
            .iter()
            .flat_map(|parameter| [0, *parameter])
            .collect();
        self.raw(0, 13 << 24 | count, 0, &body)
    }

    pub(crate) fn function(&mut self, name: &str, prototype: u32) -> u32 {
        let name = self.name(name);
        self.raw(name, 12 << 24, prototype, &[])
    }

    /// Adds the size of the next kind to the layout section, which is absent unless this is called.
    pub(crate) fn layout(&mut self, fixed: u8, element: u8) {
        self.layouts.extend([fixed, element, 0, 0]);
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let [types, strings, layouts] = [&self.types, &self.strings, &self.layouts]
            .map(|section| u32::try_from(section.len()).unwrap());
        let mut header = vec![0, types, types, strings];
        if layouts > 0 {
            header.extend([types + strings, layouts]);
        }
        let length = u32::try_from(header.len() * 4 + 8).unwrap();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend(length.to_le_bytes());
        bytes.extend(header.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend([&self.types[..], &self.strings, &self.layouts].concat());
        bytes
    }
}
