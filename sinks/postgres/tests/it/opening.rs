//! Which servers and tables the sink opens on, and what it says to the others.

use sink_api::{BuildError, Sink};
use sink_testkit::{batch, verdicts};

use crate::server::{Fixture, config, shared};
use crate::{delivery, table};

fn refused(built: Result<Box<dyn Sink>, BuildError>) -> String {
    match built {
        Err(BuildError::Refused(text)) => text,
        Err(other) => panic!("not refused but {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

fn unavailable(built: Result<Box<dyn Sink>, BuildError>) -> String {
    match built {
        Err(BuildError::Unavailable(why)) => why.to_string(),
        Err(other) => panic!("not unavailable but {other:?}"),
        Ok(_) => panic!("not unavailable"),
    }
}

#[tokio::test]
async fn without_a_unique_event_id_it_refuses_and_says_what_to_run() {
    for (ddl, mends) in [
        ("SELECT 1", "CREATE TABLE t ("),
        ("CREATE TABLE t (v TEXT)", "ALTER TABLE"),
        ("CREATE TABLE t (event_id TEXT)", "CREATE UNIQUE INDEX"),
        ("CREATE TABLE t (event_id TEXT); CREATE INDEX ON t (event_id)", "CREATE UNIQUE INDEX"),
        ("CREATE TABLE t (event_id TEXT, b INT, UNIQUE (event_id, b))", "CREATE UNIQUE INDEX"),
        (
            "CREATE TABLE t (event_id TEXT); CREATE UNIQUE INDEX ON t (event_id) WHERE event_id > ''",
            "CREATE UNIQUE INDEX",
        ),
    ] {
        let Some(fixture) = Fixture::new("").await else { return };
        fixture.sql(ddl).await;
        let text = refused(fixture.build().await);
        let sql = text.lines().last().unwrap();
        assert!(sql.starts_with(mends), "{ddl}: {text}");
        // What it prints is all that is missing.
        fixture.sql(sql).await;
        assert_eq!(verdicts(&*fixture.open().await, &batch([delivery("{}")])).await, ["delivered"], "{ddl}");
    }
}

#[tokio::test]
async fn setup_is_run_once_and_what_is_wrong_with_it_is_said() {
    let Some(fixture) = Fixture::new("setup = '''CREATE TABL t (event_id TEXT UNIQUE)'''").await else { return };
    let text = refused(fixture.build().await);
    assert!(text.contains("`setup` fails: syntax error at or near \"TABL\""), "{text}");
    let setup = "setup = '''BEGIN; CREATE TABLE t (event_id TEXT UNIQUE)'''";
    let Some(fixture) = Fixture::new(setup).await else { return };
    assert!(refused(fixture.build().await).contains("there is no table t"), "a transaction left open");
    let Some(fixture) = Fixture::with("").await else { return };
    let sink = fixture.open().await;
    fixture.sql("DROP TABLE t").await;
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["retry schema"]);
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["retry schema"]);
}

#[tokio::test]
async fn sinks_that_make_the_same_table_at_once_all_open_in_the_end() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let (a, b, c) = tokio::join!(fixture.build(), fixture.build(), fixture.build());
    for built in [a, b, c] {
        match built {
            Ok(_) | Err(BuildError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    fixture.open().await;
}

#[tokio::test]
async fn missing_rights_are_found_when_it_opens() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture.sql(&table(", v TEXT")).await;
    let role = fixture.role("GRANT INSERT, SELECT ON t TO").await;
    fixture.build_from(&*fixture.as_user(&role, "pw", "")).await.unwrap();
    let text = refused(fixture.build_from(&*fixture.as_user(&role, "pw", "on_conflict = \"update\"")).await);
    assert!(text.contains("permission denied for table t"), "{text}");
}

#[tokio::test]
async fn a_wrong_password_or_database_is_said_and_the_password_is_not() {
    let Some(fixture) = Fixture::new("").await else { return };
    let text = refused(fixture.build_from(&*fixture.as_user("hookrelay", "hunter2", "")).await);
    assert!(text.contains("password authentication failed") && text.contains(fixture.server.address()), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let wrong = fixture.server.url.replace("/hookrelay?", "/nowhere?");
    let text = unavailable(fixture.build_from(&*config(&wrong, "")).await);
    assert!(text.contains("database \"nowhere\" does not exist"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("postgres://u:hunter2@127.0.0.1:1/d", "");
    let Err(BuildError::Unavailable(why)) = config.build(&sink_testkit::context("s", dir.path())).await else {
        panic!("opened")
    };
    assert_eq!(why.code, "connect");
    assert!(why.detail.contains("127.0.0.1:1") && !why.detail.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_check_runs_no_setup_and_says_what_run_would_do() {
    let Some(fixture) = Fixture::with(", v TEXT").await else { return };
    let inspect = || async { fixture.config.inspect(&sink_testkit::context("s", fixture.dir.path())).await };
    let said = inspect().await.unwrap().unwrap();
    assert!(said.contains("does not exist yet") && said.contains("`setup`"), "{said}");
    assert_eq!(fixture.texts("SELECT to_regclass('t')").await, ["NULL"]);
    fixture.sql("CREATE TABLE t (event_id TEXT)").await;
    let Err(BuildError::Refused(text)) = inspect().await else { panic!("not refused") };
    assert!(text.contains("\nCREATE UNIQUE INDEX"), "{text}");
    fixture.sql("CREATE UNIQUE INDEX ON t (event_id)").await;
    assert_eq!(inspect().await.unwrap(), None);
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["0"]);
    // Without a `setup` nobody would make it.
    let Some(fixture) = Fixture::new("").await else { return };
    assert!(refused(fixture.build().await).contains("there is no table t"));
    let inspected = fixture.config.inspect(&sink_testkit::context("s", fixture.dir.path())).await;
    assert!(matches!(inspected, Err(BuildError::Refused(_))), "{inspected:?}");
}

/// Whether the sink's sessions are encrypted: it says so itself, by a trigger.
async fn encrypted(fixture: &Fixture, query: &str) -> Result<String, String> {
    let lines = format!(
        "setup = '''{}'''",
        table(", ssl BOOLEAN DEFAULT (SELECT false)").replace("(SELECT false)", "in_tls()")
    );
    let url = format!("{}?{query}&options=-c%20search_path%3D{}", fixture.server.bare(), fixture.schema);
    let sink = fixture.build_from(&*config(&url, &lines)).await.map_err(|e| e.to_string())?;
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"]);
    Ok(fixture.texts("SELECT ssl FROM t ORDER BY id DESC LIMIT 1").await.remove(0))
}

#[tokio::test]
async fn sslmode_is_honoured() {
    let Some(fixture) = Fixture::new("").await else { return };
    fixture
        .sql(
            "CREATE FUNCTION in_tls() RETURNS boolean LANGUAGE sql AS \
             'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'",
        )
        .await;
    let good = fixture.server.url.rsplit_once("sslrootcert=").unwrap().1.to_owned();
    // A root that has signed nothing here.
    let foreign = fixture.dir.path().join("foreign.pem");
    std::fs::write(&foreign, include_str!("foreign-root.pem")).unwrap();
    let foreign = foreign.display();
    // The name on the certificate is localhost and 127.0.0.1.
    let elsewhere = "host=db.example&hostaddr=127.0.0.1";
    for (query, want) in [
        ("sslmode=disable".to_owned(), Some("f")),
        ("sslmode=prefer".to_owned(), Some("t")),
        ("sslmode=require".to_owned(), Some("t")),
        (format!("sslmode=verify-full&sslrootcert={good}"), Some("t")),
        (format!("sslmode=verify-ca&sslrootcert={good}"), Some("t")),
        (format!("sslmode=verify-ca&sslrootcert={foreign}"), None),
        (format!("sslmode=require&sslrootcert={foreign}"), None),
        (format!("sslmode=verify-full&sslrootcert={foreign}"), None),
        ("sslmode=verify-full&sslrootcert=foreign.pem".to_owned(), None),
        ("sslmode=verify-full&sslrootcert=nowhere.pem".to_owned(), None),
        ("sslmode=verify-full".to_owned(), None),
    ] {
        let got = encrypted(&fixture, &query).await;
        assert_eq!(got.as_deref().ok(), want, "{query}: {got:?}");
    }
    let port = fixture.server.address().rsplit_once(':').unwrap().1;
    let bare = format!("postgres://hookrelay:{}@/hookrelay", fixture.server.password());
    for (mode, fine) in [("verify-ca", true), ("verify-full", false)] {
        let url = format!(
            "{bare}?{elsewhere}&port={port}&sslmode={mode}&sslrootcert={good}&options=-c%20search_path%3D{}",
            fixture.schema
        );
        let built = fixture.build_from(&*config(&url, "")).await;
        match built {
            Ok(_) if fine => {}
            Err(BuildError::Refused(text)) if !fine => assert!(text.contains("certificate"), "{text}"),
            Err(other) => panic!("{mode}: {other:?}"),
            Ok(_) => panic!("{mode}: opened"),
        }
    }
}

#[tokio::test]
async fn a_probe_writes_nothing_and_sees_a_table_that_is_gone() {
    let Some(fixture) = Fixture::with(", v TEXT NOT NULL").await else { return };
    let sink = fixture.open().await;
    sink.probe().await.unwrap();
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["0"]);
    fixture.sql("DROP TABLE t").await;
    assert_eq!(sink.probe().await.unwrap_err().code, "schema");
}

#[tokio::test]
async fn at_most_so_many_connections_are_made_and_a_call_beyond_waits_for_one() {
    let Some(server) = shared() else { return };
    let fixture = Fixture::on(server, &format!("connections = 2\nsetup = '''{}'''", table(", v TEXT"))).await;
    let sink = fixture.open().await;
    let calls = (0..12).map(|_| {
        let sink = &sink;
        async move { verdicts(&**sink, &batch((0..20).map(|_| delivery(r#"{"v":"x"}"#)))).await }
    });
    let done = futures(calls).await;
    assert!(done.iter().flatten().all(|v| v == "delivered"));
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", fixture.schema);
    let open: usize = fixture.texts(&sessions).await[0].parse().unwrap();
    assert!(open <= 2, "{open} connections");
}

/// All at once, on this task.
async fn futures<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|cx| {
        let mut all = true;
        for (call, done) in &mut calls {
            if done.is_none() {
                match call.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    calls.into_iter().filter_map(|(_, done)| done).collect()
}
