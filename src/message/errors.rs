//! The error codes of a message that could not be delivered, in words.
//!
//! Source: Interakt's webhook samples (1013), and Meta's list of Cloud API error codes.

/// What a code means; none where it is not known here. Codes are texts, as they come.
pub fn in_words(code: &str) -> Option<&'static str> {
    Some(match code.trim() {
        "1013" => "the recipient is not a valid WhatsApp user",
        "130429" => "too many messages at once: the account's throughput is used up",
        "130472" => "the recipient is in an experiment of Meta's in which marketing is not delivered",
        "131009" => "a parameter of the message is not valid",
        "131026" => {
            "undeliverable: the number is not on WhatsApp, has blocked the sender, or has an old app or not \
                     accepted the terms"
        }
        "131031" => "the WhatsApp account is locked",
        "131042" => "the account has a payment problem",
        "131047" => "more than 24 hours since the customer's last message: only a template may be sent",
        "131048" => "too many messages of this number were reported as spam",
        "131049" => "Meta chose not to deliver it: the recipient has had enough marketing for now",
        "131050" => "the recipient has stopped marketing messages of this sender",
        "131052" => "the media could not be downloaded",
        "132000" => "the number of values is not that of the template",
        "132001" => "there is no such template in this language",
        _ => return None,
    })
}
