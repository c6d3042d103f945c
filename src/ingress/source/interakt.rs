//! What Interakt sends: the types it is known to send, and a sample of each that the set-up page of its dashboard
//! lists. For warnings, explanations and `send`, never for refusing: a type that is not here is taken, kept and routed
//! like any other.

use super::typing::{UNKNOWN, UNPARSABLE};

/// A sample webhook.
#[derive(Debug)]
pub struct Sample {
    /// Its type.
    pub kind: &'static str,
    /// Its body, laid out for people.
    pub text: &'static str,
}

macro_rules! types {
    ($($kind:literal $($sample:ident)?,)*) => {
        /// All types, and what stands for one that is missing.
        pub const TYPES: &[&str] = &[$($kind,)* UNKNOWN, UNPARSABLE];

        /// One of each type that is marked `sample`, in the order a message goes through them.
        pub const SAMPLES: &[Sample] = &[$($(types!(@$sample $kind),)?)*];
    };
    (@sample $kind:literal) => {
        Sample { kind: $kind, text: include_str!(concat!("samples/", $kind, ".json")) }
    };
}

// Those without a sample are named in its documents, or were seen.
types! {
    "message_api_sent" sample,
    "message_api_delivered" sample,
    "message_api_read" sample,
    "message_api_clicked" sample,
    "message_api_failed" sample,
    "message_campaign_sent" sample,
    "message_campaign_delivered" sample,
    "message_campaign_read" sample,
    "message_campaign_failed" sample,
    "message_campaign_clicked",
    "message_received" sample,
    "account_alerts" sample,
    "account_update" sample,
    "account_review_update" sample,
    "business_capability_update" sample,
    "phone_number_quality_update" sample,
    "template_performance_metrics" sample,
    "message_template_status_update" sample,
    "workflow_response_update" sample,
    "messages",
    "agent_message_sent",
    "agent_message_delivered",
    "agent_message_read",
    "agent_message_failed",
}
