//! What a signed body is about: its type and its subject, read in one pass over borrowed text.
//!
//! Only the few members that matter are looked at, and the rest is skipped. No body makes this fail: one that is not
//! JSON has the type `unparsable`, one without a usable type `unknown`. Pure.
//!
//! Where a name stands twice in an object, the last one counts, as in nearly every JSON reader. A `type` that is there
//! but cannot be used (no string, empty, too long, half an emoji) gives `unknown`: `field` is not looked at then.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The type of a body without a usable one.
pub const UNKNOWN: &str = "unknown";
/// The type of a body that is not JSON.
pub const UNPARSABLE: &str = "unparsable";
/// The type of a click that came without one.
const CLICK: &str = "message_api_clicked";

/// Longest type, in bytes.
pub(super) const MAX_TYPE: usize = 128;
/// Longest subject, in bytes; it becomes the ordering key.
pub(super) const MAX_SUBJECT: usize = 256;

/// Type and subject of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// The event's type, never empty.
    pub kind: Cow<'b, str>,
    /// What the event is about: of Interakt's the message's id, else the workflow's; may be empty.
    pub subject: Cow<'b, str>,
    /// What was passed over as it is too long.
    pub too_long: TooLong,
}

/// The size of a type or subject that was found and is too long to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TooLong {
    /// A type of more than 128 bytes.
    pub kind: Option<usize>,
    /// A subject of more than 256 bytes.
    pub subject: Option<usize>,
}

impl Envelope<'_> {
    /// What was passed over and what is taken instead, for people; empty where nothing was passed over.
    pub fn notes(&self) -> Vec<String> {
        let kind = self.too_long.kind.map(|bytes| {
            let stands = self.kind.escape_debug();
            format!("its type is {bytes} bytes, more than the {MAX_TYPE} that are taken: `{stands}` stands for it")
        });
        let subject = self.too_long.subject.map(|bytes| {
            let stands = match self.subject.escape_debug().to_string() {
                none if none.is_empty() => "it has none, and no order is owed".to_owned(),
                other => format!("`{other}` stands for it"),
            };
            format!("its subject is {bytes} bytes, more than the {MAX_SUBJECT} that are taken: {stands}")
        });
        kind.into_iter().chain(subject).collect()
    }
}

/// Why a value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There is nothing, or nothing of use.
    Nothing,
    /// It has too many bytes: so many.
    TooLong(usize),
}

/// The first value that is fit, and the size of one before it that is too long.
pub(super) fn first_fit<'b>(
    values: impl IntoIterator<Item = Result<Cow<'b, str>, Unfit>>,
) -> (Option<Cow<'b, str>>, Option<usize>) {
    let mut too_long = None;
    for value in values {
        match value {
            Ok(text) => return (Some(text), too_long),
            Err(Unfit::TooLong(bytes)) => too_long = too_long.or(Some(bytes)),
            Err(Unfit::Nothing) => {}
        }
    }
    (None, too_long)
}

/// Reads Interakt's envelope: `type`, else `field`, else a click by its `event.click_type` (also inside `data`, where
/// some senders put the event); `data.message.id`, else `message.id`, else `data.workflow_id`.
pub fn interakt(body: &[u8]) -> Envelope<'_> {
    let Some(top) = std::str::from_utf8(body).ok().and_then(read) else {
        return Envelope { kind: UNPARSABLE.into(), subject: "".into(), too_long: TooLong::default() };
    };
    let clicked = top.event.clicked || top.data.clicked;
    let named = top.kind.or(top.field);
    let (kind, long_kind) = first_fit(named.map(|raw| text(raw, MAX_TYPE)));
    let kind = kind.unwrap_or(if named.is_none() && clicked { CLICK } else { UNKNOWN }.into());
    let ids = [top.data.message_id, top.message.id, top.data.workflow_id];
    let (subject, long_subject) = first_fit(ids.into_iter().flatten().map(|raw| scalar(raw, MAX_SUBJECT)));
    let too_long = TooLong { kind: long_kind, subject: long_subject };
    Envelope { kind, subject: subject.unwrap_or_default(), too_long }
}

/// The top level; `None` where the text is not one JSON value.
fn read(text: &str) -> Option<Top<'_>> {
    // In nearly all bodies the values on the way are objects, or harmless. What serde cannot skip when it is asked for
    // any value (a number that no f64 holds, half an emoji) is skipped by the second, slower reading.
    [Nested::Inline, Nested::Apart].into_iter().find_map(|nested| {
        let mut from = serde_json::Deserializer::from_str(text);
        let top = if text.trim_start().starts_with('{') {
            from.deserialize_map(Members { found: Top::default(), nested })
        } else {
            IgnoredAny::deserialize(&mut from).map(|_| Top::default())
        };
        top.and_then(|top| from.end().map(|()| top)).ok()
    })
}

/// The text of a JSON string that has at most `max` bytes and at least one.
fn text(raw: &RawValue, max: usize) -> Result<Cow<'_, str>, Unfit> {
    let quoted = raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let text: Cow<'_, str> = match quoted {
        None | Some("") => return Err(Unfit::Nothing),
        Some(inner) if inner.contains('\\') => serde_json::from_str(raw.get()).map_err(|_| Unfit::Nothing)?,
        Some(inner) => inner.into(),
    };
    if text.len() <= max { Ok(text) } else { Err(Unfit::TooLong(text.len())) }
}

