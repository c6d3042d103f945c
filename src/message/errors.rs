//! The error codes of a message that could not be delivered, in words.
//!
//! Source: Interakt's webhook samples (1013), and Meta's list of Cloud API error codes.

/// What a code means; none where it is not known here. Codes are texts, as they come.
pub fn in_words(code: &str) -> Option<&'static str> {
    Some(match code.trim() {
        "368" => "the account is blocked for a breach of WhatsApp's rules",
        "1013" => "the recipient is not a valid WhatsApp user",
        "130429" => "too many messages at once: the account's throughput is used up",
        "130472" => "the recipient is in an experiment of Meta's in which marketing is not delivered",
        "130497" => "the account may not write to the recipient's country",
        "131000" => "something went wrong at Meta",
        "131005" => "the account lacks a permission",
        "131008" => "a parameter of the message is missing",
        "131009" => "a parameter of the message is not valid",
        "131016" => "a service of Meta's was not available",
        "131021" => "sender and recipient are the same number",
        "131026" => {
            "undeliverable: the number is not on WhatsApp, has blocked the sender, or has an old app or not \
                     accepted the terms"
        }
        "131031" => "the WhatsApp account is locked",
        "131042" => "the account has a payment problem",
        "131045" => "the registration of the sender's number is not right",
        "131047" => "more than 24 hours since the customer's last message: only a template may be sent",
        "131048" => "too many messages of this number were reported as spam",
        "131049" => "Meta chose not to deliver it: the recipient has had enough marketing for now",
        "131050" => "the recipient has stopped marketing messages of this sender",
        "131051" => "a type of message that is not supported",
        "131052" => "the media could not be downloaded",
        "131053" => "the media could not be uploaded",
        "131056" => "too many messages to this number in a short time",
        "131057" => "the account was in maintenance",
        "132000" => "the number of values is not that of the template",
        "132001" => "there is no such template in this language",
        "132005" => "the template's text with its values is too long",
        "132007" => "the template breaks one of WhatsApp's rules",
        "132012" => "a value has not the form that the template wants",
        "132015" => "the template is paused for its quality",
        "132016" => "the template is disabled for its quality",
        "133004" => "the server was not available",
        "133010" => "the sender's number is not registered",
        _ => return None,
    })
}
