//! A table of `config.toml` on its way to a type: positions kept, every fault reported, not just the first.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{Fault, nearest};

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
    /// All faults: after each one, the key it lies under is set aside and the rest is read again.
    pub fn read<T: DeserializeOwned>(mut self) -> Result<T, Vec<Fault>> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut set_aside: BTreeSet<String> = BTreeSet::new();
        loop {
            let error = match T::deserialize(toml::de::Deserializer::from(self.0.clone())) {
                Ok(value) if faults.is_empty() => return Ok(value),
                Ok(_) => return Err(faults),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| self.0.span());
            let (message, help) = reword(error.message());
            if missing_field(error.message()).is_none_or(|name| !set_aside.contains(name)) {
                faults.push(Fault { help, ..Fault::at_span(span.clone(), message) });
            }
            // A fault under one of our keys: go on without that key. A missing key cannot be set aside: stop there.
            match key_over(self.table(), &span) {
                Some(key) => {
                    self.0.get_mut().remove(key.as_str());
                    set_aside.insert(key);
                }
                None => return Err(faults),
            }
        }
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

/// The top-level key whose name or value covers the span.
fn key_over(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    // An empty span is a table's own place (a missing key), not a key's.
    let covers = |outer: Range<usize>| !span.is_empty() && outer.start <= span.start && span.end <= outer.end;
    table
        .iter()
        .find(|(key, value)| covers(key.span()) || covers(value.span()))
        .map(|(key, _)| key.get_ref().clone().into_owned())
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// serde's wording with the nearest of the expected names as the way out.
fn reword(message: &str) -> (String, Option<String>) {
    let help = ["unknown field `", "unknown variant `"].iter().find_map(|prefix| {
        let (typo, rest) = message.strip_prefix(prefix)?.split_once('`')?;
        let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        nearest(typo, names).map(|name| format!("did you mean `{name}`?"))
    });
    let message = match missing_field(message) {
        Some(name) => format!("missing key `{name}`"),
        None => message.replacen("unknown field", "unknown key", 1).replacen("unknown variant", "unknown value", 1),
    };
    (message, help)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Probe {
        path: String,
        #[serde(default)]
        inflight: u32,
    }

    fn read(text: &str) -> Vec<Fault> {
        Settings::new(DeTable::parse(text).unwrap()).read::<Probe>().unwrap_err()
    }

    #[test]
    fn every_fault_of_a_table_is_reported_with_its_place() {
        let text = "path = 3\ninflght = 1\ninflight = \"many\"\n";
        let mut faults = read(text);
        faults.sort_by_key(|f| match &f.at {
            crate::At::Span(s) => s.start,
            _ => 0,
        });
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert_eq!(faults[0].at, crate::At::Span(7..8));
        assert!(faults[1].message.starts_with("unknown key `inflght`"), "{faults:#?}");
        assert_eq!(faults[1].help.as_deref(), Some("did you mean `inflight`?"));
        assert!(faults[2].message.contains("expected u32"), "{faults:#?}");
    }

    #[test]
    fn a_missing_key_is_named_once_and_not_blamed_when_its_value_was_wrong() {
        let faults = read("inflight = 1");
        assert_eq!((faults.len(), faults[0].message.as_str()), (1, "missing key `path`"));
        assert_eq!(read("path = 1").len(), 1);
    }
}
