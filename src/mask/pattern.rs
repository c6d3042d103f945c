//! What is personal by its looks: numbers long enough for a telephone, e-mail addresses, URLs.

use super::HIDDEN;

/// So many digits may be a telephone number.
const PHONE_DIGITS: usize = 7;
/// Digits that are shown of one.
const SHOWN_DIGITS: usize = 2;
/// Most digits of a second's fraction that are shown.
const FRACTION: usize = 6;
/// Most characters between two digits of a telephone number.
const MOST_BETWEEN: usize = 3;
/// So many digits at least follow a character that stands in amounts and dates as well as in telephone numbers.
const GROUP: usize = 3;
/// Longest scheme of a URL.
const MOST_SCHEME: usize = 10;

/// A text with what looks personal in it masked. See the module's head.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, None::<char>);
    while let Some(first) = rest.chars().next() {
        let is_boundary = before.is_none_or(|c| !c.is_alphanumeric());
        let taken = is_boundary
            .then(|| kept(rest, before).or_else(|| url(rest)).or_else(|| address(rest, before)))
            .flatten()
            .or_else(|| phone(rest, first));
        let (length, shown) = taken.unwrap_or_else(|| (first.len_utf8(), first.to_string()));
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(&shown);
        before = piece.chars().next_back();
        rest = after;
    }
    out
}

/// What stands in a place for personal data: nothing stays nothing, a telephone number keeps its last digits.
pub fn personal(text: &str) -> String {
    if matches!(text, "" | "None") {
        return text.to_owned();
    }
    let is_number = text.chars().all(|c| c.is_numeric() || is_between(c) || c == '+');
    let digits = text.chars().filter(|c| c.is_numeric()).count();
    if is_number && digits >= PHONE_DIGITS { last(text) } else { HIDDEN.to_owned() }
}

/// Whether so many digits stand in a row that they may be a telephone number.
pub fn is_long(number: &str) -> bool {
    number.split(|c: char| !c.is_numeric()).any(|run| run.chars().count() >= PHONE_DIGITS)
}

fn last(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().filter(|c| c.is_numeric()).collect();
    let shown = digits.get(digits.len().saturating_sub(SHOWN_DIGITS)..).unwrap_or_default();
    HIDDEN.chars().chain(shown.iter().copied()).collect()
}

fn is_between(c: char) -> bool {
    let is_wide = matches!(c, '\u{a0}' | '\u{2000}'..='\u{200b}' | '\u{2010}'..='\u{2015}' | '\u{202f}');
    is_wide || matches!(c, ' ' | '\t' | '-' | '(' | ')')
}

/// Whether a text begins with what may stand between groups of a telephone number, and with such a group: `.43210`.
fn is_before_group(text: &str) -> bool {
    let digits =
        text.strip_prefix(['.', ',', '/', '_']).map(|rest| rest.chars().take_while(|c| c.is_numeric()).count());
    digits.is_some_and(|digits| digits >= GROUP)
}

/// How many bytes a text begins with that match this: `x` a hexadecimal digit, `0` a digit, others themselves.
fn matching(text: &str, shape: &str) -> Option<usize> {
    let begin = text.as_bytes().get(..shape.len())?;
    let fits = |(byte, shape): (&u8, u8)| match shape {
        b'x' => byte.is_ascii_hexdigit(),
        b'0' => byte.is_ascii_digit(),
        other => *byte == other,
    };
    begin.iter().zip(shape.bytes()).all(fits).then_some(shape.len())
}

/// A UUID, a machine's address or a time, which stays.
fn kept(text: &str, before: Option<char>) -> Option<(usize, String)> {
    let whole = uuid(text).or_else(|| ipv4(text, before)).map(|length| (length, length));
    let length = whole.or_else(|| time(text, before))?;
    Some((length.0, text.get(..length.1)?.to_owned()))
}

