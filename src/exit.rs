//! Turns errors into exit codes, and prints them: the only place that does either.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done (also where the reader of standard output went away) |
//! | 1 | the command did not work; the text says what. `status --check`: degraded |
//! | 2 | the command line is not understood (clap). `status --check`: critical |
//! | 69 | something it needs cannot be reached: the daemon, or a sink under `check --connect` (EX_UNAVAILABLE) |
//! | 71 | the system refuses what the daemon cannot start without: threads, descriptors, the ledger (EX_OSERR) |
//! | 74 | stopped while the disk could not be written: accepted events are lost, the log names them (EX_IOERR) |
//! | 75 | another process holds the data folder (EX_TEMPFAIL) |
//! | 78 | the config has faults, or is missing, and no last good one is there; a folder or a socket is not ours |

use std::io::{self, Write};
use std::process::ExitCode;

use crate::commands::Failure;
use crate::daemon::DaemonError;
use crate::journal::JournalError;
use crate::telemetry::journald;

/// The table for `--help`.
pub const CODES: &str = "\
Exit codes:
  0   done
  1   it did not work; the text on standard error says what; `status --check`: degraded
  2   the command line is not understood; `status --check`: critical
  69  something it needs cannot be reached: the daemon, or a sink under `check --connect`
  71  the system refuses what the daemon cannot start without: threads, descriptors, the ledger
  74  stopped while the disk could not be written: accepted events are lost, the log names them
  75  another process holds the data folder
  78  the config has faults (each with FILE:LINE:COL on standard error), or there is none; or others
      may write to the data folder; or systemd passes a socket that the config does not name";

/// The exit code of a failure.
pub fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Failure::Daemon(DaemonError::Journal(JournalError::Lost(_))) => 74,
        Failure::Daemon(DaemonError::Journal(JournalError::Locked { .. })) => 75,
        Failure::Daemon(error) if error.is_not_ours() || error.is_of_config() => 78,
        Failure::Daemon(error) if error.is_refused_by_system() => 71,
        Failure::Output(_) | Failure::Refused(_) | Failure::Daemon(_) => 1,
        Failure::Usage(_) => 2,
        Failure::Checked(code) => *code,
        Failure::Unavailable(_) => 69,
        Failure::Config(_) | Failure::NothingGood { .. } | Failure::ConfigTold | Failure::NoConfig(_) => 78,
    }
}

/// Prints what went wrong, and gives the code to exit with.
pub fn finish(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let code = code(&failure);
    // Where standard error cannot be written, nobody is left to tell.
    let _ = match &failure {
        _ if code == 0 => Ok(()),
        Failure::ConfigTold | Failure::Checked(_) => Ok(()),
        Failure::Config(faults) => writeln!(io::stderr(), "{}", journald::as_error(&faults.to_string())),
        Failure::NothingGood { .. } => writeln!(io::stderr(), "{}", journald::as_error(&failure.to_string())),
        other => writeln!(io::stderr(), "{}", journald::as_error(&format!("hookrelay: {other}"))),
    };
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Faults;
    use crate::database::DatabaseError;
    use crate::ingress::BindError;
    use crate::journal::folder::FolderError;
    use crate::sockets::inherited::InheritedError;

    #[test]
    fn each_failure_has_its_documented_code() {
        let locked = JournalError::Locked { path: "data/LOCK".into(), pid: 7 };
        let not_ours = || FolderError::Refused { path: "data".into(), why: "x".into(), help: "y".into() };
        let unreadable =
            || DatabaseError::Io { path: "data/ledger.db".into(), error: io::ErrorKind::PermissionDenied.into() };
        let unnamed = BindError::Unnamed { passed: "a".into(), name: "b".into(), listen: "c".into() };
        let failures = [
            (Failure::Daemon(DaemonError::Bind(unnamed)), 78),
            (Failure::Daemon(DaemonError::Inherited(InheritedError::Count("x".into()))), 78),
            (Failure::Daemon(DaemonError::Folder(not_ours())), 78),
            (Failure::Daemon(DaemonError::Journal(JournalError::Folder(not_ours()))), 78),
            (Failure::Daemon(DaemonError::Ledger(DatabaseError::Folder(not_ours()))), 78),
            (Failure::Output(io::ErrorKind::BrokenPipe.into()), 0),
            (Failure::Output(io::ErrorKind::StorageFull.into()), 1),
            (Failure::Refused("x".into()), 1),
            (
                Failure::Daemon(DaemonError::Folder(FolderError::Io {
                    path: "data".into(),
                    error: io::ErrorKind::Other.into(),
                })),
                1,
            ),
            (Failure::Daemon(DaemonError::Runtime(io::ErrorKind::Other.into())), 71),
            (Failure::Daemon(DaemonError::Threads { had: 1, needed: 2, error: io::ErrorKind::WouldBlock.into() }), 71),
            (Failure::Daemon(DaemonError::Ledger(unreadable())), 71),
            (Failure::Usage("x".into()), 2),
            (Failure::Checked(1), 1),
            (Failure::Checked(2), 2),
            (Failure::Unavailable("x".into()), 69),
            (Failure::Daemon(DaemonError::Journal(JournalError::Lost("2 accepted events".into()))), 74),
            (Failure::Daemon(DaemonError::Journal(locked)), 75),
            (Failure::ConfigTold, 78),
            (Failure::NothingGood { faults: Faults::of_file("a".as_ref(), "x"), instead: "y".into() }, 78),
            (Failure::NoConfig(vec![]), 78),
        ];
        for (failure, wanted) in failures {
            assert_eq!(code(&failure), wanted, "{failure:?}");
            let line = format!("\n  {wanted} ");
            assert!(CODES.contains(&line), "{wanted} is not in the help");
        }
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_named_with_its_file_and_the_mend() {
        let error = io::ErrorKind::PermissionDenied.into();
        let text = DaemonError::Ledger(DatabaseError::Io { path: "data/ledger.db".into(), error }).to_string();
        for part in ["the ledger cannot be opened", "data/ledger.db", "denied", "help: `"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
