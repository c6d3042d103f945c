//! The table from Kafka's error codes to outcomes. Pure.
//!
//! What is unknown is Retry: the core bounds attempts, and a retry too many harms less than a loss. Details are
//! librdkafka's fixed texts for a code, the config's topic, and what it says about its connections; never a message.

use rdkafka::error::RDKafkaErrorCode as Code;
use sink_api::{Outcome, Reason, code};

/// The topic does not exist.
pub const UNKNOWN_TOPIC: &str = "unknown_topic";
/// No right to write to a topic that the event named.
pub const TOPIC_AUTH: &str = "topic_auth";
/// The message is larger than the topic takes.
pub const TOO_LARGE: &str = "too_large";
/// The broker read the message and would not have it.
pub const REFUSED: &str = "refused";
/// librdkafka's queue is full of other batches' messages.
pub const QUEUE_FULL: &str = "queue_full";
/// The producer cannot go on; a new one takes its place.
pub const FATAL: &str = "fatal";
/// Any other answer of a broker.
pub const KAFKA: &str = "kafka";

/// What an error code means for the delivery it was answered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The delivery's outcome.
    Outcome(Outcome),
    /// The delivery's outcome, if its message was alone in its set. Brokers refuse messages by the set, and need not
    /// say which of them is to blame.
    Suspect(Outcome),
}

/// The verdict on a delivery that was answered with this code. `constant` is the topic, where it is the same for every
/// event, and is named then. A topic that is made for each event is not named, as it may hold what is the event's
/// alone.
pub fn of(error: Code, constant: Option<&str>) -> Failure {
    let text = match constant.filter(|_| is_of_topic(error)) {
        Some(topic) => format!("topic {topic:?}: {error}"),
        None => error.to_string(),
    };
    let retry = |code| Failure::Outcome(Outcome::retry(code, text.clone()));
    let reject = |code| Failure::Outcome(Outcome::reject(code, text.clone()));
    match error {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            let what = "the message is larger than the topic, or `message.max.bytes`, allows";
            Failure::Suspect(Outcome::reject(TOO_LARGE, what))
        }
        Code::InvalidRecord | Code::InvalidTimestamp | Code::UnsupportedForMessageFormat => {
            Failure::Suspect(Outcome::reject(REFUSED, text))
        }
        // Another message of its set was refused: by itself it is taken.
        Code::InvalidDifferentRecord => Failure::Suspect(Outcome::retry(KAFKA, text)),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            if constant.is_some() { retry(UNKNOWN_TOPIC) } else { reject(UNKNOWN_TOPIC) }
        }
        Code::TopicAuthorizationFailed if constant.is_none() => retry(TOPIC_AUTH),
        _ => retry(code_of(error)),
    }
}

/// Whether the error is about the topic itself, so that its reader wants to know which one.
fn is_of_topic(error: Code) -> bool {
    matches!(
        error,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
    )
}

/// The reason code of an error that speaks of the sink.
pub fn code_of(error: Code) -> &'static str {
    match error {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::NetworkException | Code::BrokerNotAvailable => {
            code::CONNECT
        }
        Code::Resolve => code::DNS,
        Code::SSL => code::TLS,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => code::AUTH,
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => code::TIMEOUT,
        Code::QueueFull => QUEUE_FULL,
        Code::Fatal => FATAL,
        _ => KAFKA,
    }
}

/// The reason an error gives, with what was said beside it.
pub fn reason(error: Code, said: &str) -> Reason {
    Reason::new(code_of(error), if said.is_empty() { error.to_string() } else { said.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(error: Code, constant: Option<&str>) -> String {
        let (alone, outcome) = match of(error, constant) {
            Failure::Suspect(outcome) => ("alone: ", outcome),
            Failure::Outcome(outcome) => ("", outcome),
        };
        match outcome {
            Outcome::Delivered => "delivered".to_owned(),
            Outcome::Retry { why, .. } => format!("{alone}retry {}", why.code),
            Outcome::Reject { why } => format!("{alone}reject {}", why.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_kind_of_answer_has_its_row() {
        let rows: &[(Code, &str, &str)] = &[
            // code, with one topic for all events, with a topic each
            (Code::MessageSizeTooLarge, "alone: reject too_large", "alone: reject too_large"),
            (Code::MessageBatchTooLarge, "alone: reject too_large", "alone: reject too_large"),
            (Code::InvalidMessageSize, "alone: reject too_large", "alone: reject too_large"),
            (Code::UnknownTopic, "retry unknown_topic", "reject unknown_topic"),
            (Code::UnknownTopicOrPartition, "retry unknown_topic", "reject unknown_topic"),
            (Code::UnknownPartition, "retry unknown_topic", "reject unknown_topic"),
            (Code::InvalidTopic, "retry unknown_topic", "reject unknown_topic"),
            (Code::TopicAuthorizationFailed, "retry auth", "retry topic_auth"),
            (Code::ClusterAuthorizationFailed, "retry auth", "retry auth"),
            (Code::SaslAuthenticationFailed, "retry auth", "retry auth"),
            (Code::Authentication, "retry auth", "retry auth"),
            (Code::InvalidRecord, "alone: reject refused", "alone: reject refused"),
            (Code::InvalidTimestamp, "alone: reject refused", "alone: reject refused"),
            (Code::BrokerTransportFailure, "retry connect", "retry connect"),
            (Code::AllBrokersDown, "retry connect", "retry connect"),
            (Code::Resolve, "retry dns", "retry dns"),
            (Code::SSL, "retry tls", "retry tls"),
            (Code::MessageTimedOut, "retry timeout", "retry timeout"),
            (Code::RequestTimedOut, "retry timeout", "retry timeout"),
            (Code::QueueFull, "retry queue_full", "retry queue_full"),
            (Code::Fatal, "retry fatal", "retry fatal"),
            (Code::NotEnoughReplicas, "retry kafka", "retry kafka"),
            (Code::NotLeaderForPartition, "retry kafka", "retry kafka"),
            (Code::InvalidDifferentRecord, "alone: retry kafka", "alone: retry kafka"),
            (Code::PurgeInflight, "retry kafka", "retry kafka"),
            (Code::KafkaStorageError, "retry kafka", "retry kafka"),
            (Code::Unknown, "retry kafka", "retry kafka"),
        ];
        for (error, constant, templated) in rows {
            let (one, each) = (row(*error, Some("t")), row(*error, None));
            assert_eq!((one.as_str(), each.as_str()), (*constant, *templated), "{error}");
        }
    }

    #[test]
    fn a_topic_that_is_the_sink_s_is_named_and_one_that_an_event_made_up_is_not() {
        let detail = |error, constant| match of(error, constant) {
            Failure::Outcome(Outcome::Retry { why, .. } | Outcome::Reject { why }) => why.detail,
            other => panic!("{other:?}"),
        };
        for error in [Code::UnknownTopicOrPartition, Code::UnknownTopic, Code::TopicAuthorizationFailed] {
            assert!(detail(error, Some("orders")).starts_with("topic \"orders\": "), "{error}");
            assert_eq!(detail(error, None), error.to_string());
        }
        assert_eq!(detail(Code::NotEnoughReplicas, Some("orders")), Code::NotEnoughReplicas.to_string());
    }
}
