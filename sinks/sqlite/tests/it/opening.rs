//! Which databases and tables the sink opens on, and what it says to the others.

use std::os::unix::fs::PermissionsExt as _;

use sink_testkit::{batch, context, verdicts};
use tempfile::TempDir;

use crate::{Fixture, delivery, read, table};

/// The statements a refusal prints, each on a line of its own after the explanation.
fn ddl(refusal: &str) -> String {
    let lines: Vec<&str> = refusal.lines().skip(1).collect();
    assert!(lines.iter().all(|line| line.ends_with(';')), "{refusal}");
    lines.join("\n")
}

#[tokio::test]
async fn a_refusal_prints_the_sql_that_mends_it() {
    for (begin, says) in [
        ("SELECT 1", "has no table \"t\""),
        ("CREATE TABLE t (v)", "has no column event_id"),
        ("CREATE TABLE t (event_id TEXT, v)", "event_id is not unique by itself"),
        ("CREATE TABLE t (event_id TEXT, v, UNIQUE (event_id, v))", "event_id is not unique by itself"),
        (
            "CREATE TABLE t (event_id TEXT); CREATE UNIQUE INDEX i ON t (event_id) WHERE event_id > ''",
            "not unique by itself",
        ),
    ] {
        let fixture = Fixture::new("");
        rusqlite::Connection::open(fixture.path("x.db")).unwrap().execute_batch(begin).unwrap();
        let refusal = fixture.refused().await;
        assert!(refusal.contains(says), "{begin}: {refusal}");
        fixture.other().execute_batch(&ddl(&refusal)).unwrap();
        let sink = fixture.open().await;
        assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"], "{begin}");
    }
}

#[tokio::test]
async fn the_sql_a_refusal_prints_quotes_odd_names() {
    let dir = TempDir::new().unwrap();
    let config = read("database = \"x.db\"\ntable = '''a \"b\" c'''").unwrap();
    let cx = context("statuses", dir.path());
    let mut refusal = config.build(&cx).await.err().unwrap().to_string();
    crate::connect(&dir.path().join("x.db")).execute_batch("CREATE TABLE \"a \"\"b\"\" c\" (v)").unwrap();
    for _ in 0..2 {
        assert!(refusal.contains("\"a \"\"b\"\" c\""), "{refusal}");
        refusal = match config.build(&cx).await {
            Ok(_) => return,
            Err(refusal) => refusal.to_string(),
        };
        crate::connect(&dir.path().join("x.db")).execute_batch(&ddl(&refusal)).unwrap();
    }
    panic!("still refused: {refusal}");
}

#[tokio::test]
async fn a_setup_that_fails_is_refused_in_sqlite_s_words() {
    let fixture = Fixture::new("setup = 'CREATE TABLE t (event_id TEXT UNIQUE); CREATE TABEL u (x)'");
    let refusal = fixture.refused().await;
    assert!(refusal.contains("`setup` fails: near \"TABEL\": syntax error"), "{refusal}");
    let fixture = Fixture::new("setup = 'BEGIN; CREATE TABLE t (event_id TEXT UNIQUE)'");
    assert!(fixture.refused().await.contains("leaves a transaction open"));
}

#[tokio::test]
async fn setup_is_run_at_every_start_and_changes_nothing_the_second_time() {
    let fixture = Fixture::with(", v");
    for _ in 0..3 {
        let sink = fixture.open().await;
        assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"]);
        sink.close().await;
    }
    assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), ["3"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let fixture = Fixture::with("");
    std::fs::write(fixture.path("x.db"), "not a database, but long enough to look like a file of some kind".repeat(20))
        .unwrap();
    let refusal = fixture.refused().await;
    assert!(refusal.contains("file is not a database") && refusal.contains("x.db"), "{refusal}");
}

#[tokio::test]
async fn files_and_folders_it_makes_are_the_owner_s_alone() {
    let dir = TempDir::new().unwrap();
    let config = read(&format!("database = \"a/b/x.db\"\ntable = \"t\"\nsetup = '''{}'''", table(""))).unwrap();
    let sink = config.build(&context("statuses", dir.path())).await.unwrap();
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"]);
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("a"), mode("a/b")], [0o700; 2]);
    assert_eq!([mode("a/b/x.db"), mode("a/b/x.db-wal"), mode("a/b/x.db-shm")], [0o600; 3]);
}

