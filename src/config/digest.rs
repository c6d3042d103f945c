//! A digest of a table's values, by which a reload sees whether a sink has changed. It is taken after `${…}` has been
//! filled in, so that a new secret counts as a change although no secret is kept. Layout and order do not count.

use sha2::{Digest, Sha256};
use toml::de::{DeTable, DeValue};

/// SHA-256 over the table's values.
pub(super) fn digest(table: &DeTable<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    add_table(&mut hash, table);
    hash.finalize().into()
}

/// Adds a tag, a length and the content, so that no two different values give the same bytes.
fn add(hash: &mut Sha256, tag: u8, text: &str) {
    hash.update([tag]);
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

fn add_table(hash: &mut Sha256, table: &DeTable<'_>) {
    add(hash, b't', &table.len().to_string());
    for (key, value) in table {
        add(hash, b'k', key.get_ref());
        add_value(hash, value.get_ref());
    }
}

fn add_value(hash: &mut Sha256, value: &DeValue<'_>) {
    match value {
        DeValue::String(text) => add(hash, b's', text),
        DeValue::Integer(n) => add(hash, b'i', &format!("{}:{}", n.radix(), n.as_str())),
        DeValue::Float(n) => add(hash, b'f', n.as_str()),
        DeValue::Boolean(b) => add(hash, b'b', if *b { "true" } else { "false" }),
        DeValue::Datetime(time) => add(hash, b'd', &time.to_string()),
        DeValue::Array(all) => {
            add(hash, b'a', &all.len().to_string());
            all.iter().for_each(|one| add_value(hash, one.get_ref()));
        }
        DeValue::Table(table) => add_table(hash, table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> [u8; 32] {
        digest(DeTable::parse(text).unwrap().get_ref())
    }

    #[test]
    fn layout_and_order_do_not_count_and_every_value_does() {
        assert_eq!(of("a = 1\nb = ['x']\n"), of("\n# c\nb = [ \"x\" ]\na = 1"));
        for other in ["a = 2\nb = ['x']", "a = 1\nb = ['y']", "a = 1\nb = 'x'", "a = '1'\nb = ['x']", "a = 1\nb = []"] {
            assert_ne!(of("a = 1\nb = ['x']\n"), of(other), "{other}");
        }
    }
}
