//! The list of sink kinds: one line per sink. `check`, `kinds`, `run` and every "expected one of" read it.

use sink_api::SinkKind;

/// All kinds of sinks this binary knows.
pub const KINDS: &[SinkKind] = &[
    sink_exec::KIND,
    sink_file::KIND,
    sink_http::KIND,
    sink_interakt::KIND,
    sink_kafka::KIND,
    sink_postgres::KIND,
    sink_sqlite::KIND,
    sink_stdout::KIND,
];

/// The libraries in other languages that sinks are linked with, and the versions that run.
pub fn libraries() -> Vec<(&'static str, String)> {
    vec![sink_kafka::library()]
}
