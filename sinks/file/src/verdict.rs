//! What went wrong with a file, and what that means for the lines it was about. Texts name no file: names are made of
//! event attributes.

use std::io::{self, ErrorKind};

use sink_api::{Outcome, code};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file's own name or sub-folder cannot be made or opened.
    #[error("opening the file: {source}{advice}", source = .0, advice = advice(.0))]
    Open(io::Error),
    /// The name leaves no room for the timestamp of rotation.
    #[error("the file name is longer than {0} bytes")]
    LongName(usize),
    /// The event's path is the name of a file that was rotated away.
    #[error("the path is that of a rotated file of this sink")]
    Rotated,
    /// Someone else has locked the file.
    #[error("another writer holds the file")]
    Busy,
    /// Anything else.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// Less than `min_free` is left.
    #[error("less than journal.min_free is left on the disk")]
    Floor,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// The verdict on each line concerned.
    pub(crate) fn outcome(&self) -> Outcome {
        let detail = self.to_string();
        match self {
            Self::LongName(_) | Self::Rotated => Outcome::reject(code::BAD_PAYLOAD, detail),
            Self::Open(e) if is_bad_name(e) => Outcome::reject(code::BAD_PAYLOAD, detail),
            Self::Floor => Outcome::retry(code::DISK_FULL, detail),
            Self::Open(e) | Self::Io { source: e, .. } if is_full(e) => Outcome::retry(code::DISK_FULL, detail),
            Self::Open(_) | Self::Io { .. } | Self::Busy => Outcome::retry(code::IO, detail),
        }
    }
}

/// The mend for a file system that is closed to us.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "; a service of systemd needs ReadWritePaths= for this folder",
        _ => "",
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether this is a file system's answer to a name that it cannot hold.
fn is_bad_name(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let bad = [Errno::NAMETOOLONG, Errno::INVAL, Errno::ILSEQ];
    bad.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn each_error_has_its_verdict() {
        let retry = |error: FileError, code: &str| {
            let outcome = error.outcome();
            assert!(matches!(&outcome, Outcome::Retry { why, .. } if why.code == code), "{error}: {outcome:?}");
        };
        let reject = |error: FileError| {
            let outcome = error.outcome();
            assert!(
                matches!(&outcome, Outcome::Reject { why } if why.code == code::BAD_PAYLOAD),
                "{error}: {outcome:?}"
            );
        };
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            retry(FileError::io("writing")(errno.into()), code::DISK_FULL);
            retry(FileError::Open(errno.into()), code::DISK_FULL);
        }
        let text = FileError::Open(Errno::ROFS.into()).to_string();
        assert!(text.contains("ReadWritePaths="), "{text}");
        for errno in [Errno::IO, Errno::ROFS, Errno::ACCESS, Errno::NOTDIR, Errno::NAMETOOLONG] {
            retry(FileError::io("writing")(errno.into()), code::IO);
        }
        for errno in [Errno::NAMETOOLONG, Errno::INVAL, Errno::ILSEQ] {
            reject(FileError::Open(errno.into()));
        }
        for errno in [Errno::NOTDIR, Errno::ISDIR, Errno::ACCESS] {
            retry(FileError::Open(errno.into()), code::IO);
        }
        retry(FileError::Floor, code::DISK_FULL);
        retry(FileError::Busy, code::IO);
        reject(FileError::Rotated);
        reject(FileError::LongName(3));
    }
}
