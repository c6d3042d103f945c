//! What `check` and `run` make of configs that are not what was meant, that hang, or that are far too much.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::harness::*;

/// The exit code, and everything that was printed.
fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), text)
}

fn check(house: &House) -> (i32, String) {
    said(&house.command(&["check"]).output().unwrap())
}

fn fifo(house: &House, name: &str) {
    rustix::fs::mkfifoat(rustix::fs::CWD, house.path(name), rustix::fs::Mode::RWXU).unwrap();
}

/// Replaces a part of the config that [`House::configure`] wrote.
fn write(house: &House, from: &str, to: &str) {
    let text = std::fs::read_to_string(house.config()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(house.config(), text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_largest_time_spans_and_sizes_a_webhook_is_delivered() {
    let callback = Callback::start().await;
    let core = "concurrency = 1\ntimeout = \"1h\"\nparked_max = \"1EiB\"\n\
                batch = { max_events = 1, linger = \"1m\", max_bytes = \"256MiB\" }\n\
                retry = { initial = \"1y\", max = \"1y\", deadline = \"1y\" }\n\
                                      breaker = { probe = \"1y\", probe_max = \"1y\" }\n";
    let house = House::new(&format!(
        "[sources.stripe]\nkind = \"stripe\"\npath = \"/stripe\"\nsecret = \"s\"\ntolerance = \"1y\"\n\
         dedupe = \"1y\"\nack_deadline = \"1h\"\n\
         [dead_letters]\nmax_size = \"1EiB\"\nmax_age = \"100y\"\n\
         [sinks.archive]\nkind = \"file\"\npath = \"out/all.jsonl\"\nkeep = \"100y\"\nmax_total = \"1EiB\"\n\
         rotate = {{ size = \"1PiB\", every = \"100y\" }}\n{core}\
         [sinks.table]\nkind = \"sqlite\"\ndatabase = \"t.db\"\ntable = \"t\"\nbusy_timeout = \"1h\"\n\
         setup = \"CREATE TABLE IF NOT EXISTS t (event_id TEXT PRIMARY KEY)\"\n{core}\
         [sinks.crm]\nkind = \"http\"\nurl = \"{}\"\nconnect_timeout = \"1h\"\nmax_response = \"64MiB\"\n{core}\
         [sinks.program]\nkind = \"exec\"\ncommand = [\"cat\"]\nmax_line = \"1GiB\"\nenabled = false\n{core}\
         [[routes]]\nmatch = \"*\"\nto = [\"archive\", \"crm\"]\n",
        callback.url()
    ));
    write(
        &house,
        "[journal]\nmin_free = 0\n",
        "header_timeout = \"1h\"\nbody_timeout = \"1h\"\ndrain = \"1h\"\nmax_inflight_bytes = \"1EiB\"\n\
         dedupe_max = \"1EiB\"\n\
         [journal]\nmin_free = 0\nretention = \"100y\"\nmax_size = \"1EiB\"\noverflow_max = \"1TiB\"\n",
    );
    write(
        &house,
        "secret = \"${INTERAKT_WEBHOOK_SECRET}\"\n",
        "secret = \"${INTERAKT_WEBHOOK_SECRET}\"\ndedupe = \"1y\"\nack_deadline = \"1h\"\n",
    );
    let (code, text) = check(&house);
    assert_eq!(code, 0, "{text}");
    let daemon = house.start();
    post_all(&daemon.url(), [br#"{"type":"t"}"#.to_vec()]).await;
    wait_until("it is archived", || (lines_under(&house.path("out"), ".jsonl").len() == 1).then_some(())).await;
    wait_until("it is called back", || (callback.got().len() == 1).then_some(())).await;
    assert!(!daemon.log.text().contains("panic"), "{}", daemon.log.text());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_time_span_no_clock_can_bear_is_refused() {
    let house = House::new(ARCHIVE);
    for (table, key) in
        [("[server]", "body_timeout"), ("[server]", "header_timeout"), ("[sources.interakt]", "ack_deadline")]
    {
        house.configure(ARCHIVE);
        write(&house, &format!("{table}\n"), &format!("{table}\n{key} = \"9223372036854775807s\"\n"));
        for verb in ["check", "run"] {
            let (code, text) = said(&house.command(&[verb]).output().unwrap());
            assert!(code == 78 && text.contains(key) && text.contains("at most"), "{verb} {code}: {text}");
        }
    }
}

#[test]
fn check_and_run_say_which_pipe_they_wait_for_and_give_up() {
    let event = "[[tests]]\nname = \"t\"\nevent = \"pipe\"\nsource = \"interakt\"\nsinks = [\"archive\"]\n";
    let secret = "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"${file:pipe}\"\n";
    let mut waiting = Vec::new();
    for (name, tables, verb, exit) in [
        ("pipe", secret, "check", 78),
        ("pipe", secret, "run", 78),
        (".env", "", "check", 78),
        (".env", "", "run", 78),
        ("config.toml", "", "check", 78),
        ("config.toml", "", "run", 78),
        ("pipe", event, "check", 1),
    ] {
        let house = House::new(&format!("{ARCHIVE}{tables}"));
        if name == "config.toml" {
            std::fs::remove_file(house.config()).unwrap();
        }
        fifo(&house, name);
        let child = house.command(&[verb]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        waiting.push((house, name, verb, exit, child));
    }
    for (house, name, verb, exit, child) in waiting {
        let (code, text) = said(&child.wait_with_output().unwrap());
        let pipe = house.path(name);
        let remark = format!("waiting for {}, a pipe that nobody has written to", pipe.display());
        assert!(text.contains(&remark), "{verb} {name}: {text}");
        assert!(code == exit && text.contains("nobody wrote to it within 10 s"), "{verb} {name}: {code}: {text}");
    }
}

#[test]
fn a_config_and_a_body_may_come_through_a_pipe() {
    let house = House::new(ARCHIVE);
    let text = std::fs::read_to_string(house.config()).unwrap().replace("\"data\"", "\"/tmp/none\"");
    fifo(&house, "pipe");
    let pipe = house.path("pipe");
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::OpenOptions::new().write(true).open(pipe).unwrap().write_all(text.as_bytes()).unwrap()
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookrelay"));
    command.args(["check", "--config"]).arg(&pipe).env("INTERAKT_WEBHOOK_SECRET", SECRET);
    let (code, text) = said(&command.output().unwrap());
    writer.join().unwrap();
    assert!(code == 0 && text.contains("1 sink"), "{code}: {text}");
    let bash = |line: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", line]).env("HOOKRELAY", env!("CARGO_BIN_EXE_hookrelay")).current_dir(house.folder.path());
        said(&command.env("INTERAKT_WEBHOOK_SECRET", SECRET).output().unwrap())
    };
    let (code, text) = bash("\"$HOOKRELAY\" check --config <(cat config.toml)");
    assert!(code == 0 && text.contains("1 sink"), "{code}: {text}");
    for line in [
        "echo '{\"type\":\"t\"}' | \"$HOOKRELAY\" explain -",
        "echo '{\"type\":\"t\"}' | \"$HOOKRELAY\" explain /dev/stdin",
        "\"$HOOKRELAY\" explain <(echo '{\"type\":\"t\"}')",
    ] {
        let (code, text) = bash(line);
        assert!(code == 0 && text.contains("archive"), "{line}: {code}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_reload_does_not_wait_behind_one_that_hangs() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    fifo(&house, "pipe");
    // A reader of this pipe never comes to its end.
    let open = std::fs::OpenOptions::new().read(true).write(true).open(house.path("pipe")).unwrap();
    house.configure(&format!("{ARCHIVE}[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"${{file:pipe}}\"\n"));
    daemon.hang_up();
    // That the daemon has begun to read is seen by the files it has open.
    let held = || {
        let all = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten();
        all.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|path| path.ends_with("pipe")).then_some(())
    };
    wait_until("the reload reads the pipe", held).await;
    house.configure(&format!("{ARCHIVE}[sources.c]\nkind = \"none\"\npath = \"/c\"\n"));
    let (code, text) = said(&house.command(&["reload"]).output().unwrap());
    assert!(code == 0 && text.contains("in force: 2 sources"), "{code}: {text}");
    let log = daemon.log.text();
    assert!(!log.contains("refused"), "the first one has not come to its end, and nobody waits for it:\n{log}");
    drop(open);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn of_three_hundred_thousand_unknown_keys_the_first_are_told() {
    let many: String = (0..300_000).map(|n| format!("k{n} = 1\n")).collect();
    let house = House::new(ARCHIVE);
    let text = std::fs::read_to_string(house.config()).unwrap();
    let tables: String = (0..150_000).map(|n| format!("[sinks.k{n}]\n")).collect();
    for text in
        [format!("{many}{text}"), text.replace("[server]\n", &format!("[server]\n{many}")), format!("{text}{tables}")]
    {
        std::fs::write(house.config(), text).unwrap();
        let (code, text) = check(&house);
        let listed = text.matches(" error: ").count();
        assert!(
            code == 78 && (100..=201).contains(&listed) && text.contains("mend these first"),
            "{code}, {listed} listed"
        );
    }
}

#[test]
fn a_slip_is_told_once_with_its_mend() {
    let house = House::new("");
    for (tables, mend) in [
        (ARCHIVE.replace("[[routes]]", "[routes]"), "write [[routes]] with two brackets"),
        (ARCHIVE.replace("[sinks.archive]", "[[sinks]]\nname = \"archive\""), "write [sinks.archive]"),
        (ARCHIVE.replace("\"file\"", "\"webhook\""), "did you mean `http`?"),
        (ARCHIVE.replace("match", "where = 'data.x == 1'\nmatch"), "begins with a full stop: `.data.x`"),
        (ARCHIVE.replace("path", "data_dir = \"x\"\npath"), "move it above the first [table]"),
        (ARCHIVE.replace("\"out/all.jsonl\"", "${OUT}"), "put the whole value in quotes"),
        (ARCHIVE.replace("path", "batch = [3]\npath"), "expected a table such as { max_events"),
    ] {
        house.configure(&tables);
        let (code, text) = check(&house);
        assert!(code == 78 && text.contains(mend), "{code}: {text}");
        assert_eq!(text.matches(" error: ").count(), 1, "{text}");
    }
}

#[test]
fn a_secret_that_was_never_filled_in_is_warned_of_and_not_shown() {
    let house = House::new(ARCHIVE);
    for value in ["\"hush-hush\"", "$HUSH", "{{HUSH}}", "env:HUSH", "%HUSH%"] {
        let (code, text) = said(&house.command(&["check"]).env("INTERAKT_WEBHOOK_SECRET", value).output().unwrap());
        assert!(
            code == 0 && text.contains("warning: [sources.interakt] `secret`: what `${INTERAKT_WEBHOOK_SECRET}`"),
            "{text}"
        );
        assert!(text.contains("help: ") && !text.to_lowercase().contains("hush"), "{text}");
    }
    write(&house, "\"${INTERAKT_WEBHOOK_SECRET}\"", "\"$INTERAKT_WEBHOOK_SECRET\"");
    let (code, text) = check(&house);
    assert!(code == 0 && text.contains("help: write `${INTERAKT_WEBHOOK_SECRET}`"), "{code}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_in_a_trusted_network_is_believed() {
    let house = House::new(ARCHIVE);
    write(&house, "[journal]", "trusted_proxies = [\"127.0.0.0/8\", \"::1\"]\n[journal]");
    let daemon = house.start();
    let body = br#"{"type":"t"}"#;
    let request = reqwest::Client::new().post(daemon.url()).header("Interakt-Signature", sign(body));
    let request = request.header("x-forwarded-for", "192.0.2.7").body(&body[..]);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
    let (_, text) = said(&house.command(&["journal", "dump", "--json"]).output().unwrap());
    assert!(text.contains("\"remote\":\"192.0.2.7\""), "{text}");
    assert_eq!(daemon.terminate(), 0);
}
