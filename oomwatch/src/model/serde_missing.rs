//! Serde form of the names of fields that could not be read. Names unknown to this version are dropped.

use oomwatch_ebpf::record::MISSING_NAMES;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(
    names: &[&'static str],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    names.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'static str>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| known(name)).collect())
}

fn known(name: &str) -> Option<&'static str> {
    let mut names = MISSING_NAMES.iter().map(|(_, known)| *known);
    names.find(|known| *known == name)
}
