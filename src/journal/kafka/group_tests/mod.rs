//! Sinks' groups on a real cluster. Two [`Groups`] with two names of nodes are two daemons.

mod feeding;
mod frozen;
mod gathering;
mod handing_over;
mod kit;
mod naming;
mod reading;
mod settling;
