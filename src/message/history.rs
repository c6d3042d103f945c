//! The history of one message, from its events. It is the same whatever order they came in, and however often each:
//! every part of it is the smallest or largest of what the events say, never the first or last that was read.

use std::collections::{BTreeMap, BTreeSet};

use sink_api::{Event, Timestamp, Uuid};

use super::Said;
use super::errors::in_words;

/// How far a message got. The order is the ladder: a message only climbs. So a message that failed may still be
/// delivered (another try of the provider's reached the phone), and one that was read is never delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It came from the customer; such a message has no other status.
    Received,
    /// The provider has sent it.
    Sent,
    /// It could not be delivered.
    Failed,
    /// It is on the phone.
    Delivered,
    /// It was opened.
    Read,
}

impl Status {
    /// The provider's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "Received",
            Self::Sent => "Sent",
            Self::Failed => "Failed",
            Self::Delivered => "Delivered",
            Self::Read => "Read",
        }
    }

    /// By a word in any case: the last of a type, or `message_status`.
    fn of(word: &str) -> Option<Self> {
        [Self::Received, Self::Sent, Self::Failed, Self::Delivered, Self::Read]
            .into_iter()
            .find(|status| status.word().eq_ignore_ascii_case(word))
    }
}

/// A rung that the message reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub status: Status,
    /// When, by the provider.
    pub time: Option<Timestamp>,
    /// When we accepted the event that told us first.
    pub accepted: Timestamp,
    /// That event: one of this status, else one of a later status that says when it was reached.
    pub event: Uuid,
}

/// A button or link that was clicked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clicked {
    /// When, by the provider.
    pub time: Option<Timestamp>,
    /// The text of the button.
    pub button: Option<String>,
    /// `QR` (a quick reply) or `CTA` (a link).
    pub kind: Option<String>,
    /// When we accepted the event that told us first.
    pub accepted: Timestamp,
    /// That event.
    pub event: Uuid,
}

/// What the customer answered to the message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reply {
    /// When, by the provider.
    pub time: Option<Timestamp>,
    /// The answer's own message id.
    pub message_id: Option<String>,
    /// What it is: `Text`, `Image`, …
    pub content_type: Option<String>,
    /// What it says; none of media without a caption.
    pub text: Option<String>,
    /// When we accepted it.
    pub accepted: Timestamp,
    /// Its event.
    pub event: Uuid,
}

/// Why a message could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// When the provider said so.
    pub time: Option<Timestamp>,
    /// The provider's code.
    pub code: Option<String>,
    /// What the code means, where that is known.
    pub words: Option<&'static str>,
    /// The provider's reason, as sent.
    pub reason: Option<String>,
}

/// The campaign that a message was sent by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Campaign {
    /// Its id.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// What a message was sent by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A program, over the provider's API.
    Api,
    /// A campaign.
    Campaign,
    /// A person, in the provider's inbox.
    Agent,
    /// The customer.
    Customer,
}

impl Way {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Campaign => "campaign",
            Self::Agent => "agent",
            Self::Customer => "customer",
        }
    }
}

/// What became of one message, as far as its events say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its id.
    pub id: String,
    /// The highest rung that it reached; none where no event says.
    pub status: Option<Status>,
    /// All rungs that it reached, from the lowest.
    pub ladder: Vec<Step>,
    /// What was clicked, in order of time.
    pub clicks: Vec<Clicked>,
    /// What quoted it, in order of time.
    pub replies: Vec<Reply>,
    /// Why it failed, last; there also where it was delivered after all.
    pub error: Option<Failure>,
    /// What it was sent by.
    pub way: Option<Way>,
    /// The campaign.
    pub campaign: Option<Campaign>,
    /// The name of its template.
    pub template: Option<String>,
    /// The customer's phone, `+` and digits.
    pub phone: Option<String>,
    /// The customer's name.
    pub customer: Option<String>,
}

/// The history of that message, from events in any order and number. Events of other messages are passed over, but for
/// those that quote it. None where no event is about it.
pub fn history<'e>(id: &str, events: impl IntoIterator<Item = &'e Event>) -> Option<History> {
    let heard = events.into_iter().filter_map(|event| Some(Heard { event, said: Said::read(&event.body)? }));
    let (own, others): (Vec<_>, Vec<_>) =
        heard.partition(|heard| heard.said.message_id.as_deref() == Some(id) || *heard.event.subject == *id);
    if own.is_empty() {
        return None;
    }
    let ladder = ladder(&own);
    let campaign = own.iter().filter_map(|heard| {
        let Said { campaign_id: id, campaign_name: name, .. } = &heard.said;
        (id.is_some() || name.is_some()).then(|| Campaign { id: id.clone(), name: name.clone() })
    });
    let of = |part: fn(&Said) -> &Option<String>| own.iter().filter_map(|heard| part(&heard.said).clone()).max();
    let replies = others.iter().filter(|heard| heard.said.quotes.iter().any(|quoted| quoted == id));
    Some(History {
        id: id.to_owned(),
        status: ladder.last().map(|step| step.status),
        clicks: clicks(&own),
        replies: replies.map(Heard::reply).collect::<BTreeSet<_>>().into_iter().collect(),
        error: own.iter().filter(|heard| heard.status() == Some(Status::Failed)).map(Heard::failure).max(),
        way: own.iter().filter_map(Heard::way).max_by_key(|way| way.word()),
        campaign: campaign.max(),
        template: of(|said| &said.template),
        phone: of(|said| &said.customer_phone),
        customer: of(|said| &said.customer_name),
        ladder,
    })
}

