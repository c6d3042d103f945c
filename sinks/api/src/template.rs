//! Templates over an event: `whatsapp.{type}`, `data/{source}/{date}.jsonl`, `orders/{.data.message.id}`. A closed set
//! of attributes, and fields of the body by a plain jq path; checked when the config is loaded, and made safe for where
//! the value goes. `{x:-default}` says what stands for a value that is missing or empty.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::event::Event;
use crate::fault::nearest;
use crate::field::Path;
use crate::report::{Reason, code};

/// The attributes a template may name.
pub const NAMES: &[&str] = &["id", "source", "type", "subject", "key", "date", "hour"];

/// Longest a value may become inside a file path, in bytes; longer ones are cut and told apart by a hash.
/// File systems take 255 bytes a name.
const MAX_IN_PATH: usize = 160;

const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b'%');
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// How a value is made safe for where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As it is: keys, which are compared and hashed but never interpreted.
    Plain,
    /// A part of a file path: percent-encoded outside `[A-Za-z0-9._-]`, `.` and `..` wholly, and the full stop that a
    /// folder or file would begin with and be hidden by; empty becomes `_`.
    Path,
    /// A part of a URL's path or query: percent-encoded outside `[A-Za-z0-9._-]`.
    Url,
    /// A part of a Kafka topic name: everything outside `[A-Za-z0-9._-]` becomes `_`.
    Topic,
    /// A part of an HTTP header's value: percent-encoded outside printable ASCII, and `%` itself. Nothing ends the
    /// line.
    Header,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { what: What, default: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Attribute(&'static str),
    Field(Path),
}

/// A parsed template.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{` without `}` or the other way round.
    #[error("`{0}` has an unmatched brace (write `{{{{` or `}}}}` for a literal one)")]
    Unmatched(String),
    /// A name outside the closed set.
    #[error(
        "`{{{name}}}` is not known in templates, expected one of {} or a field of the body such as `{{.data.id}}`{}",
        list(),
        hint(name)
    )]
    Unknown {
        /// The name.
        name: String,
    },
}

fn list() -> String {
    NAMES.iter().map(|n| format!("`{{{n}}}`")).collect::<Vec<_>>().join(", ")
}

fn hint(name: &str) -> String {
    nearest(name, NAMES.iter().copied()).map(|n| format!("; did you mean `{{{n}}}`?")).unwrap_or_default()
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// [`TemplateError`] with the way out in its text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, tail) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
                literal.push_str(tail.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let unmatched = || TemplateError::Unmatched(text.to_owned());
            let (name, after) = tail.strip_prefix('{').and_then(split_value).ok_or_else(unmatched)?;
            let part = value_part(name).ok_or_else(|| TemplateError::Unknown { name: name.to_owned() })?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { source: text.to_owned(), parts })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template names no attribute and no field, so that it renders the same for every event.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|p| matches!(p, Part::Text(_)))
    }

    /// The text before the first attribute.
    pub fn literal_prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The template's own text, without any value.
    pub fn literal(&self) -> String {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Value { .. } => "",
        });
        texts.collect()
    }

    /// Fills the template in. An attribute that is empty, or a field of the body that is missing or empty, gives its
    /// default.
    ///
    /// # Errors
    /// A field of the body is missing and has no default: a `rule_error`, which makes the delivery a dead letter. An
    /// empty attribute without a default is filled in as empty.
    pub fn render(&self, event: &Event, escape: Escape) -> Result<String, Reason> {
        self.fill(event, escape, |path| Err(missing(path)))
    }

    /// Like [`Self::render`], but a missing field counts as empty: for a delivery that was routed by another template.
    pub fn render_lenient(&self, event: &Event, escape: Escape) -> String {
        // Nothing else can fail.
        self.fill(event, escape, |_| Ok(())).unwrap_or_default()
    }

    fn fill(
        &self,
        event: &Event,
        escape: Escape,
        missing: impl Fn(&Path) -> Result<(), Reason>,
    ) -> Result<String, Reason> {
        let mut out = String::with_capacity(self.source.len() + 32);
        for part in &self.parts {
            let (what, default) = match part {
                Part::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Value { what, default } => (what, default.as_deref()),
            };
            let value = match what {
                What::Attribute(name) => Some(attribute(event, name)),
                What::Field(path) => path.pick(&event.body),
            };
            let value = value.filter(|value| default.is_none() || !value.is_empty()).or(default.map(Cow::Borrowed));
            if let (None, What::Field(path)) = (&value, what) {
                missing(path)?;
            }
            push_escaped(&mut out, value.as_deref().unwrap_or_default(), escape);
        }
        Ok(out)
    }
}

