//! What sinks and the delivery core are tested with. Test code only: no crate depends on it outside its tests.
//!
//! Modules: [`make`] builds events, deliveries and batches; [`subject`] is what a sink's test says about its sink;
//! [`suite`] holds the clauses every sink must keep; [`outcomes`] puts outcomes into words; [`scripted`] is a sink that
//! answers as it is told; [`outbox`] remembers what sinks that send ask and tell; [`table`] reads `[sinks.NAME]` tables
//! as the daemon does; [`messages`] makes rows for tables of one row a message; [`mod@skip`] names the tests that had
//! no server; [`wait`] waits for conditions. Servers: [`http`] one that follows a script, [`callback`] one that
//! remembers what it took; with the feature of the same name, `interakt` a **stand-in** of Interakt's send API, and
//! `postgres` and `kafka` the real ones, which [`services`] finds.
//!
//! A sink's conformance test is one line once its [`Subject`] is there:
//!
//! ```ignore
//! #[tokio::test]
//! async fn keeps_the_contract() {
//!     sink_testkit::run_all(&MySubject::new()).await.unwrap();
//! }
//! ```

pub mod callback;
pub mod http;
#[cfg(feature = "interakt")]
pub mod interakt;
#[cfg(feature = "kafka")]
pub mod kafka;
mod kit;
mod lock;
pub mod make;
pub mod messages;
mod must;
pub mod outbox;
pub mod outcomes;
mod pipeline;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod scripted;
pub mod services;
pub mod skip;
pub mod subject;
pub mod suite;
pub mod table;
mod untried;
pub mod wait;

pub use callback::{Callback, Got};
pub use http::HttpServer;
pub use make::{EventBuilder, MARKER, batch, event, unordered};
pub use outbox::MemoryOutbox;
pub use outcomes::{deliver, detail, verdict, verdicts};
pub use scripted::{Scripted, Step};
pub use skip::skip;
pub use subject::{Has, Repeats, Subject, context};
pub use suite::{Failure, Failures, Summary, run_all};
pub use table::{read_example, read_table};
pub use wait::{wait_until, wait_until_async};
