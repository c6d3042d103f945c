//! Paths that no source has: how they are shown, and which source's path was probably meant. Strangers choose them, so
//! they are bounded, and nothing that may be a query is shown. Pure.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sink_api::fault::is_one_slip_apart;

/// Most bytes of a path that is shown.
const MOST_SHOWN: usize = 128;
/// What is shown in the place of what is cut off.
const CUT: char = '…';
/// Where a query or parameters may begin, written out or encoded.
const BEGINS_QUERY: [&str; 10] = ["?", "&", ";", "=", "#", "%3f", "%26", "%3b", "%3d", "%23"];
/// What is shown encoded, so that no terminal takes it for anything but text; all that is not ASCII, too.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\').add(b'`');

/// A path as it is shown and counted: cut where a query may begin (`/webhooks&token=…`), and when it is long.
pub(super) fn shown(path: &str) -> String {
    let plain = before_query(path);
    // One character of it is one of the encoded at least.
    let begin = plain.get(..plain.floor_char_boundary(MOST_SHOWN + 1)).unwrap_or(plain);
    let encoded: String = utf8_percent_encode(begin, ENCODED).collect();
    // All ASCII: each byte is a character.
    let kept = encoded.get(..MOST_SHOWN).unwrap_or(&encoded);
    match (kept.is_empty(), kept.len() < encoded.len() || begin.len() < path.len()) {
        (true, false) => "/".to_owned(),
        (_, true) => format!("{kept}{CUT}"),
        (_, false) => kept.to_owned(),
    }
}

/// The path up to where a query may begin.
fn before_query(path: &str) -> &str {
    let lower = path.to_ascii_lowercase();
    let end = BEGINS_QUERY.iter().filter_map(|begins| lower.find(begins)).min();
    end.and_then(|end| path.get(..end)).unwrap_or(path)
}

/// The known path that was probably meant by this one: the same but for letters in another case, slashes at the end, a
/// query without its question mark, or one slip of the pen.
pub(super) fn meant<'k>(path: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    let path = plain(before_query(path));
    let same = known.clone().find(|known| plain(known) == path);
    same.or_else(|| {
        known.into_iter().find(|known| {
            let known = plain(known);
            // Of very short paths every other one would be a slip.
            known.len() > 2 && known.len().abs_diff(path.len()) <= 1 && is_one_slip_apart(&known, &path)
        })
    })
}

fn plain(path: &str) -> Cow<'_, str> {
    let path = path.trim_end_matches('/');
    if path.bytes().any(|b| b.is_ascii_uppercase()) { path.to_ascii_lowercase().into() } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_a_query_of_any_form_and_not_at_length() {
        let long = format!("/{}", "x".repeat(500));
        for (path, wanted) in [
            ("/webhooks/interact", "/webhooks/interact".to_owned()),
            ("", "/".to_owned()),
            ("*", "*".to_owned()),
            ("/webhooks&token=hush", "/webhooks…".to_owned()),
            ("/webhooks%3Ftoken=hush", "/webhooks…".to_owned()),
            ("/webhooks;jsessionid=hush", "/webhooks…".to_owned()),
            ("/caf\u{e9}/\u{202e}x", "/caf%C3%A9/%E2%80%AEx".to_owned()),
            (&long, format!("/{}…", "x".repeat(127))),
        ] {
            assert_eq!(shown(path), wanted, "{path}");
        }
    }

    #[test]
    fn what_was_meant_is_told_of_slips_and_of_nothing_else() {
        let known = ["/webhooks/interakt", "/a", "/Shop/"];
        for (path, wanted) in [
            ("/webhooks/Interakt", Some("/webhooks/interakt")),
            ("/WEBHOOKS/INTERAKT", Some("/webhooks/interakt")),
            ("/webhooks/interact", Some("/webhooks/interakt")),
            ("/webhook/interakt", Some("/webhooks/interakt")),
            ("/webhooks/itnerakt", Some("/webhooks/interakt")),
            ("//webhooks/interakt", Some("/webhooks/interakt")),
            ("/webhooks/interakt//", Some("/webhooks/interakt")),
            ("/webhooks/interakt&token=x", Some("/webhooks/interakt")),
            ("/webhooks/interakt%3ftoken=x", Some("/webhooks/interakt")),
            ("/shop", Some("/Shop/")),
            ("/webhooks/interested", None),
            ("/webhooks", None),
            ("/b", None),
            ("/", None),
            ("/wp-login.php", None),
        ] {
            assert_eq!(meant(path, known.into_iter()), wanted, "{path}");
        }
    }
}
