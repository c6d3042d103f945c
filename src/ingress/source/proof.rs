//! How the senders of a source prove themselves: its table made into one of the schemes of `verify`, and where in a
//! request the scheme finds what it needs. Pure.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName, request};
use percent_encoding::percent_decode_str;
use sink_api::{At, Fault, Secret};

use super::config::{Locator, SourceConfig, Window};
use super::extraction::{Lookup, first};
use super::kinds::SourceKind;
use crate::verify::hmac::{Beside, Form, Hmac, Piece, Scheme};
use crate::verify::standard_webhooks::{self, KeyError};
use crate::verify::{Refusal, Token, Verified, Which};

/// Tolerance of Standard Webhooks where nothing else is said, as in its reference libraries.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The proof a source asks for.
#[derive(Debug)]
pub(in crate::ingress) enum Proof {
    /// A signature in a header.
    Signature(Box<Signature>),
    /// A token in a header.
    Header(Vec<HeaderName>, Token),
    /// A token in the query.
    Query(String, Token),
    /// None.
    Nothing,
}

/// Where a signature, and what it is made over, are found.
#[derive(Debug)]
pub(in crate::ingress) struct Signature {
    /// The first that the request has counts.
    pub headers: Vec<HeaderName>,
    pub time: Vec<Lookup>,
    pub id: Vec<Lookup>,
    pub hmac: Hmac,
}

impl Proof {
    /// The proof of a source, its preset filled in; `id` is where the message's id is.
    ///
    /// # Errors
    /// All faults of the keys that belong to it.
    pub fn of(config: &SourceConfig, id: &[Lookup]) -> Result<Self, Vec<Fault>> {
        match config.kind {
            SourceKind::None => Ok(Self::Nothing),
            SourceKind::Token => token(config),
            SourceKind::StandardWebhooks => standard(config).map_err(|fault| vec![fault]),
            _ => signature(config, id),
        }
    }

    /// Checks a request at `now` (Unix seconds): which secret it was made with, and the signature where there is one.
    ///
    /// # Errors
    /// [`Refusal`]; never panics, whatever the request.
    pub fn verify(&self, parts: &request::Parts, body: &[u8], now: i64) -> Result<(Which, Option<Verified>), Refusal> {
        let unsigned = |which| (which, None);
        match self {
            Self::Signature(signature) => {
                signature.verify(&parts.headers, body, now).map(|verified| (verified.which, Some(verified)))
            }
            Self::Header(names, token) => {
                let values = parts.headers.get_all(present(names, &parts.headers).ok_or(Refusal::Missing)?);
                token.verify(values.iter().map(|value| value.as_bytes())).map(unsigned)
            }
            Self::Query(name, token) => {
                let values: Vec<_> = parameters(parts.uri.query(), name).collect();
                token.verify(values.iter().map(|value| &**value)).map(unsigned)
            }
            Self::Nothing => Ok(unsigned(Which::Current)),
        }
    }

    /// Whether it proves anything, so that a stranger cannot send.
    pub fn proves(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Where the id is that is signed beside the body; empty where none is signed.
    pub fn signed_id(&self) -> &[Lookup] {
        match self {
            Self::Signature(signature) if signature.hmac.signs_id() => &signature.id,
            _ => &[],
        }
    }

    /// The headers that hold a proof, which no event keeps.
    pub fn headers(&self) -> &[HeaderName] {
        match self {
            Self::Signature(signature) => &signature.headers,
            Self::Header(names, _) => names,
            Self::Query(..) | Self::Nothing => &[],
        }
    }
}

impl Signature {
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Verified, Refusal> {
        let name = present(&self.headers, headers).ok_or(Refusal::Missing)?;
        let time = first(&self.time, headers, body);
        let id = if self.hmac.signs_id() { first(&self.id, headers, body) } else { None };
        let beside = Beside { time: time.as_deref().map(str::as_bytes), id: id.as_deref().map(str::as_bytes) };
        self.hmac.verify_at(headers.get_all(name).iter().map(|value| value.as_bytes()), beside, body, now)
    }
}

/// The first of these headers that is there.
fn present<'n>(names: &'n [HeaderName], headers: &HeaderMap) -> Option<&'n HeaderName> {
    match names {
        [only] => Some(only),
        several => several.iter().find(|name| headers.contains_key(*name)),
    }
}

