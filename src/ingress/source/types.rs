//! The types that a source's provider is known to send: for warnings and explanations, never for refusing one. A type that
//! is not here is taken, kept and routed like any other.

use super::kinds::SourceKind;
use super::typing::{UNKNOWN, UNPARSABLE};

/// Interakt's: those of the dashboard's set-up page, others that its documents name or that were seen, and what stands
/// for a type that is missing.
const INTERAKT: &[&str] = &[
    "message_api_sent",
    "message_api_delivered",
    "message_api_read",
    "message_api_failed",
    "message_api_clicked",
    "message_campaign_sent",
    "message_campaign_delivered",
    "message_campaign_read",
    "message_campaign_failed",
    "message_campaign_clicked",
    "message_received",
    "account_alerts",
    "account_update",
    "account_review_update",
    "business_capability_update",
    "phone_number_quality_update",
    "template_performance_metrics",
    "message_template_status_update",
    "workflow_response_update",
    "messages",
    "agent_message_sent",
    "agent_message_delivered",
    "agent_message_read",
    "agent_message_failed",
    UNKNOWN,
    UNPARSABLE,
];

impl SourceKind {
    /// The types such a source is known to send; none where that is the sender's to say.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::Interakt => INTERAKT,
            _ => &[],
        }
    }
}
