//! Servers to try the sink on: the shared one, in which each test has a schema of its own, and throwaway ones for tests
//! that break theirs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sink_api::{BuildError, Sink, SinkConfig};
use sink_testkit::{context, read_table, skip};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Longest any condition is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What `tests/services/up` exported, or why not; then the test is left out, by name.
fn exported(test: &str, variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let missing = std::env::var("HOOKRELAY_TEST_POSTGRES_MISSING");
        skip(test, missing.as_deref().unwrap_or(&format!("{variable} is not set: eval \"$(tests/services/up)\"")));
    }
    value
}

/// The name of the test that runs.
fn name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// A server.
pub struct Server {
    /// With `sslmode=verify-full` and the root's certificate.
    pub url: String,
    /// Where it is a throwaway one: its name, and the script that rules it.
    own: Option<(String, String)>,
}

impl Server {
    /// The one all tests share.
    pub fn shared() -> Option<Self> {
        Some(Self { url: exported(&name(), "HOOKRELAY_TEST_POSTGRES")?, own: None })
    }

    /// A throwaway one, with these settings.
    pub fn own(settings: &[&str]) -> Option<Self> {
        let ctl = exported(&name(), "HOOKRELAY_TEST_POSTGRES_CTL")?;
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let url = run(&ctl, &[&["new", &name], settings].concat());
        Some(Self { url, own: Some((name, ctl)) })
    }

    /// A streaming standby of this one.
    pub fn standby(&self) -> Self {
        let (primary, ctl) = self.own.as_ref().unwrap();
        let name = format!("{primary}s");
        let url = run(ctl, &["standby", &name, primary]);
        Self { url, own: Some((name, ctl.clone())) }
    }

    /// `start`, `stop`, `kill` or `promote`.
    pub fn order(&self, verb: &str) {
        let (name, ctl) = self.own.as_ref().expect("a server of its own");
        run(ctl, &["server", name, verb]);
    }

    /// The URL without its query.
    pub fn bare(&self) -> &str {
        self.url.split('?').next().unwrap()
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.bare().rsplit_once('@').unwrap().1.split('/').next().unwrap()
    }

    pub fn password(&self) -> &str {
        self.bare().rsplit_once('@').unwrap().0.rsplit(':').next().unwrap()
    }

    /// Another program's connection.
    pub async fn client(&self) -> Client {
        connect(self.bare()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((name, ctl)) = &self.own {
            let _ =
                Command::new(ctl).args(["server", name, "drop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

fn run(ctl: &str, args: &[&str]) -> String {
    let done = Command::new(ctl).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{ctl} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A connection in the clear; its driver runs beside the test.
pub async fn connect(bare: &str) -> Client {
    let (client, driver) = tokio_postgres::connect(&format!("{bare}?sslmode=disable"), NoTls).await.unwrap();
    tokio::spawn(driver);
    client
}

/// A schema of its own on a server, and a sink's config for it.
pub struct Bench {
    pub server: Server,
    pub config: Box<dyn SinkConfig>,
    pub dir: TempDir,
    /// The schema.
    pub schema: String,
    admin: Client,
}

impl Bench {
    /// Table `t` on the shared server, these further lines of config; `setup` is run by the test.
    pub async fn new(lines: &str) -> Option<Self> {
        Some(Self::on(Server::shared()?, lines).await)
    }

    /// With `setup` making a table of these columns.
    pub async fn with(columns: &str) -> Option<Self> {
        Self::new(&format!("setup = '''{}'''", crate::table(columns))).await
    }

    pub async fn on(server: Server, lines: &str) -> Self {
        let schema = format!("s{}", uuid::Uuid::now_v7().simple());
        let admin = server.client().await;
        admin.batch_execute(&format!("CREATE SCHEMA {schema}; SET search_path = {schema}")).await.unwrap();
        let config = config(&url(&server.url, &schema), lines);
        Self { server, config, dir: TempDir::new().unwrap(), schema, admin }
    }

    /// The same sink as another user, with this password.
    pub fn as_user(&self, user: &str, password: &str, lines: &str) -> Box<dyn SinkConfig> {
        let rest = self.server.url.split_once('@').unwrap().1;
        config(&url(&format!("postgres://{user}:{password}@{rest}"), &self.schema), lines)
    }

    pub async fn build(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.build_from(&*self.config).await
    }

    pub async fn build_from(&self, config: &dyn SinkConfig) -> Result<Box<dyn Sink>, BuildError> {
        config.build(&context("statuses", self.dir.path())).await
    }

    pub async fn open(&self) -> Box<dyn Sink> {
        self.build().await.unwrap()
    }

    /// SQL by another program, in the schema.
    pub async fn sql(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// Yet another program's connection, in the schema.
    pub async fn other(&self) -> Client {
        let client = self.server.client().await;
        client.batch_execute(&format!("SET search_path = {}", self.schema)).await.unwrap();
        client
    }

    /// The first column of a query, as the server writes it.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        texts(&self.admin, sql).await
    }

    /// Waits until so many of the sink's statements wait for a lock.
    pub async fn until_waiting(&self, count: usize) {
        self.until(&format!("SELECT count(*) {}", self.waiting()), &count.to_string()).await;
    }

    /// The sink's sessions that wait for a lock.
    pub fn waiting(&self) -> String {
        format!("FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = '{}'", self.schema)
    }

    /// A role that may log in with the password `pw`, and to which this is granted (`GRANT … TO`).
    pub async fn role(&self, grant: &str) -> String {
        let role = format!("r{}", &self.schema);
        self.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA {} TO {role}", self.schema))
            .await;
        self.sql(&format!("{grant} {role}")).await;
        role
    }

    /// Waits until the query's first value is this.
    pub async fn until(&self, sql: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.texts(sql).await;
            if seen.first().is_some_and(|seen| seen == wanted) {
                return;
            }
            assert!(Instant::now() < end, "never {wanted}, but {seen:?}: {sql}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    rows.collect()
}

/// The URL, for sessions in that schema that are called like it.
pub fn url(url: &str, schema: &str) -> String {
    let name = schema.split('%').next().unwrap_or_default();
    format!("{url}&application_name={name}&options=-c%20search_path%3D{schema}")
}

/// A sink's config on table `t`, with these further lines.
pub fn config(url: &str, lines: &str) -> Box<dyn SinkConfig> {
    read_table(&sink_postgres::KIND, &format!("url = '{url}'\ntable = \"t\"\n{lines}\n")).unwrap()
}
