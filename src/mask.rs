//! Personal data taken out of what people are shown: bodies, headers and texts keep their structure, their ids and
//! times, and lose what says whose they are. Pure, and total: no input makes it fail.
//!
//! By name: what stands under `name`, `email`, `message`, `traits` and the like becomes `***`. By pattern, wherever it
//! stands: seven digits or more, with blanks, hyphens, brackets or points between them, keep the last two (`***10`); an
//! e-mail address becomes `***@***`; a URL keeps its host. UUIDs, times and IPv4 addresses stay. JSON as a text inside
//! JSON is masked as JSON. A body that is not JSON is shown as its length.

mod keys;
mod pattern;

use sink_api::{Event, Rendered, json};

use keys::{Class, class};
pub use pattern::text;
use pattern::{is_long, personal};

/// What stands for what is not shown.
pub const HIDDEN: &str = "***";
/// How deep JSON in texts inside JSON is looked into.
const MOST_NESTED: u32 = 3;

/// The event with what is personal in it masked: subject, key, client, headers and body. Its body is JSON then.
pub fn event(event: &Event) -> Event {
    let header = |(name, value): &(std::sync::Arc<str>, std::sync::Arc<str>)| (name.clone(), text(value).into());
    Event {
        subject: text(&event.subject).into(),
        key: text(&event.key).into(),
        remote: text(&event.remote).into(),
        headers: event.headers.iter().map(header).collect(),
        body: body(&event.body).into(),
        rendered: Rendered::default(),
        ..event.clone()
    }
}

/// A body, masked: JSON. What is not JSON becomes a JSON text that says its length; what is empty stays so.
pub fn body(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let compact = json::compact(bytes).and_then(|compact| String::from_utf8(compact).ok());
    compact.map_or_else(
        || quoted(&format!("{} bytes that are not JSON", bytes.len())),
        |compact| Walk::new(MOST_NESTED, false).over(&compact),
    )
}

/// What stands in a place that always holds what is personal: a number keeps its last two digits, anything else is
/// hidden.
pub fn hidden(text: &str) -> String {
    personal(text)
}

/// An object or array that is open.
struct Frame {
    is_object: bool,
    /// What its members are, where their own name does not say more.
    class: Class,
}

/// Walks over compact JSON, token by token, without recursion.
struct Walk {
    frames: Vec<Frame>,
    /// What the value to come is, by its name.
    next: Option<Class>,
    outermost: Class,
    nested: u32,
    out: String,
}

impl Walk {
    fn new(nested: u32, is_personal: bool) -> Self {
        let outermost = if is_personal { Class::Personal } else { Class::Plain };
        Self { frames: vec![], next: None, outermost, nested, out: String::new() }
    }

    fn over(mut self, json: &str) -> String {
        self.out.reserve(json.len());
        let mut rest = json;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => string_length(rest),
                '-' | '0'..='9' => rest.find([',', ']', '}']).unwrap_or(rest.len()),
                't' | 'n' => 4.min(rest.len()),
                'f' => 5.min(rest.len()),
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            self.token(first, token, after.starts_with(':'));
            rest = after;
        }
        self.out
    }

    fn token(&mut self, first: char, token: &str, is_before_colon: bool) {
        match first {
            '{' | '[' => {
                let class = if first == '{' { self.class().inside() } else { self.class() };
                self.frames.push(Frame { is_object: first == '{', class });
                self.out.push(first);
            }
            '}' | ']' => {
                self.frames.pop();
                self.out.push(first);
            }
            '"' if is_before_colon && self.frames.last().is_some_and(|frame| frame.is_object) => self.name(token),
            '"' => self.string(token),
            '-' | '0'..='9' => match self.class() {
                Class::Personal | Class::Text => self.out.push_str(&quoted(&personal(token))),
                _ if is_long(token) => self.out.push_str(&quoted(&text(token))),
                _ => self.out.push_str(token),
            },
            _ => self.out.push_str(token),
        }
    }

    /// What the value to come is.
    fn class(&mut self) -> Class {
        let around = self.frames.last().map_or(self.outermost, |frame| frame.class);
        self.next.take().unwrap_or(around)
    }

    fn name(&mut self, token: &str) {
        let name = plain(token);
        let around = self.frames.last().map_or(self.outermost, |frame| frame.class);
        self.next = Some(class(&name, around));
        self.put(token, &name, &text(&name));
    }

    fn string(&mut self, token: &str) {
        let class = self.class();
        let value = plain(token);
        let is_personal = matches!(class, Class::Personal | Class::Text);
        let inner = value.trim_start();
        if self.nested > 0
            && inner.starts_with(['{', '['])
            && let Some(compact) = json::compact(value.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok())
        {
            let mut walk = Self::new(self.nested - 1, is_personal);
            if class == Class::Things {
                walk.outermost = class;
            }
            let masked = walk.over(&compact);
            return self.out.push_str(&quoted(&masked));
        }
        // JSON in JSON in JSON …: what is too deep to be looked into is hidden.
        let is_deep = self.nested == 0 && inner.starts_with(['{', '[']);
        let masked = match is_deep {
            true => HIDDEN.to_owned(),
            false if is_personal => personal(&value),
            false => text(&value),
        };
        self.put(token, &value, &masked);
    }

    /// The token as it came, where nothing in it had to be masked.
    fn put(&mut self, token: &str, value: &str, masked: &str) {
        if masked == value {
            self.out.push_str(token);
        } else {
            self.out.push_str(&quoted(masked));
        }
    }
}

/// What a JSON string says; lone surrogates become U+FFFD.
fn plain(token: &str) -> String {
    serde_json::from_str::<json::Text>(token).map_or_else(|_| HIDDEN.to_owned(), |text| text.0)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The length in bytes of the JSON string that a text begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().enumerate().skip(1).find(|(_, byte)| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests;