/// A rung that one event speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Which.
    pub status: Status,
    /// Whether it is the event's own: not one below it that the event only dates.
    pub is_own: bool,
    /// When it was reached, by the provider.
    pub time: Option<Timestamp>,
}

/// The status that an event of this type tells of; a click's is that of the message then.
pub fn status(kind: &str, said: &Said) -> Option<Status> {
    Status::of(last_word(kind)).or_else(|| Status::of(said.status.as_deref()?))
}

/// The rungs that an event of this type speaks of.
pub fn rungs(kind: &str, said: &Said) -> Vec<Rung> {
    let Some(own) = status(kind, said) else { return vec![] };
    let at = |status| match status {
        Status::Received | Status::Sent => said.received,
        Status::Failed => said.timestamp,
        Status::Delivered => said.delivered,
        Status::Read => said.seen,
    };
    let mut rungs = vec![Rung { status: own, is_own: last_word(kind) != "clicked", time: at(own) }];
    // That the provider has taken a message which then failed does not say that it was sent.
    let below: &[Status] = match own {
        Status::Received | Status::Sent => &[],
        Status::Failed => &[Status::Delivered, Status::Read],
        Status::Delivered => &[Status::Sent, Status::Read],
        Status::Read => &[Status::Sent, Status::Delivered],
    };
    let told = below.iter().filter_map(|&status| Some(Rung { status, is_own: false, time: Some(at(status)?) }));
    rungs.extend(told);
    rungs
}

fn last_word(kind: &str) -> &str {
    kind.rsplit('_').next().unwrap_or_default()
}

/// An event and what it says.
struct Heard<'e> {
    event: &'e Event,
    said: Said,
}

impl Heard<'_> {
    /// By which of two events something is known: the one that we accepted first.
    fn order(&self) -> (Timestamp, Uuid) {
        (self.event.time, self.event.id)
    }

    fn status(&self) -> Option<Status> {
        status(&self.event.kind, &self.said)
    }

    fn failure(&self) -> Failure {
        let Said { timestamp, error_code: code, failure_reason: reason, .. } = &self.said;
        let words = code.as_deref().and_then(in_words);
        Failure { time: *timestamp, code: code.clone(), words, reason: reason.clone() }
    }

    fn way(&self) -> Option<Way> {
        let kind = &*self.event.kind;
        if kind == "message_received" {
            return Some(Way::Customer);
        }
        let is = |prefix: &str| kind.starts_with(prefix);
        match () {
            () if is("message_campaign_") || self.said.campaign_id.is_some() => Some(Way::Campaign),
            () if is("message_api_") => Some(Way::Api),
            () if is("agent_message_") => Some(Way::Agent),
            () => None,
        }
    }

    fn reply(&self) -> Reply {
        let Said { message_id, content_type, content, received, timestamp, .. } = self.said.clone();
        let (accepted, event) = self.order();
        Reply { time: received.or(timestamp), message_id, content_type, text: content, accepted, event }
    }
}

fn ladder(heard: &[Heard<'_>]) -> Vec<Step> {
    // Of each rung: the earliest time that is told, and who told it first, its own events before others.
    type Told = (Option<Timestamp>, (bool, (Timestamp, Uuid)));
    let mut reached: BTreeMap<Status, Told> = BTreeMap::new();
    for one in heard {
        for Rung { status, is_own, time } in rungs(&one.event.kind, &one.said) {
            let teller = (!is_own, one.order());
            let told = reached.entry(status).or_insert((time, teller));
            told.0 = [told.0, time].into_iter().flatten().min();
            told.1 = told.1.min(teller);
        }
    }
    let step = |(status, (time, (_, (accepted, event))))| Step { status, time, accepted, event };
    reached.into_iter().map(step).collect()
}

/// Each click once: the same button at the same time is the same click.
fn clicks(heard: &[Heard<'_>]) -> Vec<Clicked> {
    let mut first: BTreeMap<_, (Timestamp, Uuid)> = BTreeMap::new();
    for one in heard.iter().filter(|one| one.said.click.is_one()) {
        let click = one.said.click.clone();
        let teller = first.entry((click.time, click.button, click.kind)).or_insert_with(|| one.order());
        *teller = (*teller).min(one.order());
    }
    let clicked = |((time, button, kind), (accepted, event))| Clicked { time, button, kind, accepted, event };
    first.into_iter().map(clicked).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
