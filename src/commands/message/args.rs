//! The arguments of `message send` and `message show`, and the message that they make. Pure.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::admin::sending::MAX_KEY;
use crate::commands::trace::LookArgs;
use crate::message::digits;

/// Both forms of `message send`.
const USAGE: &str = "hookrelay message send [OPTIONS] <FILE.json>
       hookrelay message send [OPTIONS] --to <PHONE> --template <NAME> --language <CODE>";

/// For `message send --help`.
const SEND_HELP: &str = "\
The message is an event of the journal first, and goes from there as all deliveries of the sink do:
with its rate, its breaker and its dead letters. It prints the message's id once the provider has
taken it; where that takes longer than 10 s, because the sink is down, paused or behind, it prints the
event's id instead, says so, and exits 0: the message is on disk, and is sent when the sink can. Do not
send it again. `message show` takes either id. With --wait it waits for that status (`sent` for the
provider to take it), and exits 1 where the message failed, was refused, or the time is up.

FILE is the body of the send API's own call, `-` for standard input. A message that is sent under a
--key is sent once, however often that is asked for, as long as the journal has it.

Examples:
  hookrelay message send --to +919876543210 --template order_sent --language en --value Asha --value 77
  hookrelay message send order.json --wait delivered --timeout 2m
  jq '.message' order.json | hookrelay message send - --key order-77 --json

Exit codes: 0 sent, or on disk to be sent (with --wait: it has that status), 1 refused, failed or not in
time, 2 the message is not understood, 69 no daemon answers, 78 the config has faults, or there is none.";

/// For `message show --help`.
const SHOW_HELP: &str = "\
Shows in order of time what became of a message: when it was sent, delivered, read; that it failed, and
why; clicks with their buttons; what quoted it; and what was, or is to be, sent again in its place, by
which rule and when. Takes the id of a message, or that of an event that asked for one (whole, or its
last 8 characters), or a phone number: then each message of the last 7 days. --json prints one object,
for a phone a list of them.

Examples:
  hookrelay message show 7f00602d-4c9c-4346-9d4d-a24d478c9926
  hookrelay message show +919876543210 --since 30d --clear
  hookrelay message show m-1 --json | jq '.resends[] | select(.state == \"waiting\")'

Exit codes: 0 found, 1 there is no such message, or refused, 69 no daemon answers,
78 the config has faults, or there is none.";

/// Fewest digits of a phone with its country.
const MIN_DIGITS: usize = 8;

/// `message`.
#[derive(Debug, Subcommand)]
pub enum MessageVerb {
    /// Sends one message through a sink, and prints its id
    #[command(after_help = SEND_HELP)]
    Send(SendArgs),
    /// What became of a message, or of a phone's messages, in order of time
    #[command(after_help = SHOW_HELP)]
    Show(ShowArgs),
}

/// `message send`.
#[derive(Debug, Default, Args)]
#[command(override_usage = USAGE)]
pub struct SendArgs {
    /// The body of the send API's own call; `-` is standard input
    #[arg(value_name = "FILE.json", required_unless_present = "to", conflicts_with_all = ["to", "template"])]
    pub file: Option<PathBuf>,
    /// The phone, with its country: +91…
    #[arg(long, value_name = "PHONE", requires = "template")]
    pub to: Option<String>,
    /// The template's name, as the provider has it
    #[arg(long, value_name = "NAME", requires_all = ["to", "language"])]
    pub template: Option<String>,
    /// The template's language: en, hi, en_US …
    #[arg(long, value_name = "CODE", requires = "template")]
    pub language: Option<String>,
    /// Values for the template's body, in their order; may be given several times
    #[arg(long = "value", value_name = "V", requires = "template", allow_hyphen_values = true)]
    pub values: Vec<String>,
    /// Values for its header: a text, or the URL of an image, video or document
    #[arg(long = "header-value", value_name = "V", requires = "template")]
    pub header_values: Vec<String>,
    /// A text that each status of the message brings back
    #[arg(long, value_name = "TEXT", requires = "template")]
    pub callback: Option<String>,
    /// The sink that sends it; not needed where the config has one that sends messages
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Sent once under this key, however often it is asked for
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,
    /// Waits until it is so far, or has failed
    #[arg(long, value_name = "STATUS")]
    pub wait: Option<WaitFor>,
    /// Waits no longer
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "wait", value_parser = timeout)]
    pub timeout: Duration,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// `message show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The id of a message, or of the event that asked for it, or a phone number
    #[arg(value_name = "ID|PHONE")]
    pub id: String,
    /// How it is looked for, and shown.
    #[command(flatten)]
    pub look: LookArgs,
    /// JSON on standard output: one object, for a phone a list of them
    #[arg(long)]
    pub json: bool,
}

/// How far a message is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// The provider has taken it.
    Sent,
    /// It is on the phone.
    Delivered,
    /// It was opened.
    Read,
}

