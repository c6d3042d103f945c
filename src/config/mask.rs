//! Masks what must not be printed: the values that came in by `${…}`, and secrets written out in the file.
//!
//! A value is replaced by its placeholder wherever it stands in a text. For a fault of such a value that is not enough:
//! its message may quote a piece of the value (`unknown variant`, `unknown template name`). A message that still holds
//! a piece is therefore replaced as a whole.

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::credentials::url_parts;

/// Values of fewer characters are replaced only where they stand in quotes or alone: `1` is in too many innocent texts.
const MIN_ANYWHERE: usize = 4;
/// Pieces of a value that give nothing away.
const HARMLESS: &[&str] = &["http", "https"];

/// A piece of a string, and what is shown in its place.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What is shown, such as `${NAME}`.
    pub shown: String,
    /// What it stands for.
    pub value: String,
}

/// A string of the file that holds something not to be printed.
#[derive(Clone)]
pub(super) struct Leaf {
    pub span: Range<usize>,
    /// The string as it stands in the file; `***` where that is itself the secret.
    pub shown: String,
    /// The string as the daemon reads it.
    pub value: String,
    /// The pieces that were filled in.
    pub parts: Vec<Part>,
    /// The pieces of a URL that are not to be shown, though they are written in the file.
    url: Vec<Part>,
    /// Whether it is written out in the file as a whole and may be a secret.
    pub literal: bool,
    /// Whether it is such a secret without doubt.
    sure: bool,
}

impl Leaf {
    /// A string written as `raw` that may be a secret; `sure` says that it is one.
    pub fn written(span: Range<usize>, raw: &str, value: String, sure: bool) -> Self {
        Self { span, shown: "***".to_owned(), value, parts: vec![], url: url_parts(raw), literal: true, sure }
    }

    /// A string that was filled in.
    pub fn filled(span: Range<usize>, raw: String, value: String, parts: Vec<Part>) -> Self {
        Self { span, url: url_parts(&raw), shown: raw, value, parts, literal: false, sure: false }
    }
}

/// Everything that must not be printed. `Debug` shows none of it.
#[derive(Clone, Default)]
pub struct Masks {
    leaves: Vec<Leaf>,
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masks({})", self.leaves.len())
    }
}

impl Masks {
    pub(super) fn add(&mut self, leaf: Leaf) {
        self.leaves.push(leaf);
    }

    /// The text with every value that was filled in shown as `${NAME}`, and with the user, password and query of the
    /// file's URLs shown as `***`. Values shorter than 4 characters are replaced only where they stand in quotes or are
    /// the whole text.
    pub fn mask(&self, text: &str) -> String {
        self.masker().mask(text)
    }