fn missing(path: &Path) -> Reason {
    let path = path.source();
    let detail = format!("the body has no text or number at `{path}`; `{{{path}:-…}}` says what to take then");
    Reason::new(code::RULE_ERROR, detail)
}

/// What stands between braces, and what comes behind: the first `}` outside quotes ends it.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let (mut in_quotes, mut escaped) = (false, false);
    let end = text.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '}' if !in_quotes => return Some(at),
            _ => {}
        }
        None
    });
    let (inside, tail) = text.split_at(end?);
    Some((inside, tail.get(1..).unwrap_or_default()))
}

fn value_part(inside: &str) -> Option<Part> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (inside, None),
    };
    let what = match name.starts_with('.') {
        true => What::Field(Path::parse(name)?),
        false => What::Attribute(NAMES.iter().copied().find(|known| *known == name)?),
    };
    Some(Part::Value { what, default })
}

fn attribute<'e>(event: &'e Event, name: &str) -> Cow<'e, str> {
    match name {
        "id" => event.id.to_string().into(),
        "source" => event.source.as_ref().into(),
        "type" => event.kind.as_ref().into(),
        "subject" => event.subject.as_ref().into(),
        "date" => event.time.strftime("%Y-%m-%d").to_string().into(),
        "hour" => event.time.strftime("%H").to_string().into(),
        _ => event.key.as_ref().into(),
    }
}

fn push_escaped(out: &mut String, value: &str, escape: Escape) {
    match escape {
        Escape::Plain => out.push_str(value),
        Escape::Header => out.extend(utf8_percent_encode(value, UNPRINTABLE)),
        Escape::Url => out.extend(utf8_percent_encode(value, UNRESERVED)),
        Escape::Topic => {
            out.extend(value.chars().map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
                _ => '_',
            }));
        }
        Escape::Path => match value {
            "" => out.push('_'),
            "." => out.push_str("%2E"),
            ".." => out.push_str("%2E%2E"),
            _ => {
                let mut encoded = utf8_percent_encode(value, UNRESERVED).to_string();
                if value.starts_with('.') && begins_a_name(out) {
                    encoded.replace_range(..1, "%2E");
                }
                push_bounded(out, &encoded, value);
            }
        },
    }
}

