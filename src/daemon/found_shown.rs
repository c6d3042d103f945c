//! Events and messages as they are shown: as they came, or with personal data masked. Pure.

use std::sync::Arc;

use sink_api::{Delivery, Event, Payload, Target, Timestamp, cloudevents};

use crate::admin::found::{Click, CloudLine, EventView, MessageError, MessageView, ReplyView, RouteFate, Rung};
use crate::mask;
use crate::message::{Clicked, Failure, History, Reply, Step};
use crate::route::Explanation;

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Show {
    /// Personal data as it is.
    pub clear: bool,
    /// With its body.
    pub data: bool,
}

/// The event as a CloudEvent: what a file sink would write of it.
pub(super) fn line(event: &Arc<Event>, show: Show, deliveries: Vec<String>) -> CloudLine {
    let event = if show.clear { Arc::clone(event) } else { Arc::new(mask::event(event)) };
    let delivery = Delivery {
        id: event.id.to_string(),
        key: Arc::clone(&event.key),
        payload: Payload::Body,
        target: Target::default(),
        trace: None,
        position: None,
        event,
    };
    // What was just written can be read.
    let line: CloudLine = serde_json::from_slice(&cloudevents::structured(&delivery)).unwrap_or_default();
    let (data, data_base64) = if show.data { (line.data, line.data_base64) } else { (None, None) };
    CloudLine { data, data_base64, deliveries, ..line }
}

/// The event with its request and its routes; what became of its deliveries is left to the caller.
pub(super) fn whole(event: &Arc<Event>, clear: bool, explanation: &Explanation) -> EventView {
    let line = line(event, Show { clear, data: true }, vec![]);
    let shown = if clear { Arc::clone(event) } else { Arc::new(mask::event(event)) };
    EventView {
        specversion: line.specversion,
        id: line.id,
        source: line.source,
        kind: line.kind,
        subject: line.subject,
        time: line.time,
        datacontenttype: line.datacontenttype,
        data: line.data,
        data_base64: line.data_base64,
        method: shown.method.to_string(),
        path: shown.path.to_string(),
        remote: shown.remote.to_string(),
        headers: shown.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        routes: routes(explanation),
        deliveries: vec![],
        masked: !clear,
        unanswered: vec![],
        at: None,
    }
}

/// What each route made of an event.
pub(super) fn routes(explanation: &Explanation) -> Vec<RouteFate> {
    let route = |route: &crate::route::explain::RouteView| RouteFate {
        name: route.name.clone(),
        matched: route.matched,
        why: route.why.clone(),
    };
    explanation.routes.iter().map(route).collect()
}

/// A time as the API gives it.
pub(super) fn time(time: Timestamp) -> String {
    time.to_string()
}

/// The same of microseconds since 1970.
pub(super) fn micros(time: i64) -> Option<String> {
    Timestamp::from_microsecond(time).ok().map(|time| time.to_string())
}

/// A message's history.
pub(super) fn message(history: History, clear: bool) -> MessageView {
    let personal = |text: String| if clear { text } else { mask::hidden(&text) };
    let text = |text: String| if clear { text } else { mask::text(&text) };
    let rung = |step: Step| Rung {
        status: step.status.word().to_owned(),
        time: step.time.map(time),
        accepted: time(step.accepted),
        event: step.event.to_string(),
    };
    let click = |click: Clicked| Click {
        time: click.time.map(time),
        button: click.button.map(text),
        kind: click.kind.map(text),
        accepted: time(click.accepted),
        event: click.event.to_string(),
    };
    let reply = |reply: Reply| ReplyView {
        time: reply.time.map(time),
        id: reply.message_id.map(text),
        content_type: reply.content_type.map(text),
        text: reply.text.map(personal),
        accepted: time(reply.accepted),
        event: reply.event.to_string(),
    };
    let error = |Failure { time: at, code, words, reason }: Failure| MessageError {
        time: at.map(time),
        code: code.map(text),
        text: words.map(str::to_owned).or_else(|| reason.clone().map(text)),
        reason: reason.map(text),
    };
    MessageView {
        id: text(history.id),
        status: history.status.map(|status| status.word().to_owned()),
        ladder: history.ladder.into_iter().map(rung).collect(),
        clicks: history.clicks.into_iter().map(click).collect(),
        replies: history.replies.into_iter().map(reply).collect(),
        error: history.error.map(error),
        way: history.way.map(|way| way.word().to_owned()),
        campaign: history.campaign.and_then(|campaign| campaign.name.or(campaign.id)).map(text),
        template: history.template.map(text),
        phone: history.phone.map(personal),
        customer: history.customer.map(personal),
        sent: None,
        resends: vec![],
        not_again: vec![],
    }
}