impl WaitFor {
    /// The status of a message that could not be delivered.
    pub const FAILED: &str = "Failed";

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }

    /// Whether a message of that status has come so far.
    pub fn is_met(self, status: &str) -> bool {
        match self {
            Self::Sent => true,
            Self::Delivered => matches!(status, "Delivered" | "Read"),
            Self::Read => status == "Read",
        }
    }
}

fn key(text: &str) -> Result<String, String> {
    let is_key = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let why = || format!("expected 1 to {MAX_KEY} characters of ASCII, such as a UUID");
    is_key.then(|| text.to_owned()).ok_or_else(why)
}

fn timeout(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

impl SendArgs {
    /// The message that the arguments make: a template's.
    ///
    /// # Errors
    /// The phone is none, or lacks its country.
    pub fn body(&self) -> Result<Vec<u8>, String> {
        let (Some(to), Some(name), Some(language)) = (&self.to, &self.template, &self.language) else {
            return Err("give a FILE, or --to, --template and --language".to_owned());
        };
        let phone = digits(to).filter(|digits| to.trim().starts_with('+') && digits.len() >= MIN_DIGITS);
        let phone =
            phone.ok_or_else(|| format!("--to is `{to}`, expected a phone with its country, such as +919876543210"))?;
        let mut template = Map::new();
        template.insert("name".into(), name.as_str().into());
        template.insert("languageCode".into(), language.as_str().into());
        for (key, values) in [("headerValues", &self.header_values), ("bodyValues", &self.values)] {
            if !values.is_empty() {
                template.insert(key.into(), values.as_slice().into());
            }
        }
        let mut message = json!({ "fullPhoneNumber": phone, "type": "Template", "template": template });
        if let (Some(callback), Value::Object(message)) = (&self.callback, &mut message) {
            message.insert("callbackData".into(), callback.as_str().into());
        }
        Ok(message.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        verb: MessageVerb,
    }

    fn read(line: &[&str]) -> Result<SendArgs, clap::Error> {
        match Line::try_parse_from(["message", "send"].iter().chain(line))?.verb {
            MessageVerb::Send(args) => Ok(args),
            MessageVerb::Show(_) => panic!("it is no send"),
        }
    }

    #[test]
    fn arguments_make_the_message_of_a_template() {
        let line = ["--to", "+91 98765-43210", "--template", "order_sent", "--language", "en", "--value", "Asha"];
        let more =
            ["--value", "77", "--value", "-x", "--header-value", "https://x.example/a.png", "--callback", "order:77"];
        let args = read(&[&line[..], &more].concat()).unwrap();
        let message: Value = serde_json::from_slice(&args.body().unwrap()).unwrap();
        let wanted = json!({
            "fullPhoneNumber": "919876543210", "type": "Template", "callbackData": "order:77",
            "template": {
                "name": "order_sent", "languageCode": "en", "bodyValues": ["Asha", "77", "-x"],
                "headerValues": ["https://x.example/a.png"],
            },
        });
        assert_eq!(message, wanted);
        let bare: Value = serde_json::from_slice(&read(&line[..6]).unwrap().body().unwrap()).unwrap();
        assert_eq!(bare["template"], json!({ "name": "order_sent", "languageCode": "en" }));
    }

    #[test]
    fn a_message_that_cannot_be_meant_is_refused() {
        for line in [
            &[][..],
            &["a.json", "--to", "+919876543210"],
            &["--to", "+919876543210"],
            &["--to", "+919876543210", "--template", "x"],
            &["--template", "x", "--language", "en"],
            &["a.json", "--value", "x"],
            &["a.json", "--timeout", "1m"],
            &["a.json", "--wait", "failed"],
            &["a.json", "--key", ""],
            &["--to", "+919876543210", "--template", "x", "--language", "en", "--value", "Asha", "a.json"],
        ] {
            assert!(read(line).is_err(), "{line:?}");
        }
        let usage = read(&[]).unwrap_err().to_string();
        assert!(usage.contains("<FILE.json>\n") && usage.contains("--to <PHONE>"), "{usage}");
        assert_eq!(read(&["-"]).unwrap().timeout, Duration::from_mins(5));
        let to = |phone: &str| read(&["--to", phone, "--template", "x", "--language", "en"]).unwrap().body();
        for phone in ["9876543210", "asha", "+91", "", "+9876543210987654"] {
            assert!(to(phone).unwrap_err().contains("with its country"), "{phone}");
        }
    }

    #[test]
    fn a_higher_status_meets_a_lower_one() {
        let met = |wait: WaitFor| ["Sent", "Failed", "Delivered", "Read"].map(|status| wait.is_met(status));
        assert_eq!(met(WaitFor::Delivered), [false, false, true, true]);
        assert_eq!(met(WaitFor::Read), [false, false, false, true]);
    }
}