/// The values of a query's parameter, decoded. A `+` is a plus: tokens hold some, and blanks never.
pub(in crate::ingress) fn parameters<'q>(query: Option<&'q str>, name: &'q str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(move |(key, _)| percent_decode_str(key).eq(name.bytes()));
    named.map(|(_, value)| percent_decode_str(value).into())
}

fn missing(key: &str, help: &str) -> Fault {
    let fault = Fault { at: At::Table, message: format!("missing key `{key}`"), help: None };
    fault.help(help.to_owned())
}

pub(in crate::ingress) fn missing_secret() -> Fault {
    missing("secret", "the key the provider signs with, best as \"${VARIABLE}\" or \"${file:PATH}\"")
}

fn secret(config: &SourceConfig) -> Result<&Secret, Fault> {
    config.secret.as_ref().ok_or_else(missing_secret)
}

fn empty(_: crate::verify::EmptySecret) -> Fault {
    Fault::at_key("secret", "secret is empty")
}

fn bytes(secret: &Secret) -> &[u8] {
    secret.expose().as_bytes()
}

/// The names in `header`.
fn headers(config: &SourceConfig) -> Result<Vec<HeaderName>, Fault> {
    let names = config.header.as_deref().unwrap_or_default();
    if names.is_empty() {
        return Err(Fault::at_key("header", "header names no header"));
    }
    let name = |name: &String| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Fault::at_key("header", format!("header: `{name}` is not a header name")))
    };
    names.iter().map(name).collect()
}

fn token(config: &SourceConfig) -> Result<Proof, Vec<Fault>> {
    let one = |fault| vec![fault];
    let secret = secret(config).map_err(one)?;
    let prefix = config.prefix.as_deref().unwrap_or_default();
    let token = Token::new(prefix, bytes(secret), config.previous_secret.as_ref().map(bytes)).map_err(empty);
    let token = token.map_err(one)?;
    match (&config.header, &config.query) {
        (Some(_), None) => headers(config).map(|names| Proof::Header(names, token)).map_err(one),
        (None, Some(name)) if name.is_empty() => Err(one(Fault::at_key("query", "query names no parameter"))),
        (None, Some(_)) if config.prefix.is_some() => {
            Err(one(Fault::at_key("prefix", "prefix belongs to a token in a header, not to one in the query")))
        }
        (None, Some(name)) => Ok(Proof::Query(name.clone(), token)),
        (None, None) => Err(one(missing("header", "header = \"x-token\" or query = \"token\": where the token is"))),
        (Some(_), Some(_)) => {
            Err(one(Fault::at_key("query", "a token is in one place, expected one of the keys `header` and `query`")))
        }
    }
}

fn standard(config: &SourceConfig) -> Result<Proof, Fault> {
    let fault = |key: &str, why: KeyError| Fault::at_key(key, format!("{key} {why}"));
    let secret = secret(config)?;
    standard_webhooks::key(secret.expose()).map_err(|why| fault("secret", why))?;
    let previous = config.previous_secret.as_ref().map(Secret::expose);
    let tolerance = config.tolerance.map_or(Some(TOLERANCE), Window::window);
    let hmac = standard_webhooks::new(secret.expose(), previous, tolerance);
    let name = HeaderName::from_static;
    // Svix and those who send through it use the older names.
    let either = |one, other| vec![Lookup::Header(name(one)), Lookup::Header(name(other))];
    Ok(Proof::Signature(Box::new(Signature {
        headers: vec![name("webhook-signature"), name("svix-signature")],
        time: either("webhook-timestamp", "svix-timestamp"),
        id: either("webhook-id", "svix-id"),
        hmac: hmac.map_err(|why| fault("previous_secret", why))?,
    })))
}

