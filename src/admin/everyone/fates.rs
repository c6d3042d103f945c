//! What became of deliveries, by the daemon that knows more: each knows it of its own shards, and takes what is others'
//! for pending. Pure.

use crate::admin::fates::{Rest, SinkFate};
use crate::admin::found::{DeliveryFateView, MessageView};

/// Fates, the one that says most last.
const FATES: [&str; 6] = ["pending", "parked", "dead", "dropped", "filtered", "delivered"];

/// Adds what another daemon says of an event to what is known of its deliveries.
pub(super) fn overlay(own: &mut Vec<DeliveryFateView>, sinks: Vec<SinkFate>) {
    for SinkFate { sink, rest, time, code, deliveries } in sinks {
        // What the rules name and nobody else knows of is as the other says of the rest.
        let is_rest = |view: &DeliveryFateView| {
            let is_named = deliveries.iter().any(|other| is_same(view, other));
            view.sink == sink && view.replay.is_none() && view.fate == "pending" && view.attempts == 0 && !is_named
        };
        match rest {
            Rest::Pending => {}
            Rest::Nothing => own.retain(|view| !is_rest(view)),
            Rest::Over => own.iter_mut().filter(|view| is_rest(view)).for_each(|view| over(view, "delivered")),
            Rest::Dropped => own.iter_mut().filter(|view| is_rest(view)).for_each(|view| {
                over(view, "dropped");
                (view.time, view.code) = (time.clone(), code.clone());
            }),
        }
        for delivery in deliveries {
            match own.iter_mut().find(|view| is_same(view, &delivery)) {
                Some(view) if weight(&delivery) > weight(view) => *view = delivery,
                Some(_) => {}
                None => {
                    let behind = own.iter().rposition(|view| view.sink == delivery.sink).map(|at| at + 1);
                    own.insert(behind.unwrap_or(own.len()), delivery);
                }
            }
        }
    }
}

fn over(view: &mut DeliveryFateView, fate: &str) {
    let (id, sink) = (std::mem::take(&mut view.id), std::mem::take(&mut view.sink));
    *view = DeliveryFateView { id, sink, fate: fate.to_owned(), ..DeliveryFateView::default() };
}

fn is_same(one: &DeliveryFateView, other: &DeliveryFateView) -> bool {
    (&one.sink, &one.id, &one.replay) == (&other.sink, &other.id, &other.replay)
}

/// How much is said of a delivery.
fn weight(view: &DeliveryFateView) -> (usize, bool, u32) {
    let fate = FATES.iter().position(|fate| *fate == view.fate).unwrap_or_default();
    (fate, view.time.is_some(), view.attempts)
}

/// Adds what another daemon has to do with a message.
pub(super) fn add_message(own: &mut Option<MessageView>, more: MessageView) {
    let Some(own) = own else {
        // Of a message that nobody knows otherwise it is at least said that it was sent.
        *own = Some(more).filter(|more| more.sent.is_some());
        return;
    };
    own.sent = own.sent.take().or(more.sent);
    own.phone = own.phone.take().or(more.phone);
    own.template = own.template.take().or(more.template);
    for resend in more.resends {
        if !own.resends.iter().any(|one| one.id == resend.id) {
            own.resends.push(resend);
        }
    }
    own.resends.sort_by_key(|resend| resend.attempt);
    for why in more.not_again {
        if !own.not_again.contains(&why) {
            own.not_again.push(why);
        }
    }
    own.not_again.sort_by(|one, other| one.time.cmp(&other.time));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::found::SentView;
    use crate::admin::sending::ResendView;

    fn view(sink: &str, id: &str, fate: &str) -> DeliveryFateView {
        DeliveryFateView { id: id.into(), sink: sink.into(), fate: fate.into(), ..DeliveryFateView::default() }
    }

    fn said(rest: Rest, deliveries: Vec<DeliveryFateView>) -> Vec<SinkFate> {
        vec![SinkFate { sink: "crm".into(), rest, deliveries, code: Some("skip".into()), ..SinkFate::default() }]
    }

    fn fates(own: &[DeliveryFateView]) -> Vec<(&str, &str, &str)> {
        own.iter().map(|view| (view.sink.as_str(), view.id.as_str(), view.fate.as_str())).collect()
    }

    #[test]
    fn the_one_who_knows_more_is_believed_whichever_is_asked() {
        for (fate, less) in [("delivered", "parked"), ("dead", "parked"), ("parked", "pending"), ("filtered", "dead")] {
            for (own, other) in [(fate, less), (less, fate)] {
                let mut all = vec![view("crm", "1", own), view("archive", "1", "pending")];
                overlay(&mut all, said(Rest::Nothing, vec![view("crm", "1", other)]));
                assert_eq!(fates(&all), [("crm", "1", fate), ("archive", "1", "pending")]);
            }
        }
    }

    #[test]
    fn what_another_does_not_name_is_what_it_says_of_the_rest() {
        let own = || vec![view("crm", "1", "pending"), view("crm", "2", "pending"), view("log", "1", "pending")];
        let of = |rest| {
            let mut all = own();
            overlay(&mut all, said(rest, vec![view("crm", "2", "parked")]));
            all
        };
        assert_eq!(fates(&of(Rest::Pending))[0], ("crm", "1", "pending"));
        assert_eq!(fates(&of(Rest::Over))[..2], [("crm", "1", "delivered"), ("crm", "2", "parked")]);
        assert_eq!(fates(&of(Rest::Nothing)), [("crm", "2", "parked"), ("log", "1", "pending")]);
        let dropped = of(Rest::Dropped);
        assert_eq!((fates(&dropped)[0], dropped[0].code.as_deref()), (("crm", "1", "dropped"), Some("skip")));
    }

    #[test]
    fn what_only_another_knows_stands_behind_the_others_of_its_sink() {
        let mut all = vec![view("crm", "1", "delivered"), view("log", "1", "delivered")];
        let again = DeliveryFateView { replay: Some("7".into()), ..view("crm", "1", "delivered") };
        overlay(&mut all, said(Rest::Nothing, vec![again]));
        assert_eq!(fates(&all), [("crm", "1", "delivered"), ("crm", "1", "delivered"), ("log", "1", "delivered")]);
        assert_eq!((all[0].replay.as_deref(), all[1].replay.as_deref()), (None, Some("7")));
    }

    #[test]
    fn what_another_sent_is_added_to_the_message() {
        let resend = |id: &str, attempt| ResendView { id: id.into(), attempt, ..ResendView::default() };
        let more = || MessageView {
            sent: Some(SentView { sink: "whatsapp".into(), ..SentView::default() }),
            resends: vec![resend("x", 1), resend("y", 2)],
            ..MessageView::default()
        };
        let mut own = Some(MessageView { id: "m".into(), resends: vec![resend("y", 2)], ..MessageView::default() });
        add_message(&mut own, more());
        let own = own.unwrap();
        assert_eq!((own.id.as_str(), own.sent.is_some()), ("m", true));
        assert_eq!(own.resends.iter().map(|resend| resend.id.as_str()).collect::<String>(), "xy");
        let mut none = None;
        add_message(&mut none, MessageView { sent: None, ..more() });
        assert!(none.is_none());
        add_message(&mut none, more());
        assert!(none.is_some());
    }
}
