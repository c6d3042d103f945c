//! Tables with several faults, and what is reported of them: each fault at its position, and no others.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::*;
use crate::settings::one_or_many;
use crate::{At, Period, Secret, Settings, Size, Template};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Probe {
    path: String,
    #[serde(default)]
    inflight: u32,
    #[serde(default)]
    batch: Batch,
    basic: Option<Basic>,
    #[serde(default)]
    proxies: Vec<IpAddr>,
    #[serde(default)]
    steps: Vec<Basic>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code)]
struct Batch {
    max_events: Option<usize>,
    max_bytes: Option<Size>,
    linger: Option<Period>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Basic {
    user: Secret,
    password: Secret,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
}

/// Keys of every shape, all of which must be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Strict {
    a_kind: Kind,
    b_path: PathBuf,
    c_size: Size,
    d_period: Period,
    e_template: Template,
    #[serde(deserialize_with = "one_or_many")]
    f_list: Vec<String>,
    g_count: u32,
    h_on: bool,
    i_ratio: f64,
    j_basic: Basic,
    k_address: IpAddr,
    l_secret: Secret,
}

/// Faults in the order of the file, as `PLACE: message`, where the place is the text that is marked
/// (none for the table itself).
fn faults<T: DeserializeOwned>(text: &str) -> Vec<String> {
    let mut faults: Vec<_> = Settings::new(DeTable::parse(text).unwrap())
        .read::<T>()
        .map(drop)
        .unwrap_err()
        .into_iter()
        .map(|fault| match fault.at {
            At::Span(span) => (span.start, format!("{}: {}", &text[span], fault.message)),
            other => panic!("{other:?}"),
        })
        .collect();
    faults.sort();
    faults.into_iter().map(|(_, text)| text).collect()
}

fn assert_faults<T: DeserializeOwned>(text: &str, wanted: &[&str]) {
    let faults = faults::<T>(text);
    assert_eq!(faults.len(), wanted.len(), "{text}\n{faults:#?}");
    for (fault, wanted) in faults.iter().zip(wanted) {
        assert!(fault.starts_with(wanted), "{fault:?} is not {wanted:?} in\n{text}");
    }
}

#[test]
fn every_fault_of_a_table_is_reported_with_its_position_and_the_way_out() {
    let text = "path = 3\ninflght = 1\ninflight = \"many\"\n";
    assert_faults::<Probe>(
        text,
        &[
            "3: invalid type: integer `3`, expected a string",
            "inflght: unknown key `inflght`",
            "\"many\": invalid type: string \"many\", expected u32",
        ],
    );
    let faults = Settings::new(DeTable::parse(text).unwrap()).read::<Probe>().unwrap_err();
    assert!(faults.iter().any(|f| f.help.as_deref() == Some("did you mean `inflight`?")), "{faults:#?}");
}

#[test]
fn every_fault_of_a_nested_table_is_reported() {
    for text in [
        "path = 'x'\nbatch = { max_events = 'x', linger = 3, max_byte = 1 }\n",
        "path = 'x'\n[batch]\nmax_events = 'x'\nlinger = 3\nmax_byte = 1\n",
        "path = 'x'\nbatch.max_events = 'x'\nbatch.linger = 3\nbatch.max_byte = 1\n",
    ] {
        let wanted =
            ["'x': invalid type", "3: invalid type: integer `3`, expected a time span", "max_byte: unknown key"];
        assert_faults::<Probe>(text, &wanted);
    }
}

#[test]
fn missing_keys_are_reported_beside_unknown_ones_at_every_depth() {
    assert_faults::<Probe>(
        "inflght = 1\nbasic = { usr = 'x' }\n",
        &[
            ": missing key `path`",
            "inflght: unknown key `inflght`",
            "{ usr = 'x' }: missing key `password`",
            "{ usr = 'x' }: missing key `user`",
            "usr: unknown key `usr`",
        ],
    );
}

#[test]
fn every_missing_key_is_reported_whatever_shape_it_should_have() {
    let faults = faults::<Strict>("zzz = 1\n");
    let keys = "a_kind b_path c_size d_period e_template f_list g_count h_on i_ratio j_basic k_address l_secret";
    let mut wanted: Vec<String> = keys.split(' ').map(|key| format!(": missing key `{key}`")).collect();
    assert!(faults.last().unwrap().starts_with("zzz: unknown key `zzz`"), "{faults:#?}");
    wanted.push(faults.last().unwrap().clone());
    assert_eq!(faults, wanted);
}

#[test]
fn a_key_whose_value_was_wrong_is_not_missing_too() {
    assert_faults::<Probe>("inflight = 1", &[": missing key `path`"]);
    assert_faults::<Probe>("path = 1", &["1: invalid type"]);
    assert_faults::<Probe>("path = ''\nbasic = { user = 1 }", &["{ user = 1 }: missing key `password`", "1: invalid"]);
}

#[test]
fn every_bad_member_of_a_list_is_reported() {
    let text = "path = ''\nproxies = ['::1', 'x', 3, '127.0.0.1', 'y']\nsteps = [{ user = 'a' }, { pass = 1 }]\n";
    assert_faults::<Probe>(
        text,
        &[
            "'x': invalid IP address syntax",
            "3: invalid type",
            "'y': invalid IP address syntax",
            "{ user = 'a' }: missing key `password`",
            "{ pass = 1 }: missing key `password`",
            "{ pass = 1 }: missing key `user`",
            "pass: unknown key `pass`",
        ],
    );
}

/// Can be read from nothing that stands in for it.
#[derive(Debug)]
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "never" { Ok(Self) } else { Err(serde::de::Error::custom("not that")) }
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Stubborn {
    inner: Inner,
    size: Size,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Inner {
    never: Never,
    count: u32,
}

#[test]
fn where_nothing_can_stand_in_the_rest_is_reported_all_the_same() {
    let text = "inner = { count = 'x' }\nsize = 'y'\n";
    let wanted = ["{ count = 'x' }: missing key `never`", "'x': invalid type", "'y': invalid value"];
    assert_faults::<Stubborn>(text, &wanted);
    assert_faults::<Inner>("count = 'x'", &[": missing key `never`", "'x': invalid type"]);
}

#[test]
fn a_table_with_very_many_faults_is_reported_up_to_a_bound() {
    let text: String = (0..MAX_FAULTS + 5).map(|n| format!("unknown{n} = {n}\n")).collect();
    let faults = faults::<Probe>(&text);
    assert_eq!(faults.len(), MAX_FAULTS + 1);
    assert!(faults[0].ends_with("there are more faults in this table; mend these first"), "{}", faults[0]);
}

/// Counts how often it is read.
#[derive(Debug)]
struct Counted;

thread_local! {
    static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        READ.set(READ.get() + 1);
        Probe::deserialize(from).map(|_| Self)
    }
}

#[test]
fn a_table_is_read_a_few_times_however_many_keys_are_unknown() {
    let text: String = (0..5_000).map(|n| format!("unknown{n} = {n}\n")).collect();
    assert_eq!(faults::<Counted>(&text).len(), MAX_FAULTS + 1);
    assert!(READ.get() <= 3, "{} readings", READ.get());
    // The larger it is, the less often: their product is bounded.
    assert_eq!((readings(300_000), readings(10)), (6, MAX_READINGS));
    let values = format!("proxies = [{}]\n", "1, ".repeat(50_000));
    READ.set(0);
    assert!(faults::<Counted>(&values).iter().any(|fault| fault.contains("there are more faults")));
    assert!(READ.get() <= 1 + MAX_WORK / 50_000, "{} readings", READ.get());
}