fn signature(config: &SourceConfig, id: &[Lookup]) -> Result<Proof, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut keep = |fault: Fault| faults.push(fault);
    let secret = secret(config).map_err(&mut keep).ok();
    let headers = match &config.header {
        None => Err(missing("header", "the header the signature is in, such as header = \"x-signature\"")),
        Some(_) => headers(config),
    };
    let headers = headers.map_err(&mut keep).ok();
    let time = Lookup::all("time", config.time.as_ref()).map_err(&mut keep).ok();
    let scheme = scheme(config).map_err(&mut keep).ok();
    let (Some(secret), Some(headers), Some(time), Some(scheme)) = (secret, headers, time, scheme) else {
        return Err(faults);
    };
    let previous = config.previous_secret.as_ref().map(bytes);
    let hmac = Hmac::with(scheme, bytes(secret), previous).map_err(|error| vec![empty(error)])?;
    Ok(Proof::Signature(Box::new(Signature { headers, time, id: id.to_vec(), hmac })))
}

fn scheme(config: &SourceConfig) -> Result<Scheme, Fault> {
    let form = match (&config.pairs, &config.prefix) {
        (Some(_), Some(_)) => {
            return Err(Fault::at_key(
                "prefix",
                "prefix has no place beside `pairs`, which name the digest themselves",
            ));
        }
        (Some(pairs), None) => {
            let names = [Some(&pairs.signature), pairs.time.as_ref()];
            if names.into_iter().flatten().any(|name| name.is_empty() || name.contains([',', '='])) {
                return Err(Fault::at_key("pairs", "pairs: a name is not empty and holds neither `,` nor `=`"));
            }
            Form::Pairs { signature: pairs.signature.clone(), time: pairs.time.clone() }
        }
        (None, prefix) => Form::One { prefix: prefix.clone().unwrap_or_default() },
    };
    let has_time = config.time.is_some() || matches!(form, Form::Pairs { time: Some(_), .. });
    let constant = |locator: &Locator| locator.value.is_some();
    if config.time.as_ref().is_some_and(|time| time.0.iter().any(constant)) {
        return Err(Fault::at_key("time", "time cannot be a `value`: it is different each time"));
    }
    let signed = pieces(config.signed.as_deref().unwrap_or("{body}")).map_err(|why| Fault::at_key("signed", why))?;
    let demand = |piece: &Piece, has: bool, key: &str| {
        if signed.contains(piece) && !has {
            let message = format!("signed holds {{{key}}}, expected the key `{key}` to say where that is");
            return Err(Fault::at_key("signed", message));
        }
        Ok(())
    };
    demand(&Piece::Time, has_time, "time")?;
    demand(&Piece::Id, config.id.is_some(), "id")?;
    let tolerance = config.tolerance.and_then(Window::window);
    if tolerance.is_some() && !has_time {
        let message = "tolerance needs a time, expected the key `time` to say where it is";
        return Err(Fault::at_key("tolerance", message));
    }
    if tolerance.is_some() && !signed.contains(&Piece::Time) {
        let message = "tolerance has no use: the time is not signed, so an old webhook could be sent with a new one";
        let help = "signed = \"{time}.{body}\", as the provider puts them together; without it leave tolerance out";
        return Err(Fault::at_key("tolerance", message).help(help));
    }
    let algorithm = config.algorithm.unwrap_or_default();
    Ok(Scheme { algorithm, encoding: config.encoding.unwrap_or_default(), form, signed, tolerance })
}

/// `v0:{time}:{body}`, taken apart.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, tail)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let (name, after) = tail.split_once('}').ok_or_else(|| format!("signed `{text}`: `{{` has no `}}`"))?;
        pieces.push(match name {
            "body" => Piece::Body,
            "time" => Piece::Time,
            "id" => Piece::Id,
            _ => return Err(format!("signed holds unknown `{{{name}}}`, expected {{body}}, {{time}} or {{id}}")),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    if pieces.iter().filter(|piece| **piece == Piece::Body).count() != 1 {
        return Err(format!("signed `{text}` must hold {{body}} once: what is not signed could be anybody's"));
    }
    // Where a time before the body ends can be told by its form.
    let parted =
        |pair: &[Piece]| matches!(pair, [Piece::Text(_), _] | [_, Piece::Text(_)] | [Piece::Time, Piece::Body]);
    if !pieces.windows(2).all(parted) {
        return Err(format!("signed `{text}` has nothing between two of its parts: they could be cut elsewhere"));
    }
    Ok(pieces)
}
