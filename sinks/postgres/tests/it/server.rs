//! Where the sink is tried: a schema of the test's own, on the shared server or on a throwaway one.

use std::time::{Duration, Instant};

use sink_api::{BuildError, Sink, SinkConfig};
use sink_testkit::postgres::PostgresServer;
use sink_testkit::wait::PATIENCE;
use sink_testkit::{context, read_table};
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The shared server, or one of the test's own; the test that runs is left out by name where there is none.
pub fn shared() -> Option<PostgresServer> {
    PostgresServer::shared(&name())
}

/// See [`shared`].
pub fn own(settings: &[&str]) -> Option<PostgresServer> {
    PostgresServer::own(&name(), settings)
}

/// The name of the test that runs.
fn name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// A schema of its own on a server, and a sink's config for it.
pub struct Fixture {
    pub server: PostgresServer,
    pub config: Box<dyn SinkConfig>,
    pub dir: TempDir,
    /// The schema.
    pub schema: String,
    admin: Client,
}

impl Fixture {
    /// Table `t` on the shared server, these further lines of config; `setup` is run by the test.
    pub async fn new(lines: &str) -> Option<Self> {
        Some(Self::on(shared()?, lines).await)
    }

    /// With `setup` making a table of these columns.
    pub async fn with(columns: &str) -> Option<Self> {
        Self::new(&format!("setup = '''{}'''", crate::table(columns))).await
    }

    pub async fn on(server: PostgresServer, lines: &str) -> Self {
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
    pub async fn wait_until_locked(&self, count: usize) {
        self.wait_until(&format!("SELECT count(*) {}", self.waiting()), &count.to_string()).await;
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
    pub async fn wait_until(&self, sql: &str, wanted: &str) {
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
