//! Reads globs over event types, for rules, `replay` and `journal dump` alike, so that a glob means the same to all.
//! Pure.

use globset::{Glob, GlobBuilder};

/// Most opening braces of a glob. Each may be one level of nesting, which takes its share of a thread's stack when the
/// glob is turned into a regular expression. All are counted, escaped ones too: the library decides which of them nest.
const MAX_BRACES: usize = 64;

/// Reads a glob. A type is a word, not a path, so `*` matches slashes, too.
///
/// # Errors
/// The text is not a glob; the message says why.
pub fn read(text: &str) -> Result<Glob, String> {
    if text.bytes().filter(|byte| *byte == b'{').count() > MAX_BRACES {
        return Err(format!("`{}` is not a glob: more than {MAX_BRACES} braces", shown(text)));
    }
    let glob = GlobBuilder::new(text).literal_separator(false).build();
    glob.map_err(|error| format!("`{}` is not a glob: {}", shown(text), error.kind()))
}

/// Those of these types that a glob matches; none if the text is not a glob.
pub fn matching<'t>(text: &str, types: &[&'t str]) -> Vec<&'t str> {
    let Ok(glob) = read(text) else { return vec![] };
    let matcher = glob.compile_matcher();
    types.iter().copied().filter(|kind| matcher.is_match(kind)).collect()
}

/// As much of a text as a message needs.
fn shown(text: &str) -> &str {
    const MOST: usize = 100;
    text.get(..text.floor_char_boundary(MOST)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_goes_over_slashes_and_lists_nest_as_deep_as_anybody_writes_them() {
        let glob = read("order.{paid,{re,un}*}").unwrap().compile_matcher();
        assert_eq!(["order.paid", "order.refunded/eu", "order.x"].map(|kind| glob.is_match(kind)), [true, true, false]);
        assert!(read("a{").unwrap_err().contains("`a{`"));
    }

    /// Braces in braces overflowed a thread's stack, which ended the daemon.
    #[test]
    fn braces_without_end_are_refused_however_they_are_written() {
        let nested = |open: &str, n: usize| open.repeat(n) + "a" + &"}".repeat(n);
        for text in [nested("{", 30_000), nested("{[}]", 30_000), nested("{\\}", 100), nested("{", MAX_BRACES + 1)] {
            let why = read(&text).unwrap_err();
            assert!(why.contains("more than 64 braces") && why.len() < 300, "{why}");
        }
        assert!(read(&nested("{", MAX_BRACES)).unwrap().compile_matcher().is_match("a"));
    }
}