/// The same, or a number's digits as they came.
pub(super) fn scalar(raw: &RawValue, max: usize) -> Result<Cow<'_, str>, Unfit> {
    let digits = raw.get();
    match digits.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') if digits.len() <= max => Ok(digits.into()),
        Some(b'-' | b'0'..=b'9') => Err(Unfit::TooLong(digits.len())),
        _ => text(raw, max),
    }
}

/// Collects the members that matter from an object of the envelope.
trait Collect<'b>: Default {
    /// Takes the value where the name is one that is looked for; `false` where it was not taken.
    fn member<A: MapAccess<'b>>(&mut self, name: Name, from: &mut A, nested: Nested) -> Result<bool, A::Error>;
}

#[derive(Default)]
struct Top<'b> {
    kind: Option<&'b RawValue>,
    field: Option<&'b RawValue>,
    event: Event,
    message: Message<'b>,
    data: Data<'b>,
}

#[derive(Default)]
struct Data<'b> {
    message_id: Option<&'b RawValue>,
    workflow_id: Option<&'b RawValue>,
    clicked: bool,
}

#[derive(Default)]
struct Message<'b> {
    id: Option<&'b RawValue>,
}

#[derive(Default)]
struct Event {
    clicked: bool,
}

impl<'b> Collect<'b> for Top<'b> {
    fn member<A: MapAccess<'b>>(&mut self, name: Name, from: &mut A, nested: Nested) -> Result<bool, A::Error> {
        match name {
            Name::Type => self.kind = Some(from.next_value()?),
            Name::Field => self.field = Some(from.next_value()?),
            Name::Event => self.event = nested.object(from)?,
            Name::Message => self.message = nested.object(from)?,
            Name::Data => self.data = nested.object(from)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'b> Collect<'b> for Data<'b> {
    fn member<A: MapAccess<'b>>(&mut self, name: Name, from: &mut A, nested: Nested) -> Result<bool, A::Error> {
        match name {
            Name::Message => self.message_id = nested.object::<Message<'b>, A>(from)?.id,
            Name::Event => self.clicked = nested.object::<Event, A>(from)?.clicked,
            Name::WorkflowId => self.workflow_id = Some(from.next_value()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'b> Collect<'b> for Message<'b> {
    fn member<A: MapAccess<'b>>(&mut self, name: Name, from: &mut A, _: Nested) -> Result<bool, A::Error> {
        if name == Name::Id {
            self.id = Some(from.next_value()?);
        }
        Ok(name == Name::Id)
    }
}

impl<'b> Collect<'b> for Event {
    fn member<A: MapAccess<'b>>(&mut self, name: Name, from: &mut A, _: Nested) -> Result<bool, A::Error> {
        if name == Name::ClickType {
            self.clicked = from.next_value::<&RawValue>()?.get() != "null";
        }
        Ok(name == Name::ClickType)
    }
}

/// How a value inside the envelope is read.
#[derive(Clone, Copy)]
enum Nested {
    /// While the object around it is read.
    Inline,
    /// Cut out first, and read by itself then.
    Apart,
}

impl Nested {
    /// The members that matter of the next value; none where it is no object.
    fn object<'b, F: Collect<'b>, A: MapAccess<'b>>(self, from: &mut A) -> Result<F, A::Error> {
        from.next_value_seed(Members { found: F::default(), nested: self })
    }
}

struct Members<F> {
    found: F,
    nested: Nested,
}

impl<'b, F: Collect<'b>> DeserializeSeed<'b> for Members<F> {
    type Value = F;

    fn deserialize<D: Deserializer<'b>>(self, from: D) -> Result<F, D::Error> {
        match self.nested {
            Nested::Inline => from.deserialize_any(self),
            Nested::Apart => {
                let raw = <&RawValue>::deserialize(from)?.get();
                if !raw.starts_with('{') {
                    return Ok(self.found);
                }
                serde_json::Deserializer::from_str(raw).deserialize_map(self).map_err(serde::de::Error::custom)
            }
        }
    }
}

impl<'b, F: Collect<'b>> Visitor<'b> for Members<F> {
    type Value = F;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut from: A) -> Result<F, A::Error> {
        while let Some(name) = from.next_key::<Name>()? {
            if !self.found.member(name, &mut from, self.nested)? {
                from.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self.found)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut from: A) -> Result<F, A::Error> {
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<F, E> {
        Ok(self.found)
    }

    fn visit_i64<E>(self, _: i64) -> Result<F, E> {
        Ok(self.found)
    }

    fn visit_u64<E>(self, _: u64) -> Result<F, E> {
        Ok(self.found)
    }

    fn visit_f64<E>(self, _: f64) -> Result<F, E> {
        Ok(self.found)
    }

    fn visit_str<E>(self, _: &str) -> Result<F, E> {
        Ok(self.found)
    }

    fn visit_unit<E>(self) -> Result<F, E> {
        Ok(self.found)
    }
}

/// The names looked for. They are read as bytes: one may hold half an emoji.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Type,
    Field,
    Event,
    Data,
    Message,
    Id,
    WorkflowId,
    ClickType,
    Other,
}

impl<'b> Deserialize<'b> for Name {
    fn deserialize<D: Deserializer<'b>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_bytes<E>(self, name: &[u8]) -> Result<Name, E> {
                Ok(match name {
                    b"type" => Name::Type,
                    b"field" => Name::Field,
                    b"event" => Name::Event,
                    b"data" => Name::Data,
                    b"message" => Name::Message,
                    b"id" => Name::Id,
                    b"workflow_id" => Name::WorkflowId,
                    b"click_type" => Name::ClickType,
                    _ => Name::Other,
                })
            }
        }
        from.deserialize_bytes(Bytes)
    }
}
