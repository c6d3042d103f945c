//! What has failed and is tried again: shown by `pending list`, and tried at once by `sink probe`.

use sink_testkit::HttpServer;
use sink_testkit::http::Reply;

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::verbs::{self, json_without_secret, verb_without_secret};

/// A sink that would not try again for an hour.
fn tables(url: &str) -> String {
    format!(
        "[log]\nlevel = \"debug\"\n[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\n\
         retry = {{ initial = \"1h\", max = \"1h\" }}\nbreaker = {{ probe = \"1h\", probe_max = \"1h\" }}\n\
         [[routes]]\nmatch = \"*\"\nto = \"crm\"\n"
    )
}

/// The sink's figures: delivered, pending, parked.
fn figures(house: &House) -> [u64; 3] {
    verbs::figures(house, "crm", ["delivered", "pending", "parked"])
}

fn probe(house: &House, exit: i32) -> String {
    verb_without_secret(house, exit, &["sink", "probe", "crm"])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_listed_and_a_probe_tries_it_at_once() {
    let callback = Callback::start().await;
    callback.answer_with(503);
    let house = House::new(&tables(&callback.url()));
    let daemon = house.start();
    assert_eq!(verb_without_secret(&house, 0, &["pending", "list"]), "nothing is pending\n");
    let ids = post_all(&daemon.url(), (0..2).map(numbered)).await;
    wait_until("both are parked", || {
        (json_without_secret(&house, &["pending", "list"]).as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let list = json_without_secret(&house, &["pending", "list"]);
    let second = &list[1];
    assert_eq!((&second["id"], &second["attempts"]), (&ids[1].as_str().into(), &1.into()), "{list}");
    assert_eq!(second["reason"]["code"], "http_5xx", "{list}");
    assert!(second["next_try"].as_str() > second["last_try"].as_str(), "{list}");
    let table = verb_without_secret(&house, 0, &["pending", "list"]);
    let heads = ["SINK", "ID", "TYPE", "SUBJECT", "TRIES", "LAST", "CODE", "NEXT", "TRY"];
    assert_eq!(table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), heads, "{table}");
    assert!(table.contains(ids[0].split_at(ids[0].len() - 8).1) && table.contains("min"), "{table}");
    assert_eq!(verb_without_secret(&house, 0, &["pending", "list", "--by", "code"]), "2 http_5xx\n");
    let none = json_without_secret(&house, &["pending", "list", "--type", "*_read"]);
    assert_eq!(none, serde_json::json!([]));
    for args in
        [["pending", "list", "--sink", "crn"], ["dead", "list", "--sink", "crn"], ["dead", "drop", "--sink", "crn"]]
    {
        let refused = verb_without_secret(&house, 1, &args);
        assert!(refused.contains("no sink `crn`, expected one of `crm`") && !refused.contains("answers"), "{refused}");
    }
    let gone = "01937e0c-5a1b-7c3d-8e4f-0123456789ab";
    assert!(verb_without_secret(&house, 1, &["pending", "list", gone]).contains(gone));
    assert!(verb_without_secret(&house, 1, &["dead", "list", gone, "--by", "code"]).contains(gone));
    assert!(verb_without_secret(&house, 1, &["tail", "--source", "crn"]).contains("`interakt`"));
    assert!(verb_without_secret(&house, 2, &["tail", "--where", ".a | ascii_downcas"]).contains('^'));

    verb_without_secret(&house, 0, &["sink", "pause", "crm"]);
    let table = verb_without_secret(&house, 0, &["pending", "list"]);
    assert!(table.lines().skip(1).all(|row| row.trim_end().ends_with("paused")), "{table}");
    let traced = verb_without_secret(&house, 0, &["trace", &ids[0]]);
    assert!(traced.contains("the sink is paused") && !traced.contains("next try"), "{traced}");
    let skipped = verb_without_secret(&house, 0, &["sink", "skip", "crm"]);
    assert!(skipped.ends_with("; 2 parked stay: see `pending list`\n"), "{skipped}");
    verb_without_secret(&house, 0, &["sink", "resume", "crm"]);

    let failed = probe(&house, 1);
    assert_eq!(failed, "sink crm: failed http_5xx: 503 Service Unavailable\n");
    callback.answer_with(200);
    for n in 1..=2 {
        assert_eq!(probe(&house, 0), "sink crm: delivered\n");
        wait_until("it is settled", || (figures(&house) == [n, 2 - n, 2 - n]).then_some(())).await;
    }
    assert_eq!(probe(&house, 0), "sink crm: nothing to try, but the sink opens\n");

    verb_without_secret(&house, 0, &["sink", "pause", "crm"]);
    assert!(probe(&house, 1).contains("paused"));
    post_all(&daemon.url(), (2..5).map(numbered)).await;
    let rest = verb_without_secret(&house, 0, &["pending", "list"]);
    assert_eq!(rest, "3 further deliveries wait in memory or in the journal, not parked: crm 3: paused\n");
    assert!(verb_without_secret(&house, 1, &["sink", "probe", "crn"]).contains("`crm`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_does_not_wait_for_a_breaker_that_is_open() {
    let server = HttpServer::always(Reply::Status(200)).await;
    let address = server.addr.to_string();
    server.stop().await;
    let house = House::new(&tables(&format!("http://{address}/hook")));
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    let opens = daemon.log.wait_for(|line| line.contains("does not take deliveries"));
    assert!(opens.is_some_and(|line| line.contains(&address)), "it says which host and port: {}", daemon.log.text());
    let tried = daemon.log.wait_for(|line| line.contains("a delivery was tried"));
    assert!(tried.is_some_and(|line| line.contains("connect")), "the attempt that opened it, too");
    let failed = probe(&house, 1);
    assert!(failed.starts_with(&format!("sink crm: failed connect: {address}: no connection")), "{failed}");
    assert_eq!(verbs::status(&house)["sinks"]["crm"]["breaker"], "open");
    server.resume().await;
    assert_eq!(probe(&house, 0), "sink crm: delivered\n");
    wait_until("it is well", || (figures(&house) == [1, 0, 0]).then_some(())).await;
    assert_eq!(verbs::status(&house)["sinks"]["crm"]["breaker"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_opens_a_sink_that_could_not_be_opened() {
    use std::os::unix::fs::PermissionsExt;

    let house = House::new(
        "[sinks.crm]\nkind = \"exec\"\ncommand = [\"./take\"]\nbreaker = { probe = \"1h\", probe_max = \"1h\" }\n\
         [[routes]]\nmatch = \"*\"\nto = \"crm\"\n",
    );
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    let failed = probe(&house, 1);
    assert!(failed.starts_with("sink crm: failed refused: "), "{failed}");
    let program = "#!/bin/sh\nwhile read -r line; do\n  id=${line#*\\\"id\\\":\\\"}\n\
                   \x20 echo \"{\\\"id\\\":\\\"${id%%\\\"*}\\\",\\\"outcome\\\":\\\"delivered\\\"}\"\ndone\n";
    std::fs::write(house.path("take"), program).unwrap();
    std::fs::set_permissions(house.path("take"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(probe(&house, 0), "sink crm: delivered\n");
}