fn uuid(text: &str) -> Option<usize> {
    let length = matching(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")?;
    let next = text.get(length..)?.chars().next();
    next.is_none_or(|c| !c.is_alphanumeric()).then_some(length)
}

/// An address of IPv4, which is a machine's.
fn ipv4(text: &str, before: Option<char>) -> Option<usize> {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let is_alone = before.is_none_or(|c| c != '+' && c != '.');
    let is_one = text.get(..length)?.parse::<std::net::Ipv4Addr>().is_ok();
    let next = text.get(length..)?.chars().next();
    (is_alone && is_one && next.is_none_or(|c| !c.is_alphanumeric())).then_some(length)
}

/// A date, perhaps with a time of day: how many bytes it has, and how many of them are shown.
fn time(text: &str, before: Option<char>) -> Option<(usize, usize)> {
    if before.is_some_and(|c| is_between(c) && c != ' ' || c == '+') {
        return None;
    }
    let year = matching(text, "0000-00-00").filter(|_| ["19", "20", "21"].iter().any(|c| text.starts_with(c)))?;
    let part = |from: usize, most: u32| text.get(from..from + 2)?.parse().ok().filter(|n| (1..=most).contains(n));
    let (_, _): (u32, u32) = (part(5, 12)?, part(8, 31)?);
    let rest = text.get(year..)?;
    let clock = ["T00:00", " 00:00"].iter().find_map(|shape| matching(rest, shape)).unwrap_or_default();
    let seconds = rest.get(clock..).filter(|_| clock > 0).and_then(|rest| matching(rest, ":00")).unwrap_or_default();
    let mut length = year + clock + seconds;
    let mut shown = length;
    if let Some(fraction) = text.get(length..).and_then(|rest| rest.strip_prefix('.')).filter(|_| seconds > 0) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        length += 1 + digits;
        shown += 1 + digits.min(FRACTION);
    }
    // A number that goes on is no time.
    let next = text.get(length..)?.chars().next();
    let goes_on = next.is_some_and(|c| c.is_numeric() || (clock == 0 && matches!(c, '-' | '(' | ')')));
    (!goes_on).then_some((length, shown))
}

/// A URL: scheme and host stay.
fn url(text: &str) -> Option<(usize, String)> {
    let scheme = text.bytes().take(MOST_SCHEME).take_while(u8::is_ascii_alphabetic).count();
    let rest = text.get(scheme..).filter(|_| scheme > 0)?.strip_prefix("://")?;
    let end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\');
    let whole = rest.get(..rest.find(end).unwrap_or(rest.len()))?;
    let host_end = whole.find(['/', '?', '#']).unwrap_or(whole.len());
    let (authority, path) = whole.split_at_checked(host_end)?;
    let host = authority.rsplit('@').next().unwrap_or_default();
    let hidden = if path.len() > 1 { format!("/{HIDDEN}") } else { path.to_owned() };
    let shown = format!("{}://{}{hidden}", text.get(..scheme)?, digits_hidden(host));
    Some((scheme + 3 + whole.len(), shown))
}

/// A host with numbers as long as a telephone's hidden.
fn digits_hidden(host: &str) -> String {
    if is_long(host) { HIDDEN.to_owned() } else { host.to_owned() }
}

/// An e-mail address.
fn address(text: &str, before: Option<char>) -> Option<(usize, String)> {
    let is_local = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-' | '\'');
    // From its beginning only, so that a long word is looked at once.
    if before.is_some_and(is_local) {
        return None;
    }
    let local = text.find(|c| !is_local(c)).filter(|local| *local > 0)?;
    let domain = text.get(local..)?.strip_prefix('@')?;
    let is_domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '@' | '_' | '+' | '%');
    let length = domain.find(|c| !is_domain(c)).unwrap_or(domain.len());
    let is_one = domain.get(..length)?.trim_matches('.').contains('.');
    is_one.then(|| (local + 1 + length, format!("{HIDDEN}@{HIDDEN}")))
}

/// Digits, perhaps behind a `+`, with single characters between them that people write there. Too few of them stay.
fn phone(text: &str, first: char) -> Option<(usize, String)> {
    if !first.is_numeric() && first != '+' {
        return None;
    }
    let (mut digits, mut end, mut between) = (0_usize, 0, 0);
    for (at, c) in text.char_indices().skip(usize::from(first == '+')) {
        if c.is_numeric() {
            (digits, end, between) = (digits + 1, at + c.len_utf8(), 0);
        } else if between < MOST_BETWEEN && (is_between(c) || text.get(at..).is_some_and(is_before_group)) {
            between += 1;
        } else {
            break;
        }
    }
    let written = text.get(..end).filter(|written| !written.is_empty())?;
    Some((end, if digits >= PHONE_DIGITS { last(written) } else { written.to_owned() }))
}
