//! What the verbs print, and the running daemon's figures, which must add up.

use std::process::Command;

use serde_json::Value;

use crate::harness::House;

/// What a verb prints, on either output; it must exit with this code.
pub fn verb(house: &House, exit: i32, args: &[&str]) -> String {
    outputs(&mut house.command(args), exit).concat()
}

/// What a verb prints that needs no secret: there is none in its environment.
pub fn verb_without_secret(house: &House, exit: i32, args: &[&str]) -> String {
    outputs(without_secret(&mut house.command(args)), exit).concat()
}

/// What a verb prints with `--json`.
pub fn json(house: &House, args: &[&str]) -> Value {
    parsed(&mut house.command(&[args, &["--json"]].concat()))
}

/// What a verb that needs no secret prints with `--json`.
pub fn json_without_secret(house: &House, args: &[&str]) -> Value {
    parsed(without_secret(&mut house.command(&[args, &["--json"]].concat())))
}

/// `status --json`, in which each sink's figures must add up.
pub fn status(house: &House) -> Value {
    let status = json_without_secret(house, &["status"]);
    for (name, sink) in status["sinks"].as_object().unwrap() {
        let n = |key: &str| sink[key].as_u64().unwrap();
        let parts = n("delivered") + n("dead") + n("pending") + n("filtered") + n("dropped");
        assert_eq!(n("accepted"), parts, "{name}: {sink}");
    }
    status
}

/// These figures of a sink, 0 where there is no such sink.
pub fn figures<const N: usize>(house: &House, sink: &str, names: [&str; N]) -> [u64; N] {
    let figures = status(house)["sinks"][sink].clone();
    names.map(|name| figures[name].as_u64().unwrap_or_default())
}

fn without_secret(command: &mut Command) -> &mut Command {
    command.env_remove("INTERAKT_WEBHOOK_SECRET")
}

fn parsed(command: &mut Command) -> Value {
    let [stdout, stderr] = outputs(command, 0);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

/// Standard output and standard error of a command that must exit with this code.
fn outputs(command: &mut Command, exit: i32) -> [String; 2] {
    let out = command.output().unwrap();
    let [stdout, stderr] = [&out.stdout, &out.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(out.status.code(), Some(exit), "{:?}: {stdout}{stderr}", command.get_args());
    [stdout, stderr]
}