    /// What [`Self::mask`] does, made ready for many texts.
    pub fn masker(&self) -> Masker<'_> {
        Masker::new(self.pairs(false))
    }

    /// The byte at which the first secret that is written out in the file stands; `None` where there is none.
    pub(super) fn written_out(&self) -> Option<usize> {
        self.leaves.iter().filter(|leaf| leaf.sure).map(|leaf| leaf.span.start).min()
    }

    /// A masker for the texts of faults, which also hides secrets that are written out in the file.
    pub(super) fn fault_masker(&self) -> Masker<'_> {
        Masker::new(self.pairs(true))
    }

    /// Masks the text of a fault about these bytes of the file. `None` where the text gives away a piece of a value
    /// that lies there.
    pub(super) fn mask_fault(&self, masker: &Masker<'_>, span: &Range<usize>, text: &str) -> Option<String> {
        let masked = masker.mask(text);
        if self.on(span).next().is_none() {
            return Some(masked);
        }
        let bare = self.leaves.iter().fold(masked.clone(), |text, leaf| text.replace(&leaf.shown, " "));
        let bare = self.leaves.iter().flat_map(|l| &l.parts).fold(bare, |text, part| text.replace(&part.shown, " "));
        (!self.on(span).any(|leaf| leaf.values().any(|value| gives_away(&bare, value)))).then_some(masked)
    }

    /// What to show in place of a value at these bytes, if it must not be shown itself.
    pub(super) fn shown_at(&self, span: &Range<usize>) -> Option<&str> {
        self.on(span).next().map(|leaf| leaf.shown.as_str())
    }

    /// Bytes `range` of the file's text, with secrets written out in it as `"***"`.
    pub(super) fn excerpt(&self, text: &str, range: Range<usize>) -> String {
        let mut out = String::new();
        let mut at = range.start;
        let mut hidden: Vec<&Range<usize>> = self.leaves.iter().filter(|l| l.literal).map(|l| &l.span).collect();
        hidden.sort_by_key(|span| span.start);
        for span in hidden.into_iter().filter(|span| span.start < range.end && span.end > range.start) {
            if at <= span.start {
                out.push_str(text.get(at..span.start).unwrap_or_default());
            }
            out.push_str("\"***\"");
            at = at.max(span.end);
        }
        out.push_str(text.get(at..range.end).unwrap_or_default());
        out
    }

    fn on<'m>(&'m self, span: &Range<usize>) -> impl Iterator<Item = &'m Leaf> + use<'m> {
        let (start, last) = (span.start, span.start.max(span.end.saturating_sub(1)));
        self.leaves.iter().filter(move |leaf| leaf.span.start <= last && start < leaf.span.end)
    }

    /// What to look for, and what to put in its place, the longest first. Each value is looked for in all of its
    /// spellings: as `{:?}`, JSON and a URL write it, as a jq program reads it, and in base64.
    fn pairs<'m>(&'m self, literals: bool) -> Vec<(String, &'m str)> {
        let leaves = self.leaves.iter().filter(|leaf| literals || !leaf.literal);
        let whole = leaves.clone().map(|leaf| (leaf.value.as_str(), leaf.shown.as_str()));
        let shown = |part: &'m Part| (part.value.as_str(), part.shown.as_str());
        let parts = leaves.flat_map(|leaf| leaf.parts.iter().map(shown));
        let urls = self.leaves.iter().flat_map(|leaf| leaf.url.iter().map(shown));
        let mut pairs: Vec<_> = urls.map(|(value, shown)| (value.to_owned(), shown)).collect();
        for (value, shown) in whole.chain(parts) {
            let trimmed = value.trim().trim_start_matches('\u{feff}');
            for form in [value, trimmed] {
                pairs.push((form.to_owned(), shown));
                pairs.push((form.escape_debug().to_string(), shown));
                let json = serde_json::to_string(form).unwrap_or_default();
                pairs.push((json.trim_matches('"').to_owned(), shown));
                let url = percent_encoding::utf8_percent_encode(form, percent_encoding::NON_ALPHANUMERIC);
                pairs.push((url.to_string(), shown));
                // `"${NAME}"` in a program is a string of jq, whose escapes have become characters in the payload.
                pairs.extend(serde_json::from_str(&format!("\"{form}\"")).ok().map(|read: String| (read, shown)));
                if form.chars().count() >= MIN_ANYWHERE {
                    for encoded in [STANDARD.encode(form), URL_SAFE.encode(form)] {
                        pairs.push((encoded.trim_end_matches('=').to_owned(), shown));
                        pairs.push((encoded, shown));
                    }
                }
            }
        }
        pairs.retain(|(value, _)| !value.is_empty());
        pairs.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        pairs.dedup_by(|(a, _), (b, _)| a == b);
        pairs
    }
}

impl Leaf {
    fn values(&self) -> impl Iterator<Item = &str> {
        let whole = self.literal.then_some(self.value.as_str());
        whole.into_iter().chain(self.parts.iter().map(|part| part.value.as_str()))
    }
}

/// Masks that were made ready for many texts.
pub struct Masker<'m> {
    /// What to look for and what to put in its place, the longest first.
    pairs: Vec<(String, &'m str)>,
    /// Whether a pair begins with this byte.
    first: [bool; 256],
}

impl<'m> Masker<'m> {
    fn new(pairs: Vec<(String, &'m str)>) -> Self {
        let mut first = [false; 256];
        for byte in pairs.iter().filter_map(|(value, _)| value.bytes().next()) {
            if let Some(slot) = first.get_mut(usize::from(byte)) {
                *slot = true;
            }
        }
        Self { pairs, first }
    }

    /// Does what [`Masks::mask`] does, in one pass, so that a placeholder is never searched itself.
    pub fn mask(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let hit = self.hit(rest, out.chars().next_back());
            if let Some((value, shown)) = hit {
                out.push_str(shown);
                at += value.len();
            } else if let Some(c) = rest.chars().next() {
                out.push(c);
                at += c.len_utf8();
            }
        }
        out
    }