/// Whether what comes next in the path begins the name of a folder or file.
fn begins_a_name(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// The encoded value, or its beginning and a hash of the whole where it is too long for a file name.
fn push_bounded(out: &mut String, encoded: &str, value: &str) {
    if encoded.len() <= MAX_IN_PATH {
        out.push_str(encoded);
        return;
    }
    let hash = value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut end = MAX_IN_PATH - 17;
    while encoded.as_bytes().get(end.saturating_sub(2)..end).is_some_and(|tail| tail.contains(&b'%')) {
        end -= 1; // not inside a %XX
    }
    out.push_str(encoded.get(..end).unwrap_or_default());
    // Writing to a String cannot fail.
    let _ = write!(out, "-{hash:016x}");
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl<'de> serde::Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn event(kind: &str, subject: &str) -> Event {
        Event {
            id: Uuid::nil(),
            source: "interakt".into(),
            kind: kind.into(),
            subject: subject.into(),
            key: subject.into(),
            time: "2026-01-13T23:05:00Z".parse().unwrap(),
            method: "POST".into(),
            path: "/webhooks/interakt".into(),
            remote: "127.0.0.1".into(),
            headers: vec![],
            body: Bytes::new(),
            rendered: crate::Rendered::default(),
        }
    }

    fn path(template: &str, kind: &str, subject: &str) -> String {
        Template::parse(template).unwrap().render(&event(kind, subject), Escape::Path).unwrap()
    }

    #[test]
    fn dates_and_types_are_filled_in() {
        assert_eq!(path("d/{type}/{date}-{hour}.jsonl", "a_b", ""), "d/a_b/2026-01-13-23.jsonl");
        assert_eq!(path("{{x}}{type}", "t", ""), "{x}t");
    }

    #[test]
    fn no_value_leaves_the_folder_of_a_path() {
        assert_eq!(path("d/{type}/{subject}", "../../etc", ".."), "d/%2E.%2F..%2Fetc/%2E%2E");
        assert_eq!(path("d/{type}/{subject}", ".", ""), "d/%2E/_");
        assert_eq!(path("{type}", "a\0/\\é", ""), "a%00%2F%5C%C3%A9");
    }

    #[test]
    fn no_value_hides_a_folder_or_a_file_and_a_full_stop_of_the_templates_own_stays() {
        assert_eq!(path("d/{type}/x.jsonl", "../x", ""), "d/%2E.%2Fx/x.jsonl");
        assert_eq!(path("{type}/{subject}.jsonl", ".git", ".."), "%2Egit/%2E%2E.jsonl");
        assert_eq!(path("d/.{type}/{type}-{subject}", "a.b", ".x"), "d/.a.b/a.b-.x");
        let long = format!(".{}", "a".repeat(300));
        assert!(path("d/{type}", &long, "").starts_with("d/%2Eaaa"));
    }

    #[test]
    fn long_values_are_cut_and_stay_apart() {
        let (a, b) = ("é".repeat(300) + "a", "é".repeat(300) + "b");
        let (pa, pb) = (path("{type}", &a, ""), path("{type}", &b, ""));
        assert!(pa.len() <= MAX_IN_PATH && pa != pb, "{pa} {pb}");
        assert!(pa.split('%').skip(1).all(|s| s.len() >= 2), "{pa}");
    }

    #[test]
    fn fields_of_the_body_and_defaults_are_filled_in() {
        let mut event = event("t", "");
        event.body = Bytes::from_static(br#"{"data":{"id":"a/../b","n":9007199254740993,"e":"","x y":"{}"}}"#);
        let render = |text: &str, escape| Template::parse(text).unwrap().render(&event, escape);
        assert_eq!(render("{.data.id}-{.data.n}", Escape::Path).unwrap(), "a%2F..%2Fb-9007199254740993");
        assert_eq!(render(r#"{.data["x y"]}{subject:-none}"#, Escape::Plain).unwrap(), "{}none");
        assert_eq!(render("{.data.e:-a/b}|{.data.e}|{.gone:-}", Escape::Url).unwrap(), "a%2Fb||");
        assert_eq!(render("{type:-x}", Escape::Topic).unwrap(), "t");
        let reason = render("{.data.gone}", Escape::Plain).unwrap_err();
        assert_eq!(reason.code, code::RULE_ERROR);
        assert!(reason.detail.contains("`.data.gone`"), "{reason}");
    }

    #[test]
    fn no_value_ends_a_header() {
        let mut event = event("t", "");
        event.body = Bytes::from_static(b"{\"v\":\"a\\r\\nx: y \\u00e9 100%\"}");
        let got = Template::parse("v={.v}").unwrap().render(&event, Escape::Header).unwrap();
        assert_eq!(got, "v=a%0D%0Ax: y %C3%A9 100%25");
    }

    #[test]
    fn faults_name_the_way_out() {
        let error = Template::parse("{tpe}").unwrap_err().to_string();
        assert!(error.contains("did you mean `{type}`?"), "{error}");
        for bad in ["{.a.}", "{.}", "{.a[}", "{.a | .b}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Template::parse("a{b"), Err(TemplateError::Unmatched(_))));
        assert!(matches!(Template::parse("a}b"), Err(TemplateError::Unmatched(_))));
    }
}
