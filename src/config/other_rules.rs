//! Other rules in the place of those in force, to be tried and never put in force.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Config;
use super::env::Env;
use super::faults::Faults;
use super::load::{Loader, Overlooked, Place};
use super::load_resends::{Around, implicit};
use crate::route::doubts::Known;

/// What the text is called in faults.
const NAME: &str = "rules";

/// The config with the `[[routes]]` of this text in the place of its own; the text's other tables do not matter. `${…}`
/// is not filled in: whoever may try rules would read the values otherwise.
///
/// # Errors
/// All faults of the routes; that there are none.
pub fn with_rules(config: &Config, text: &str) -> Result<Config, Faults> {
    let place = Place { name: Path::new(NAME), overlooked: Overlooked::Variables, ..Place::of(&config.file) };
    let mut loader = Loader::new(text, &place, &Unfilled, &[], &["routes"])?;
    loader.unknown_tables();
    let sources: Vec<String> = config.sources.iter().map(|source| source.name.to_string()).collect();
    let kinds: Vec<_> = config.sources.iter().map(|source| (&*source.name, source.kind)).collect();
    let known: Vec<Known<'_>> = kinds.iter().map(|(name, kind)| (*name, kind.types())).collect();
    let sinks: Vec<_> = config.own_sinks().map(|sink| (sink.name.clone(), 0..0)).collect();
    let around = Around { sources: &sources, known: &known, sink_names: &sinks, sinks: &config.sinks };
    let (rules, routes) = loader.routes(&around, &implicit(&kinds, &config.sinks));
    loader.report.finish()?;
    match rules {
        Some(rules) if !routes.is_empty() => Ok(Config { rules: Arc::new(rules), routes, ..config.clone() }),
        _ => Err(Faults::of_file(Path::new(NAME), "holds no [[routes]]")),
    }
}

/// Fills in every placeholder with itself.
struct Unfilled;

impl Env for Unfilled {
    fn get(&self, name: &str) -> Option<String> {
        Some(format!("${{{name}}}"))
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        Ok(format!("${{file:{}}}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SOURCE, config_with};

    #[test]
    fn the_routes_of_a_text_take_the_place_of_those_in_force_and_nothing_is_filled_in() {
        let sinks = "[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"x\"\nto = \"a\"\n";
        let config = config_with(&format!("{SOURCE}{sinks}"), &[]);
        let text = "[sinks.other]\nkind = \"nonsense\"\n[[routes]]\nname = \"new\"\nmatch = \"*\"\nto = \"a\"\n\
                    where = '.a == \"${SECRET}\"'\n";
        let other = with_rules(&config, text).unwrap();
        assert_eq!((other.routes.len(), other.sinks.len()), (1, 1));
        assert!(format!("{:?}", other.routes).contains("${SECRET}"));
        assert_eq!(config.rules.route_names().count(), 1);
        for (text, fault) in [
            ("[[routes]]\nmatch = \"*\"\nto = \"b\"\n", "unknown sink `b`"),
            ("[[routes]]\nmatch = \"*\"\nto = \"a\"\nwhere = \".a |\"\n", "rules:4"),
            ("[[routes]\n", "rules:1"),
            ("[[rutes]]\nmatch = \"*\"\n", "did you mean `routes`?"),
            ("", "no [[routes]]"),
        ] {
            let faults = with_rules(&config, text).unwrap_err().to_string();
            assert!(faults.contains(fault), "{text}: {faults}");
        }
    }
}
