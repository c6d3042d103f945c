//! What both kinds of tables share: the table of the sinks' examples, and the row that a program written by hand reads
//! out of a body.

use std::error::Error;

use serde::Deserialize;

/// Rows of a transaction, as the sinks' kinds have it.
pub const BATCH: u64 = 500;
/// The columns that a status message fills.
pub const COLUMNS: [&str; 7] =
    ["event_id", "message_id", "event_type", "customer_phone", "customer_name", "status", "occurred_at"];

/// The statements that make the table of an example, under another name.
pub fn setup(example: &str, table: &str) -> Result<String, Box<dyn Error>> {
    let example: toml::Table = toml::from_str(example)?;
    let sinks = example.get("sinks").and_then(|sinks| sinks.get("statuses"));
    let setup = sinks.and_then(|sink| sink.get("setup")?.as_str()).ok_or("the example has no setup")?;
    Ok(setup.replace("message_status_logs", table))
}

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(rename = "type")]
    kind: &'b str,
    timestamp: &'b str,
    #[serde(borrow)]
    data: Data<'b>,
}

#[derive(Deserialize)]
struct Data<'b> {
    #[serde(borrow)]
    customer: Customer<'b>,
    #[serde(borrow)]
    message: Message<'b>,
}

#[derive(Deserialize)]
struct Customer<'b> {
    channel_phone_number: &'b str,
    #[serde(borrow)]
    traits: Traits<'b>,
}

#[derive(Deserialize)]
struct Traits<'b> {
    name: &'b str,
}

#[derive(Deserialize)]
struct Message<'b> {
    id: &'b str,
    message_status: &'b str,
}

/// The values of the columns, the first of them new each time.
pub fn row(body: &str) -> Result<[String; 7], serde_json::Error> {
    let read: Body<'_> = serde_json::from_str(body)?;
    Ok([
        uuid::Uuid::now_v7().to_string(),
        read.data.message.id.to_owned(),
        read.kind.to_owned(),
        format!("+{}", read.data.customer.channel_phone_number),
        read.data.customer.traits.name.to_owned(),
        read.data.message.message_status.to_owned(),
        format!("{}Z", read.timestamp),
    ])
}
