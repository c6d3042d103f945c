//! The programs in `examples/` and the table in `example.toml` are what they say.

use sink_testkit::{batch, event, read_example};

use crate::{Fixture, one, verdicts};

fn example(interpreter: &str, name: &str) -> Fixture {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!(lines <= 24, "{name} has {lines} lines");
    Fixture::with(&format!("command = [\"{interpreter}\", \"{path}\"]\nenv = {{ OUT = \"out.jsonl\" }}"), "")
}

/// Ids of the lines; what else a line holds may be what Python makes of a cut emoji.
fn ids(fixture: &Fixture) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        id: String,
    }
    fixture.lines("out.jsonl").iter().map(|line| serde_json::from_str::<Line>(line).unwrap().id).collect()
}

#[tokio::test]
async fn the_table_is_read() {
    read_example(&sink_exec::KIND).unwrap();
}

#[tokio::test]
async fn the_python_program_delivers_and_rejects() {
    let fixture = example("python3", "sink.py");
    let sink = fixture.open().await;
    let cut_emoji = event("t").delivery_id("cut").body(r#"{"text":"\ud83d"}"#).delivery();
    let owed = batch([one("one"), event("unparsable").body("oops").delivery(), cut_emoji]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "reject bad_payload", "delivered"]);
    assert_eq!(ids(&fixture), ["one", "cut"]);
    sink.close().await;
}

#[tokio::test]
async fn the_python_program_asks_for_time_when_it_cannot_write() {
    let fixture = example("python3", "sink.py");
    std::os::unix::fs::symlink("/dev/full", fixture.path("out.jsonl")).unwrap();
    let sink = fixture.open().await;
    let slots = crate::deliver(&*sink, &batch([one("one")])).await;
    assert_eq!(crate::verdict(&slots[0]), "retry io");
    assert!(crate::details(&slots)[0].contains("No space left"), "{slots:?}");
}

#[tokio::test]
async fn the_shell_program_delivers_any_id_and_retries() {
    let fixture = example("sh", "sink.sh");
    let sink = fixture.open().await;
    let odd = r#"0190-a "quoted" \ route"#;
    let owed = batch([one("one"), one(odd), event("unparsable").delivery_id("three").body("\\n oops").delivery()]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 3]);
    assert_eq!(ids(&fixture), ["one", odd, "three"]);
    std::fs::remove_file(fixture.path("out.jsonl")).unwrap();
    std::fs::create_dir(fixture.path("out.jsonl")).unwrap();
    assert_eq!(verdicts(&*sink, &batch([one("four")])).await, ["retry io"]);
    sink.close().await;
}

#[test]
fn without_the_file_s_name_both_programs_end_and_say_what_is_missing() {
    for (interpreter, name) in [("python3", "sink.py"), ("sh", "sink.sh")] {
        let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let ended = std::process::Command::new(interpreter).arg(path).env_remove("OUT").output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && text.contains("needs env.OUT = \"mine.jsonl\""), "{name}: {text}");
    }
}
