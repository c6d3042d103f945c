//! The ids of events and of deliveries as text, and their one reader. An event's id is a UUID; a delivery's is that of
//! its event, alone or with a suffix behind a hyphen. Shortened, as tables show it, an id begins with the last
//! characters of the event's, which are random; it has the same suffix. Pure.

use sink_api::Uuid;

/// Length of an event's id in text.
pub const WHOLE: usize = 36;
/// So many characters of it are told apart.
pub const SHORT: usize = 8;

/// Length of a trace's id, which is the event's without hyphens.
const OF_TRACE: usize = 32;

/// The event that a whole id is of, be it the event's own, a delivery's, or that of its trace.
pub fn event(id: &str) -> Option<Uuid> {
    if id.len() == OF_TRACE {
        return Uuid::try_parse(id).ok();
    }
    let (event, rest) = id.split_at_checked(WHOLE)?;
    (rest.is_empty() || rest.starts_with('-')).then(|| Uuid::try_parse(event).ok()).flatten()
}

/// What the bytes of the event's id end in, by a shortened id.
pub fn end(id: &str) -> Option<[u8; SHORT / 2]> {
    let (end, rest) = id.split_at_checked(SHORT)?;
    let is_one = end.bytes().all(|byte| byte.is_ascii_hexdigit()) && (rest.is_empty() || rest.starts_with('-'));
    let begins_whole = id.get(..WHOLE).is_some_and(|whole| Uuid::try_parse(whole).is_ok());
    (is_one && !begins_whole).then(|| u32::from_str_radix(end, 16).ok()).flatten().map(u32::to_be_bytes)
}

/// The id shortened.
pub fn short(id: &str) -> &str {
    let event = id.get(..WHOLE).map_or(id.len(), str::len);
    id.get(event.saturating_sub(SHORT)..).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0192f0c1-2d4b-7a5e-8c3d-5f6a7b8c9d0e";

    #[test]
    fn the_id_of_a_delivery_begins_with_its_events() {
        for good in [ID.to_owned(), format!("{ID}-second"), format!("{ID}-second-2")] {
            assert_eq!(event(&good).unwrap().to_string(), ID);
            assert_eq!(end(&good), None, "{good} is whole");
        }
        assert_eq!(event(&ID.replace('-', "")).unwrap().to_string(), ID);
        for bad in [&ID[1..], "", "m-1", &format!("{ID}x"), &"\u{e9}".repeat(30)] {
            assert_eq!(event(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_short_id_is_the_end_of_an_events_whatever_stands_behind_it() {
        let long = format!("7b8c9d0e-{}", "archive".repeat(6));
        for good in ["7b8c9d0E", "7b8c9d0e-archive", "7b8c9d0e-archive-2", &long] {
            assert_eq!(end(good), Some([0x7b, 0x8c, 0x9d, 0x0e]), "{good}");
        }
        for none in ["", "7b8c9d0", "7b8c9d0e0", "7b8c9d0g", "+b8c9d0e", &format!("{ID}x")] {
            assert_eq!(end(none), None, "{none}");
        }
        for id in [ID.to_owned(), format!("{ID}-second")] {
            assert_eq!(end(short(&id)), Some([0x7b, 0x8c, 0x9d, 0x0e]));
        }
    }
}
