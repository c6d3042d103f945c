//! The real binary from outside, one file per behaviour.
//!
//! - `main_job`: a signed webhook reaches every sink its rules name
//! - `answers`: what a webhook is answered
//! - `nothing_lost`: kill -9 at any moment; every event answered 200 reaches every sink, unchanged
//! - `resend_kills`: the same for messages that failed and are sent again; `resend_proof`: its world and its oracle
//! - `exec`: a program as a sink, across kill -9
//! - `pipelines`: kill -9 with real Kafka and PostgreSQL servers as sinks
//! - `rules`: jq conditions and transforms, runaway programs, `explain` and `test`
//! - `doubtful_rules`: rules that are valid and cannot be meant
//! - `odd_webhooks`: what is too long, hidden, without a number, or a CloudEvent already
//! - `guide`: the recipes of docs/rules.md, and what docs/operating.md says of sizes
//! - `backup`: hot copies by the guide's commands, and what a restore brings back
//! - `proxy`: the guide's nginx and Caddy in front, and the connections that they keep
//! - `guide`: the recipes of docs/rules.md
//! - `internal_events`: the daemon's own news, as events of source `hookrelay`
//! - `sick_sinks`: a sink that hangs, refuses or is not there harms no other
//! - `several`: several daemons on one journal in Kafka; `several_nodes`: any of them answers for all
//! - `disk_use`: the journal stays within its bounds
//! - `failing_disk`: a disk that fails and hangs under the running binary; no 200 before its flush
//! - `full_disk`: starting and stopping where nothing can be written
//! - `sources`: a source of every kind, tokens that leave no trace, retries signed anew
//! - `sockets`: those that systemd passes, and Unix sockets; `health`: the path that load balancers ask
//! - `tls`: webhooks over TLS, client certificates, certificates read again; `certificates`: an authority to make them
//! - `several`: several daemons on one Kafka; `several_restarts`: they are restarted and reloaded
//! - `several_kills`: they and brokers are killed; `several_chaos`: the world and the oracle of that, which
//!   `several_verdict` proves; `dice`: random numbers
//!   its oracle; `dice`: random numbers
//! - `status`: the live figures, and that they add up after kill -9
//! - `counts`: exact at any moment, whatever is reloaded under load; and whether a webhook would be taken
//! - `metrics`: what `/metrics` shows, what `status` says of sinks and monitors; `prometheus`: a real one reads it
//! - `traces`: one webhook is one trace; `collectors`: who takes it, a real OpenTelemetry Collector among them
//! - `dead`: dead letters by the verbs
//! - `dead`: dead letters by the verbs; `pending`: what is tried again, and sinks that try at once
//! - `message`: messages by the verbs and the API, to a stand-in of Interakt's; what waits to be sent again
//! - `log`: a log that nobody reads, or that cannot be written, and what `RUST_LOG` does to it
//! - `secrets`: values that no message, no verb and no log shows
//! - `reload`: a new config in force without a restart; sinks held, let go, moved on
//! - `replay`: a span of the journal delivered once more, and dry runs
//! - `resend`: what failed is sent again as the rules say; `resending`: whose turn it is, and what is said of its end
//! - `trace`: what became of a message, an event, a phone's messages; `tail`: events as they pass
//! - `journal`: verify, dump, stat and repair
//! - `refusals`: every refused request is counted and told; `feed_guard`: the failure budget, and feeds that go quiet
//! - `strangers`: connections, heads and bodies that strangers hold on to delay nobody; `hostile`: those strangers
//! - `taken_away`: folders and files deleted, moved or replaced beneath the running daemon
//! - `whose_folder`: folders that are not ours alone, links, and obstacles in the place of one sink's state
//! - `last_good`: a config file that is refused, broken or gone costs no webhook
//! - `rotation`: secrets change on reload, and what the previous one still signs is counted
//! - `restart`: cursors, locks, a ledger that is gone
//! - `config`: configs that are not what was meant, that hang, or that are far too much
//! - `command_line`: what the verbs print and how they exit
//! - `signals`: those that mean nothing, SIGQUIT, and the limit of file sizes
//! - `service_manager`: what systemd is told, and when the watchdog beats
//! - `restarts`: restarts under load refuse nobody with an inherited socket, and hardly anybody without
//! - `descriptors`: idle connections take none that the journal, the ledger or the admin listener needs
//! - `admin_api`: sessions, other sites, guesses, what is shown of the config, rules that are tried; `openapi`: the API
//!   against its own description, by schemathesis
//! - `admin_places`: clients without the token do not occupy the admin listener
//! - `threads`: where the system gives few threads or none
//! - `jq_worker`: worker processes that do not start, or are stopped
//! - `harness`: starting and killing the daemon, sending, a callback server; `bodies`: what is sent; `tables`: parts of
//!   configs; `verbs`: what the verbs print, and the daemon's figures

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod admin_api;
mod admin_places;
mod answers;
mod backup;
mod bodies;
#[allow(dead_code)]
mod certificates;
mod collectors;
mod command_line;
mod config;
mod counts;
mod dead;
mod descriptors;
mod dice;
mod disk_use;
mod doubtful_rules;
mod exec;
mod failing_disk;
mod feed_guard;
mod finding_dump;
mod full_disk;
mod guide;
mod harness;
mod health;
#[allow(dead_code)]
mod hostile;
mod internal_events;
mod journal;
mod jq_worker;
mod kafka_ways;
mod last_good;
mod log;
mod main_job;
mod message;
mod metrics;
mod nothing_lost;
mod odd_webhooks;
mod openapi;
mod pending;
mod pipelines;
mod prometheus;
mod proxy;
mod refusals;
mod reload;
mod replay;
mod resend;
mod resend_kills;
#[allow(dead_code)]
mod resend_proof;
mod resending;
mod restart;
mod restarts;
mod rotation;
mod rules;
mod secrets;
mod service_manager;
mod several;
mod several_chaos;
mod several_cut;
mod several_deleted;
mod several_kills;
mod several_nodes;
mod several_outage;
mod several_proxy;
mod several_replays;
mod several_restarts;
mod several_sick;
mod several_start;
mod several_verdict;
mod several_ways;
#[allow(dead_code)]
#[path = "../soak/shim.rs"]
mod shim;
mod sick_sinks;
mod signals;
mod sockets;
mod sources;
mod status;
mod strangers;
mod tables;
mod tail;
mod taken_away;
mod threads;
mod tls;
mod trace;
mod traces;
mod verbs;
mod whose_folder;
