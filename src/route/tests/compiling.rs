//! Which rules are refused, and in what words.

use std::sync::Arc;

use sink_api::{At, Fault};

use super::{ScriptedEval, routes};
use crate::route::JqEval;
use crate::route::eval::Eval;
use crate::route::{INTERNAL_SOURCE, RuleSet};

fn faults_with(eval: Arc<dyn Eval>, toml: &str) -> Vec<(usize, Fault)> {
    RuleSet::compile(&routes(toml), &["archive", "statuses"], &["interakt"], eval).unwrap_err()
}

fn faults(toml: &str) -> Vec<(usize, Fault)> {
    faults_with(Arc::new(JqEval), toml)
}

/// The only fault: its route, key, message and help.
fn fault(toml: &str) -> (usize, String, String, Option<String>) {
    let mut all = faults(toml);
    assert_eq!(all.len(), 1, "{all:#?}");
    let (index, Fault { at, message, help }) = all.remove(0);
    let At::Key(key) = at else { panic!("{at:?}") };
    (index, key, message, help)
}

fn compiles(eval: impl Eval + 'static, toml: &str) -> bool {
    RuleSet::compile(&routes(toml), &["archive", "statuses"], &["interakt"], Arc::new(eval)).is_ok()
}

#[test]
fn an_unknown_sink_or_source_is_named_with_the_choice_and_the_nearest() {
    let (index, key, message, help) =
        fault("[[routes]]\nmatch = '*'\nto = 'archive'\n[[routes]]\nmatch = '*'\nto = ['archive', 'statusses']");
    assert_eq!((index, key.as_str()), (1, "to"));
    assert_eq!(message, "key `to`: unknown sink `statusses`, expected one of `archive`, `statuses`");
    assert_eq!(help.as_deref(), Some("did you mean `statuses`?"));

    let (_, key, message, help) = fault("[[routes]]\nmatch = '*'\nsource = 'interact'\nto = 'archive'");
    assert_eq!(key, "source");
    assert_eq!(message, "key `source`: unknown source `interact`, expected one of `interakt`, `hookrelay`");
    assert_eq!(help.as_deref(), Some("did you mean `interakt`?"));
}

#[test]
fn the_internal_source_is_always_known() {
    assert!(compiles(JqEval, &format!("[[routes]]\nmatch = '*'\nsource = '{INTERNAL_SOURCE}'\nto = 'archive'")));
}

#[test]
fn a_glob_that_cannot_be_read_is_shown() {
    let (_, key, message, _) = fault("[[routes]]\nmatch = ['ok', 'a[b']\nto = 'archive'");
    assert_eq!(key, "match");
    assert!(message.starts_with("key `match`: `a[b` is not a glob: unclosed character class"), "{message}");
}

#[test]
fn empty_lists_empty_globs_and_a_sink_named_twice_are_refused() {
    for (toml, want) in [
        ("match = []\nto = 'archive'", "key `match`: expected at least one glob over the event type"),
        ("match = ''\nto = 'archive'", "key `match`: an empty glob matches no event type"),
        ("match = '*'\nto = []", "key `to`: expected at least one sink"),
        ("match = '*'\nto = ['archive', 'statuses', 'archive']", "key `to`: sink `archive` is named twice"),
        ("name = ''\nmatch = '*'\nto = 'archive'", "key `name`: expected a name that is not empty"),
    ] {
        assert_eq!(fault(&format!("[[routes]]\n{toml}")).2, want);
    }
}

#[test]
fn names_are_unique_with_those_of_unnamed_routes_among_them() {
    let twice =
        "[[routes]]\nname = 'x'\nmatch = '*'\nto = 'archive'\n[[routes]]\nname = 'x'\nmatch = '*'\nto = 'archive'";
    let (index, key, message, _) = fault(twice);
    assert_eq!((index, key.as_str()), (1, "name"));
    assert_eq!(message, "key `name`: `x` is also the name of route number 1; names are unique");

    let taken = "[[routes]]\nname = 'route2'\nmatch = '*'\nto = 'archive'\n[[routes]]\nmatch = '*'\nto = 'archive'";
    let (index, _, message, _) = fault(taken);
    assert_eq!(index, 0);
    assert_eq!(
        message,
        "key `name`: `route2` is the name that route number 2 has for want of another; names are unique"
    );
}

#[test]
fn names_whose_ids_could_be_anothers_second_output_are_refused() {
    let two = |first: &str, second: &str| {
        format!(
            "[[routes]]\nname = 'first'\nmatch = '*'\nto = 'archive'\n{first}\n\
             [[routes]]\nname = 'a'\nmatch = '*'\nto = 'archive'\ntransform = 'api_log'\n\
             [[routes]]\nmatch = '*'\nto = ['statuses', 'archive']\n{second}"
        )
    };
    let (index, key, message, _) = fault(&two("", "name = 'a-2'"));
    assert_eq!((index, key.as_str()), (2, "name"));
    assert_eq!(message, "key `name`: at sink `archive` the ids of `a-2` would be those of output 2 of route number 2");
    assert_eq!(fault(&two("transform = 'api_log'", "name = '3'")).0, 2);
    assert!(compiles(JqEval, &two("transform = 'api_log'", "name = '-2'")));
    for fine in ["name = 'a-1'", "name = 'a-02'", "name = 'b-2'", "name = '3'", "name = '-2'", "name = 'first-2'"] {
        assert!(compiles(JqEval, &two("", fine)), "{fine}");
    }
}

#[test]
fn every_fault_of_every_route_is_told() {
    let toml = "[[routes]]\nmatch = '['\nwhere = '.a |'\ntransform = '.b c'\nsource = 'x'\nto = ['y', 'z']\n\
                [[routes]]\nmatch = '*'\ntransform = 'api_lag'\nto = 'archive'";
    let keys: Vec<(usize, At)> = faults(toml).into_iter().map(|(index, fault)| (index, fault.at)).collect();
    let inside = |key: &str, at: usize| At::Inside(key.into(), at);
    let mut want: Vec<_> = ["match", "source", "to", "to"].map(|key| (0, At::Key(key.into()))).into();
    want.extend([(0, inside("where", 4)), (0, inside("transform", 3)), (1, inside("transform", 0))]);
    assert_eq!(keys, want);
    assert!(compiles(ScriptedEval, "[[routes]]\nmatch = '*'\nwhere = '.a'\ntransform = '.b'\nto = 'archive'"));
}
