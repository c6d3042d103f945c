//! What must not be shown of what a program writes: values of `env` that may be secrets, and control characters. Pure.

/// Values of `env` that are long enough to be secrets: never shown, wherever the program repeats them.
pub struct Mask(Vec<String>);

/// Shorter values are words such as `prod` or `1`, which would be blotted out everywhere.
const SHORTEST_SECRET: usize = 8;

impl Mask {
    /// Hides these.
    pub fn new<'v>(values: impl Iterator<Item = &'v str>) -> Self {
        let mut values: Vec<String> = values.filter(|v| v.len() >= SHORTEST_SECRET).map(str::to_owned).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len())); // a longer one may hold a shorter one
        Self(values)
    }

    /// A text that was cut off before this, without the beginning of a secret that the text may end in.
    pub fn whole<'t>(&self, text: &'t str) -> &'t str {
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER); // a character that was cut
        let begun = |secret: &String| {
            (1..secret.len()).rev().find(|&n| secret.get(..n).is_some_and(|begun| text.ends_with(begun)))
        };
        let begun = self.0.iter().filter_map(begun).max().unwrap_or(0);
        text.get(..text.len() - begun).unwrap_or_default()
    }

    /// The text on one line, at most `max` bytes of it, secrets and control characters blotted out.
    pub fn clean(&self, text: &str, max: usize) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text.truncate(text.floor_char_boundary(max));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_repeats_is_one_short_line_without_secrets() {
        let mask = Mask::new(["hush-hush", "hush-hush-hush", "prod"].into_iter());
        assert_eq!(mask.clean("\x1b[31m a hush-hush-hush\tb hush-hush\r\nprod\n", 500), "[31m a *** b ***  prod");
        assert_eq!(mask.clean(&"é".repeat(10), 5), "éé");
        assert_eq!(mask.whole("a hush-hush-h"), "a ");
        assert_eq!(mask.whole("a hush-hu\u{fffd}"), "a ");
        assert_eq!(mask.whole("nothing to see"), "nothing to see");
        assert_eq!(Mask::new(std::iter::empty()).whole("a"), "a");
    }
}
