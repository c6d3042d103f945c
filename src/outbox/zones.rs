//! The time zones in which a customer may be, by the calling code of the phone number. Pure.
//!
//! A number says of a country at best; which of its zones the customer is in, nobody knows. The list, and where it is
//! from, stands in `zones.txt`.

use crate::times::Zone;

/// The list: codes, a colon, zones.
const LIST: &str = include_str!("zones.txt");

/// The zones of the country, or countries, that a number (`+` and digits) belongs to; nothing where the code is not
/// known.
pub fn of_phone(phone: &str) -> Vec<Zone> {
    let digits = phone.trim_start_matches('+');
    let rows = LIST.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    let mut best: (usize, &str) = (0, "");
    for (codes, zones) in rows {
        let longest = codes.split(' ').filter(|code| digits.starts_with(*code)).map(str::len).max().unwrap_or_default();
        if longest > best.0 {
            best = (longest, zones);
        }
    }
    best.1.split_whitespace().filter_map(Zone::named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_of_the_list_is_known_and_every_code_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let (codes, zones) = line.split_once(": ").unwrap();
            for code in codes.split(' ') {
                assert!(seen.insert(code) && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
            }
            for zone in zones.split(' ') {
                assert!(Zone::named(zone).is_some(), "{zone}");
            }
        }
        assert!(seen.len() > 200, "{}", seen.len());
    }

    #[test]
    fn a_number_belongs_to_the_longest_code_that_it_begins_with() {
        let zones = |names: &[&str]| names.iter().map(|name| Zone::named(name).unwrap()).collect::<Vec<_>>();
        assert_eq!(of_phone("+919876543210"), zones(&["Asia/Kolkata"]));
        assert_eq!(of_phone("+16715550100"), zones(&["Pacific/Guam"]));
        assert_eq!(of_phone("+77011234567"), of_phone("+76011234567"));
        assert!(of_phone("+14155550100").len() > 20 && of_phone("+79161234567").len() > 10);
        assert!(!of_phone("+79161234567").contains(&Zone::named("Asia/Almaty").unwrap()));
        for nobody in ["+0", "+999123456", "", "+"] {
            assert_eq!(of_phone(nobody), [], "{nobody}");
        }
    }
}
