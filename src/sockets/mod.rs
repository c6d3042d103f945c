//! Sockets that listen, before anybody speaks over them: those that systemd passes at the start (`inherited`), and Unix
//! sockets at their paths (`unix`). Knows no HTTP and no config.

pub mod inherited;
pub mod unix;
