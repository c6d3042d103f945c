//! A table of `config.toml` on its way to a type: positions kept, every fault reported, not just the first.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
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
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }
        fn visit_str<E: Error>(self, one: &str) -> Result<Vec<String>, E> {
            Ok(vec![one.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = seq.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    from.deserialize_any(OneOrMany)
}

/// A table, and nothing else: serde takes a list for a struct, too, its values in the order of the fields.
///
/// # Errors
/// Where it is none, in the words of `T` (`#[serde(expecting = "…")]`).
pub fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Table(PhantomData))
}

/// As [`table`], for a key that need not be there.
///
/// # Errors
/// As [`table`].
pub fn some_table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    table(from).map(Some)
}

struct Table<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        T::deserialize(NoTable(Unexpected::Seq, PhantomData))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::deserialize(NoTable(Unexpected::Str(text), PhantomData))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<T, E> {
        T::deserialize(NoTable(Unexpected::Signed(n), PhantomData))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<T, E> {
        T::deserialize(NoTable(Unexpected::Float(n), PhantomData))
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<T, E> {
        T::deserialize(NoTable(Unexpected::Bool(on), PhantomData))
    }
}

/// What stands instead of a table, made into serde's error: the type that was to be read says what it expected.
struct NoTable<'a, E>(Unexpected<'a>, PhantomData<E>);

impl<'de, E: Error> Deserializer<'de> for NoTable<'_, E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        Err(E::invalid_type(self.0, &visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default, expecting = "a table such as { n = 1 }")]
    #[allow(dead_code)]
    struct Inner {
        n: u32,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code)]
    struct Outer {
        #[serde(deserialize_with = "table")]
        inner: Inner,
        #[serde(deserialize_with = "some_table")]
        some: Option<Inner>,
        #[serde(deserialize_with = "table")]
        names: std::collections::BTreeMap<String, Secret>,
    }

    fn faults(text: &str) -> Vec<String> {
        let read = Settings::new(DeTable::parse(text).unwrap()).read::<Outer>();
        read.map(|_| vec![]).unwrap_or_else(|faults| faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn a_list_is_no_table_and_neither_is_anything_else() {
        assert_eq!(faults("inner = { n = 1 }\nsome = {}\nnames = { a = 'b' }\n"), Vec::<String>::new());
        for key in ["inner", "some"] {
            for (value, name) in [
                ("[3]", "sequence"),
                ("[]", "sequence"),
                ("'x'", "string \"x\""),
                ("3", "integer `3`"),
                ("true", "boolean `true`"),
                ("1.5", "floating point `1.5`"),
            ] {
                let expected = format!("invalid type: {name}, expected a table such as {{ n = 1 }}");
                assert_eq!(faults(&format!("{key} = {value}\n")), [expected]);
            }
        }
        assert_eq!(faults("names = ['a']\n"), ["invalid type: sequence, expected a map"]);
        // Faults below keep their position.
        assert_eq!(faults("inner = { m = 1 }\n"), ["unknown key `m`, expected `n`"]);
    }
}
