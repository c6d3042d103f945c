//! `hookrelay tail`: events as the running daemon accepts them, one line each.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use sink_api::Timestamp;

use super::{Failure, block_on, count, dump, time};
use crate::admin::AdminConfig;
use crate::admin::client::{self, AskError};
use crate::admin::found::{CloudLine, TailAsk};
use crate::config;
use crate::route::{printable, printable_json};
use crate::times::{self, Zone};

/// How often a daemon that went away is asked again, and the pause before each time: a restart takes less.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// `tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Events of this type alone; may hold `*` and `?`
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// For which this jq condition holds, as in a route's `where`
    #[arg(long = "where", value_name = "JQ")]
    pub condition: Option<String>,
    /// That go to this sink, by the rules in force
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// First those accepted since: `1h` ago, `today`, `2026-01-31 09:00` …
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Personal data as it is, not masked
    #[arg(long)]
    pub clear: bool,
    /// A CloudEvent a line, with its body and `"deliveries":["sink"]`
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, until Ctrl-C. A line has the time, the type, the
source, the subject, and the sinks that the event goes to by the rules in force. A restart of
the daemon leaves no hole. Whoever reads too slowly is told how many events are left out.

Examples:
  hookrelay tail --type 'message_api_*'
  hookrelay tail --since 10m --where '.data.message.channel_error_code != null'
  hookrelay tail --json --clear | jq .data

Exit codes: 0 the reader of its output went away, 1 refused, 2 --where is no jq program,
69 no daemon answers, 78 the config has faults, or there is none.";

/// Shows events until the daemon is gone for good.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, args: &TailArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    args.condition.as_deref().map(|text| dump::program("--where", text)).transpose()?;
    dump::remark_on(args.condition.as_deref());
    let ask = TailAsk {
        kind: args.kind.clone(),
        source: args.source.clone(),
        condition: args.condition.clone(),
        sink: args.sink.clone(),
        since: time("--since", args.since.as_deref(), zone)?.map(|time| time.to_string()),
        after: None,
        data: Some(args.json),
        clear: args.clear,
    };
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let mut shown = Shown { zone, json: args.json, is_coloured, out };
    match block_on(follow(&admin, ask, &mut shown)) {
        // Whoever reads has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

async fn follow<W: Write>(admin: &AdminConfig, mut ask: TailAsk, shown: &mut Shown<'_, W>) -> Result<(), Failure> {
    let mut stream = client::open(admin, "/api/tail", &ask).await?;
    loop {
        match stream.next().await {
            Ok((name, data)) => {
                if let Some(last) = shown.event(&name, &data)? {
                    // Whoever comes back goes on behind it.
                    (ask.after, ask.since) = (Some(last), None);
                }
            }
            Err(gone) => {
                // Nobody left to tell where standard error is gone.
                let _ = writeln!(io::stderr(), "remark: the daemon is gone; waiting for it");
                ask.since = ask.since.or_else(|| Some(Timestamp::now().to_string())).filter(|_| ask.after.is_none());
                stream = again(admin, &ask, gone).await?;
            }
        }
    }
}

/// The daemon's answer when it is back.
async fn again(admin: &AdminConfig, ask: &TailAsk, gone: AskError) -> Result<client::Stream, Failure> {
    let mut last = gone;
    for _ in 0..TRIES {
        tokio::time::sleep(PAUSE).await;
        match client::open(admin, "/api/tail", ask).await {
            Err(error @ AskError::NoDaemon { .. }) => last = error,
            answered => return Ok(answered?),
        }
    }
    Err(last.into())
}

/// How events are shown, and where.
struct Shown<'o, W> {
    zone: &'o Zone,
    json: bool,
    is_coloured: bool,
    out: &'o mut W,
}

impl<W: Write> Shown<'_, W> {
    /// Shows what came; gives the id of an event.
    fn event(&mut self, name: &str, data: &str) -> Result<Option<String>, Failure> {
        let understood = |error: serde_json::Error| Failure::Refused(format!("the daemon is not understood: {error}"));
        if name == "left_out" {
            let left: LeftOut = serde_json::from_str(data).map_err(understood)?;
            let events = count(left.events, "event");
            let _ = writeln!(io::stderr(), "remark: {events} left out: the output is read too slowly");
            return Ok(None);
        }
        let line: CloudLine = serde_json::from_str(data).map_err(understood)?;
        let text = if self.json { printable_json(data) } else { human(&line, self.zone, self.is_coloured) };
        writeln!(self.out, "{text}")?;
        self.out.flush()?;
        Ok(Some(line.id))
    }
}

/// How many events are left out.
#[derive(serde::Deserialize)]
struct LeftOut {
    events: u64,
}

/// `TIME TYPE SOURCE SUBJECT → SINKS`.
fn human(line: &CloudLine, zone: &Zone, is_coloured: bool) -> String {
    let time: Option<Timestamp> = line.time.parse().ok();
    let time = time.map_or_else(|| line.time.clone(), |time| times::shown(time, zone));
    let subject = line.subject.as_deref().unwrap_or("-");
    let sinks = match line.deliveries.as_slice() {
        [] => "no sink".to_owned(),
        sinks => sinks.join(", "),
    };
    let paint = |code: &str, text: &str| match is_coloured {
        true => format!("\x1b[{code}m{}\x1b[0m", printable(text)),
        false => printable(text),
    };
    let kind = if line.kind.ends_with("_failed") { "31" } else { "36" };
    let to = if line.deliveries.is_empty() { "33" } else { "32" };
    format!(
        "{} {} {} {} → {}",
        paint("2", &time),
        paint(kind, &line.kind),
        paint("2", &line.source),
        printable(subject),
        paint(to, &sinks)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(deliveries: &[&str]) -> CloudLine {
        CloudLine {
            time: "2026-11-28T03:30:00.5Z".into(),
            kind: "message_api_failed".into(),
            source: "/webhooks/interakt".into(),
            subject: Some("m-1\x1b[2J".into()),
            deliveries: deliveries.iter().map(|sink| (*sink).to_owned()).collect(),
            ..CloudLine::default()
        }
    }

    #[test]
    fn a_line_has_time_type_source_subject_and_sinks_and_steers_no_terminal() {
        let zone = Zone::named("Asia/Kolkata").unwrap();
        let shown = human(&line(&["crm", "archive"]), &zone, false);
        let wanted = "2026-11-28 09:00:00+05:30 message_api_failed /webhooks/interakt m-1\\u{1b}[2J → crm, archive";
        assert_eq!(shown, wanted);
        assert!(human(&line(&[]), &zone, false).ends_with(" → no sink"));
        assert!(human(&line(&[]), &zone, true).contains("\x1b[31mmessage_api_failed\x1b[0m"));
    }
}