    fn hit(&self, rest: &str, before: Option<char>) -> Option<&(String, &'m str)> {
        let byte = rest.bytes().next()?;
        if !self.first.get(usize::from(byte)).is_some_and(|is_there| *is_there) {
            return None;
        }
        self.pairs.iter().find(|(value, _)| {
            rest.strip_prefix(value.as_str())
                .is_some_and(|after| value.chars().count() >= MIN_ANYWHERE || alone(before, after.chars().next()))
        })
    }
}

fn alone(before: Option<char>, after: Option<char>) -> bool {
    match (before, after) {
        (None, None) => true,
        (Some(a), Some(b)) => a == b && matches!(a, '"' | '`' | '\''),
        _ => false,
    }
}

/// Whether a text holds a piece of a value: a short word of it, or four characters in a row of a longer one.
fn gives_away(text: &str, value: &str) -> bool {
    words(value).filter(|word| !HARMLESS.contains(word)).any(|word| {
        if word.chars().count() < MIN_ANYWHERE {
            return word.chars().count() >= 2 && words(text).any(|w| w == word);
        }
        let chars: Vec<(usize, char)> = word.char_indices().collect();
        chars.windows(MIN_ANYWHERE).any(|piece| {
            let (start, end) = (piece.first(), piece.last());
            let range = start.map_or(0, |(at, _)| *at)..end.map_or(0, |(at, c)| at + c.len_utf8());
            word.get(range).is_some_and(|piece| text.contains(piece))
        })
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(shown: &str, value: &str) -> Masks {
        let parts = vec![Part { shown: shown.into(), value: value.into() }];
        let mut masks = Masks::default();
        masks.add(Leaf::filled(10..20, shown.into(), value.into(), parts));
        masks
    }

    #[test]
    fn a_value_is_shown_as_its_placeholder_in_every_spelling() {
        let masks = masks("${KEY}", "p\"a/ss\n");
        assert_eq!(masks.mask("x p\"a/ss\n y"), "x ${KEY} y");
        assert_eq!(masks.mask(&format!("{:?}", "p\"a/ss\n")), "\"${KEY}\"");
        assert_eq!(masks.mask("https://h/p%22a%2Fss"), "https://h/${KEY}");
        assert_eq!(format!("{masks:?}"), "Masks(1)");
    }

    #[test]
    fn a_value_is_known_as_a_program_reads_it_and_in_base64() {
        let masks = masks("${KEY}", r"pass\n\u00e9word");
        assert_eq!(masks.mask("pass\néword"), "${KEY}");
        assert_eq!(masks.mask(&STANDARD.encode(r"pass\n\u00e9word")), "${KEY}");
    }

    #[test]
    fn of_a_url_in_the_file_user_and_query_are_not_shown() {
        let mut masks = Masks::default();
        let url = "https://u:pw@h/{type}?token=abc&t={type}";
        masks.add(Leaf::written(0..9, url, url.to_owned(), true));
        assert_eq!(masks.mask("https://u:pw@h/x?token=abc&t=x"), "https://***@h/x?token=***&t=x");
        assert_eq!((masks.mask("abc token=abc"), masks.written_out()), ("abc token=abc".to_owned(), Some(0)));
    }

    #[test]
    fn short_values_are_replaced_only_where_they_stand_alone() {
        let masks = masks("${N}", "1");
        assert_eq!(masks.mask("1"), "${N}");
        assert_eq!(masks.mask("at most 10, \"1\" given, `1`"), "at most 10, \"${N}\" given, `${N}`");
    }

    #[test]
    fn a_placeholder_is_not_searched_again() {
        let mut both = masks("${TOKEN}", "hunter2");
        both.leaves.extend(masks("${B}", "TOKEN").leaves);
        assert_eq!(both.mask("hunter2 TOKEN"), "${TOKEN} ${B}");
    }

    #[test]
    fn a_message_with_a_piece_of_the_value_is_given_up_only_where_it_lies_on_it() {
        let masks = masks("${KEY}", "{hunter}2");
        assert_eq!(
            masks.mask_fault(&masks.fault_masker(), &(12..13), "`{hunter}2` is bad").as_deref(),
            Some("`${KEY}` is bad")
        );
        assert_eq!(masks.mask_fault(&masks.fault_masker(), &(12..13), "`{hunter}` is not known"), None);
        assert_eq!(masks.mask_fault(&masks.fault_masker(), &(12..13), "unte"), None);
        assert_eq!(masks.mask_fault(&masks.fault_masker(), &(20..21), "the hunter").as_deref(), Some("the hunter"));
    }
}
