//! PostgreSQL servers to try things on: the one that all tests share, and throwaway ones for tests that break theirs.

use std::process::{Command, Stdio};

use tokio_postgres::{Client, NoTls};

use crate::must::Must as _;
use crate::services::{exported, run};

/// How the names of the server's variables begin.
const VARIABLES: &str = "HOOKRELAY_TEST_POSTGRES";

/// A server.
pub struct PostgresServer {
    /// With `sslmode=verify-full` and the root's certificate.
    pub url: String,
    /// Of a throwaway one: its name, and the script that rules it.
    own: Option<(String, String)>,
}

impl PostgresServer {
    /// The one all tests share. `None` where there is none: then the test is left out, by name.
    pub fn shared(test: &str) -> Option<Self> {
        Some(Self { url: exported(test, VARIABLES, VARIABLES)?, own: None })
    }

    /// A throwaway one, with these settings; gone when it is dropped.
    pub fn own(test: &str, settings: &[&str]) -> Option<Self> {
        let ctl = exported(test, &format!("{VARIABLES}_CTL"), VARIABLES)?;
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let url = run(Command::new(&ctl).args(["new", &name]).args(settings));
        Some(Self { url, own: Some((name, ctl)) })
    }

    /// A streaming standby of this one.
    pub fn standby(&self) -> Self {
        let (primary, ctl) = self.own.as_ref().must("a server of its own");
        let name = format!("{primary}s");
        let url = run(Command::new(ctl).args(["standby", &name, primary]));
        Self { url, own: Some((name, ctl.clone())) }
    }

    /// `start`, `stop`, `kill` or `promote`.
    pub fn order(&self, verb: &str) {
        let (name, ctl) = self.own.as_ref().must("a server of its own");
        run(Command::new(ctl).args(["server", name, verb]));
    }

    /// The URL without its query.
    pub fn bare(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        let (_, rest) = self.bare().rsplit_once('@').must("a user");
        rest.split('/').next().unwrap_or_default()
    }

    /// The password of the URL's user.
    pub fn password(&self) -> &str {
        let (info, _) = self.bare().rsplit_once('@').must("a user");
        info.rsplit(':').next().unwrap_or_default()
    }

    /// A connection in the clear; its driver runs beside the test.
    ///
    /// # Errors
    /// The server's.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, driver) = tokio_postgres::connect(&format!("{}?sslmode=disable", self.bare()), NoTls).await?;
        tokio::spawn(driver);
        Ok(client)
    }

    /// [`Self::connect`], which must not fail.
    pub async fn client(&self) -> Client {
        self.connect().await.must("a connection")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some((name, ctl)) = &self.own {
            let mut command = Command::new(ctl);
            let command = command.args(["server", name, "drop"]).stdout(Stdio::null()).stderr(Stdio::null());
            // What is left of it goes with the folder of all servers.
            let _ = command.status();
        }
    }
}
