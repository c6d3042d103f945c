//! A table of `config.toml` on its way to a type: positions kept, every fault reported, not just the first.

use std::ops::Range;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::Fault;
use crate::survey::every_fault;

/// One table, its positions kept. `${…}` in its strings has been filled in already.
#[derive(Clone, Debug)]
pub struct Settings<'i>(Spanned<DeTable<'i>>);

impl<'i> Settings<'i> {
    /// Wraps a table.
    pub fn new(table: Spanned<DeTable<'i>>) -> Self {
        Self(table)
    }

    /// Takes a key out of the table: what the core owns, before a sink reads the rest.
    pub fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'i>>> {
        self.0.get_mut().remove(key)
    }

    /// The bytes of the file the table covers.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }

    /// The table itself.
    pub fn table(&self) -> &DeTable<'i> {
        self.0.get_ref()
    }

    /// Reads the table as `T` (which says `deny_unknown_fields`).
    ///
    /// # Errors
    /// All faults at once, those of nested tables included: unknown keys, missing keys, values of a wrong type.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Vec<Fault>> {
        T::deserialize(toml::de::Deserializer::from(self.0.clone())).map_err(|_| every_fault::<T>(&self.0))
    }
}

/// A string, or a list of strings.
///
/// # Errors
/// Where it is neither.
pub fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or a list of strings")
        }
        fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Vec<String>, E> {
            Ok(vec![one.to_owned()])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = seq.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    from.deserialize_any(Visitor)
}
