//! Globs over event types, read in one place: what a rule means by one is what `replay` and `journal dump` mean. Pure.

use globset::{Glob, GlobBuilder};

/// Most levels of braces in braces: each takes its share of a thread's stack when it is read.
const MAX_LEVELS: usize = 8;

/// Reads a glob. A type is a word, not a path: `*` goes over slashes, too.
///
/// # Errors
/// Says which text is none, and why.
pub fn read(text: &str) -> Result<Glob, String> {
    if levels(text) > MAX_LEVELS {
        return Err(format!("`{}` is not a glob: more than {MAX_LEVELS} braces in each other", shown(text)));
    }
    let glob = GlobBuilder::new(text).literal_separator(false).build();
    glob.map_err(|error| format!("`{}` is not a glob: {}", shown(text), error.kind()))
}

/// Deepest nesting of braces; too deep rather than not deep enough, as escapes and classes are not looked at.
fn levels(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' => now += 1,
            b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// As much of it as a message needs.
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

    /// The library reads braces by calling itself: this many overflowed a thread's stack and ended the daemon.
    #[test]
    fn braces_without_end_are_refused() {
        for text in ["{".repeat(30_000) + &"}".repeat(30_000), "{".repeat(MAX_LEVELS + 1) + &"}".repeat(MAX_LEVELS + 1)]
        {
            let why = read(&text).unwrap_err();
            assert!(why.contains("braces in each other") && why.len() < 300, "{why}");
        }
        let deepest = "{".repeat(MAX_LEVELS) + "a" + &"}".repeat(MAX_LEVELS);
        assert!(read(&deepest).unwrap().compile_matcher().is_match("a"));
    }
}
