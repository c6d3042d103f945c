//! What sinks and the delivery core are tested with. Test code only: no crate depends on it outside its tests.
//!
//! Rooms: [`make`] builds events, deliveries and batches; [`subject`] is what a sink's test says about its sink;
//! [`suite`] holds the clauses every sink must keep; [`scripted`] is a sink that answers as it is told; [`table`] reads
//! `[sinks.NAME]` tables as the daemon does; [`mod@skip`] names the tests that had no server.
//!
//! A sink's conformance test is one line once its [`Subject`] is there:
//!
//! ```ignore
//! #[tokio::test]
//! async fn keeps_the_contract() {
//!     sink_testkit::run_all(&MySubject::new()).await.unwrap();
//! }
//! ```

pub mod make;
pub mod scripted;
pub mod skip;
pub mod subject;
pub mod suite;
pub mod table;

pub use make::{EventBuilder, MARKER, batch, event, unordered};
pub use scripted::{Scripted, Step};
pub use skip::skip;
pub use subject::{Has, Repeats, Subject, context};
pub use suite::{Failure, Failures, Summary, run_all};
pub use table::{read_example, read_table};
