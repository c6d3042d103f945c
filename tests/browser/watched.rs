//! The daemon that is looked at: `archive` takes everything, `crm` refuses everything until it is told otherwise,
//! `sick` is nowhere, and `reads` takes one type.

use sink_testkit::skip;

use crate::browser::Browser;
use crate::harness::{Callback, Daemon, House, post_all, wait_until};
use crate::tables::{IMPATIENT, file, route};
use crate::verbs::{json_without_secret, status};

pub const TOKEN: &str = "the-token-of-the-page";

pub struct Watched {
    pub house: House,
    pub daemon: Daemon,
    pub callback: Callback,
    /// `http://HOST:PORT` of the admin listener.
    pub admin: String,
}

impl Watched {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With these further keys in `[admin]`.
    pub async fn start_with(keys: &str) -> Self {
        let callback = Callback::start().await;
        let port = free_port();
        let tables = [
            format!("[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n{keys}"),
            file("archive"),
            file("reads"),
            format!("[sinks.crm]\nkind = \"http\"\nurl = \"{}\"\nkeep_answer = true\n{IMPATIENT}", callback.url()),
            format!("[sinks.sick]\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/\"\n{IMPATIENT}", free_port()),
            route("everything", "*", "\"archive\""),
            route("to the crm", "message_*", "\"crm\""),
            route("reads", "message_api_read", "\"reads\", \"sick\""),
        ];
        callback.answer_with(422);
        callback.say(b"Asha of Pune is refused");
        let house = House::new(&tables.concat());
        let daemon = house.start();
        assert!(daemon.log.wait_for(|line| line.contains("\"ready\"")).is_some(), "{}", daemon.log.text());
        Self { house, daemon, callback, admin: format!("http://127.0.0.1:{port}") }
    }

    /// Sends bodies, and waits until those who can take them have.
    pub async fn send(&self, bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
        let ids = post_all(&self.daemon.url(), bodies).await;
        wait_until("the archive has all", || {
            let archive = &status(&self.house)["sinks"]["archive"];
            (archive["accepted"] == archive["delivered"]).then_some(())
        })
        .await;
        ids
    }

    /// Waits until that figure of a sink has that value.
    pub async fn figure(&self, sink: &str, name: &str, value: impl Into<serde_json::Value>) {
        let value = value.into();
        wait_until(&format!("{name} of {sink} is {value}"), || {
            (status(&self.house)["sinks"][sink][name] == value).then_some(())
        })
        .await;
    }

    /// The dead letters.
    pub fn dead(&self) -> Vec<serde_json::Value> {
        json_without_secret(&self.house, &["dead", "list"]).as_array().unwrap().clone()
    }
}

/// The daemon, and a browser that is signed in; nothing where there is no browser, which is told.
pub async fn watched(test: &str) -> Option<(Watched, Browser)> {
    in_browser(test, Watched::start().await).await
}

/// A browser beside that daemon.
pub async fn in_browser(test: &str, watched: Watched) -> Option<(Watched, Browser)> {
    match Browser::on(&watched.admin).await {
        Ok(browser) => Some((watched, browser)),
        Err(why) => {
            skip(&format!("browser::{test}"), &why);
            None
        }
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
