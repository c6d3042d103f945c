//! The types of the daemon's own events: the one list of them.

macro_rules! kinds {
    ($($kind:ident, $name:literal, $about:literal;)+) => {
        /// What happened. [`Kind::name`] is the event's type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $about] $kind,)+
        }

        /// The names of all types, in the order of [`Kind::ALL`].
        pub const NAMES: &[&str] = &[$($name),+];

        /// The types of all events of the daemon's own: news, and behind it commands.
        pub const TYPES: &[&str] = &[$($name),+, SEND, RESEND];

        impl Kind {
            /// All types, in the order in which documents list them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The event's type.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// One line: what happened.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$kind => $about,)+
                }
            }
        }
    };
}

kinds! {
    RequestRefused, "request.refused", "a request was refused";
    FeedAtRisk, "feed.at_risk", "a source has spent part of its failure budget";
    FeedFailing, "feed.failing", "a source has spent its failure budget";
    SourceSilent, "source.silent", "a source has gone quiet";
    SourceBack, "source.back", "a source that was quiet sends again";
    SinkDown, "sink.down", "a sink does not take deliveries";
    SinkUp, "sink.up", "a sink takes deliveries again";
    EventDeadLettered, "event.dead_lettered", "a delivery was given up";
    EventsDropped, "events.dropped", "deliveries that were owed are not made";
    DiskFilling, "disk.filling", "the journal's room runs out";
    ConfigReloaded, "config.reloaded", "the config was read again and is in force";
    ConfigRefused, "config.refused", "the config was read and refused";
    ResendExhausted, "resend.exhausted", "a message that failed is not sent again: its rule allows no further try";
    DaemonStarted, "daemon.started", "the daemon has started";
    DaemonStopped, "daemon.stopped", "the daemon stops";
}

/// The daemon's own events that are no news but commands: each has one sink send one message. They are written to the
/// journal or not at all, and never summed up. The type of each, and one line: what it is.
pub const COMMANDS: [(&str, &str); 2] =
    [(SEND, "a message is to be sent, as somebody asked for"), (RESEND, "a message that failed is to be sent again")];
/// A message is to be sent, as somebody asked for.
pub const SEND: &str = "message.send";
/// A message that failed is to be sent again, by a rule.
pub const RESEND: &str = "message.resend";

impl Kind {
    /// What the event's subject is.
    pub const fn subject(self) -> &'static str {
        match self {
            Self::RequestRefused => "the source, or the path where there is none",
            Self::FeedAtRisk | Self::FeedFailing | Self::SourceSilent | Self::SourceBack => "the source",
            Self::SinkDown | Self::SinkUp | Self::EventDeadLettered | Self::EventsDropped => "the sink",
            Self::DiskFilling => "the folder",
            Self::ConfigReloaded | Self::ConfigRefused => "the config file",
            Self::ResendExhausted => "the message that failed last",
            Self::DaemonStarted | Self::DaemonStopped => "the host's name",
        }
    }

    /// What the event's data may hold beside [`ALWAYS`](super::ALWAYS).
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::RequestRefused => &["reason", "source", "path", "method", "status", "remote"],
            Self::FeedAtRisk | Self::FeedFailing => &["reason", "used", "of", "within_s", "failures"],
            Self::SourceSilent => &["since", "after_s"],
            Self::SourceBack => &["since", "silent_s"],
            Self::SinkDown => &["reason", "detail", "pending"],
            Self::SinkUp => &["pending"],
            Self::EventDeadLettered => &["reason", "detail", "id", "event_type"],
            Self::EventsDropped => &["reason"],
            Self::DiskFilling => &["reason", "used", "of", "free", "min_free", "at_risk"],
            Self::ConfigReloaded => &["added", "changed", "removed", "sources", "routes"],
            Self::ConfigRefused => &["detail"],
            Self::ResendExhausted => &["reason", "rule", "of", "code", "detail"],
            Self::DaemonStarted => &["version", "sources", "sinks"],
            Self::DaemonStopped => &["reason", "version"],
        }
    }

    /// What types that undo each other share: they are held back together, so that the last one told is the last one
    /// sent.
    pub(super) const fn pair(self) -> Option<&'static str> {
        match self {
            Self::SinkDown | Self::SinkUp => Some("sink"),
            Self::SourceSilent | Self::SourceBack => Some("silence"),
            Self::ConfigReloaded | Self::ConfigRefused => Some("config"),
            _ => None,
        }
    }

    /// This type's bit in a set of types.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_listed_once_under_a_name_of_its_own() {
        for (n, kind) in Kind::ALL.iter().copied().enumerate() {
            assert_eq!((kind as usize, NAMES[n]), (n, kind.name()));
            assert_eq!(NAMES.iter().filter(|name| **name == kind.name()).count(), 1);
        }
    }
}