#[tokio::test]
async fn delivered_means_flushed_whatever_setup_says() {
    // The sink's own connection cannot be asked; a trigger on it can.
    let setup = format!("PRAGMA synchronous = OFF; {}", table(", v"));
    let fixture = Fixture::new(&format!(
        "setup = '''{setup}; CREATE TRIGGER IF NOT EXISTS see AFTER INSERT ON t BEGIN
         UPDATE t SET v = (SELECT synchronous FROM pragma_synchronous) WHERE id = new.id; END'''"
    ));
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"]);
    assert_eq!(fixture.texts("SELECT v || '' FROM t"), ["2"]);
    assert_eq!(fixture.texts("PRAGMA journal_mode"), ["wal"]);
}

#[tokio::test]
async fn close_leaves_all_rows_in_the_one_file() {
    let fixture = Fixture::with("");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &batch([delivery("{}")])).await, ["delivered"]);
    sink.close().await;
    assert!(!fixture.path("x.db-wal").exists());
    assert_eq!(fixture.texts("SELECT count(*) || '' FROM t"), ["1"]);
}

#[tokio::test]
async fn the_example_works_as_it_stands() {
    let text = sink_sqlite::KIND.example;
    let table = text.split_once("[sinks.statuses]").unwrap().1.replace("kind = \"sqlite\"", "");
    let config = read(&table).unwrap();
    config.check().unwrap();
    let dir = TempDir::new().unwrap();
    let sink = config.build(&context("statuses", dir.path())).await.unwrap();
    let payload = r#"{"event_id":"x","message_id":"msg-12345","event_type":"message_api_failed",
        "customer_phone":"+919876543210","customer_id":null,"customer_name":null,"status":"Failed",
        "failure_reason":"Recipient is not a valid WhatsApp user","error_code":"1013","click_type":null,
        "button_text":null,"callback_data":null,"campaign_id":null,"occurred_at":"2025-12-17T10:30:00Z"}"#;
    assert_eq!(verdicts(&*sink, &batch([delivery(payload)])).await, ["delivered"]);
    sink.probe().await.unwrap();
    let filled =
        "SELECT message_id || error_code || customer_phone || (created_at IS NOT NULL) FROM message_status_logs";
    let conn = crate::connect(&dir.path().join("data/hookrelay.db"));
    assert_eq!(crate::texts(&conn, filled), ["msg-123451013+9198765432101"]);
}

#[tokio::test]
async fn unknown_keys_in_the_config_are_faults() {
    let faults = read("database = \"x\"\ntable = \"t\"\non_conflict = \"updat\"\nsetpu = \"\"").unwrap_err();
    let helps: Vec<_> = faults.iter().filter_map(|fault| fault.help.as_deref()).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(helps.contains(&"did you mean `setup`?") && helps.contains(&"did you mean `update`?"), "{faults:?}");
}

#[tokio::test]
async fn the_target_names_the_table() {
    let fixture = Fixture::with("");
    let target = fixture.config.target(&sink_testkit::event("t").build()).unwrap();
    assert_eq!(target.parts().collect::<Vec<_>>(), [("table", "t")]);
}

#[tokio::test]
async fn a_probe_looks_and_leaves_nothing_behind() {
    let fixture = Fixture::with("");
    let sink = fixture.open().await;
    sink.probe().await.unwrap();
    let held = fixture.other();
    held.execute_batch("DROP TABLE t").unwrap();
    sink.probe().await.unwrap();
    assert_eq!(
        fixture.texts("SELECT count(*) || '' FROM sqlite_schema"),
        ["0"],
        "setup would mend it, so it is fine; but not by the probe"
    );
    held.execute_batch("CREATE TABLE t (v)").unwrap();
    assert_eq!(sink.probe().await.unwrap_err().code, "schema");
    drop(held);
    for name in ["x.db", "x.db-wal", "x.db-shm"] {
        std::fs::remove_file(fixture.path(name)).unwrap();
    }
    sink.probe().await.unwrap();
    assert!(!fixture.path("x.db").exists());
    std::fs::create_dir(fixture.path("x.db")).unwrap();
    assert_eq!(sink.probe().await.unwrap_err().code, "connect");
}

#[tokio::test]
async fn a_probe_of_a_missing_database_without_setup_fails() {
    let fixture = Fixture::new("");
    rusqlite::Connection::open(fixture.path("x.db")).unwrap().execute_batch(&table("")).unwrap();
    let sink = fixture.open().await;
    sink.probe().await.unwrap();
    std::fs::remove_file(fixture.path("x.db")).unwrap();
    assert_eq!(sink.probe().await.unwrap_err().code, "schema");
}

async fn inspected(fixture: &Fixture) -> Result<Option<String>, String> {
    fixture.config.inspect(&fixture.context()).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn inspecting_a_missing_database_tries_setup_and_creates_nothing() {
    let fixture = Fixture::with("");
    assert!(inspected(&fixture).await.unwrap().unwrap().ends_with("x.db does not exist yet, `run` creates it"));
    for (setup, says) in [
        ("setup = 'CREATE TABEL t'", "`setup` fails: near \"TABEL\""),
        ("setup = 'BEGIN; CREATE TABLE t (event_id TEXT UNIQUE)'", "leaves a transaction open"),
        ("setup = 'CREATE TABLE t (v)'", "has no column event_id"),
        ("", "no `setup` to make the table with"),
    ] {
        let fixture = Fixture::new(setup);
        let why = inspected(&fixture).await.unwrap_err();
        assert!(why.contains(says), "{setup}: {why}");
        assert!(!fixture.path("x.db").exists());
    }
    let own = Fixture::new("setup = 'BEGIN; CREATE TABLE t (event_id TEXT UNIQUE); COMMIT'");
    assert!(inspected(&own).await.unwrap().is_some());
    assert!(!fixture.path("x.db").exists() && !own.path("x.db").exists());
}

#[tokio::test]
async fn inspecting_a_database_leaves_it_as_it_is() {
    for setup in [table(""), format!("BEGIN; {}; COMMIT", table(""))] {
        let fixture = Fixture::new(&format!("setup = '''{setup}'''"));
        rusqlite::Connection::open(fixture.path("x.db")).unwrap().execute_batch("CREATE TABLE other (v)").unwrap();
        assert_eq!(inspected(&fixture).await, Ok(None));
        assert_eq!(fixture.texts("SELECT name FROM sqlite_schema"), ["other"]);
    }
}
