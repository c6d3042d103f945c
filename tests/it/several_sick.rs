//! A sick sink costs its siblings nothing, on any node.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::several::Shared;
use crate::verbs;

fn tables(well: &Callback, sick: &Callback) -> String {
    let sink = |name: &str, url: String| {
        format!(
            "[sinks.{name}]\nkind = \"http\"\nurl = \"{url}\"\ntimeout = \"1s\"\n\
             retry = {{ initial = \"10ms\", max = \"100ms\" }}\n\
             breaker = {{ probe = \"10ms\", probe_max = \"100ms\" }}\n"
        )
    };
    let routes = "[[routes]]\nmatch = \"*\"\nto = [\"well\", \"sick\"]\n";
    [sink("well", well.url()), sink("sick", sick.url()), routes.to_owned()].concat()
}

async fn settles(house: &House, sink: &str, figures: [u64; 3]) {
    let names = ["accepted", "delivered", "pending"];
    wait_until("all is settled", || (verbs::figures(house, sink, names) == figures).then_some(())).await;
}

async fn has(callback: &Callback, ids: &BTreeSet<String>) {
    let has_all = || {
        let came: BTreeSet<String> = callback.got().into_iter().map(|got| got.id).collect();
        ids.is_subset(&came).then_some(())
    };
    wait_until("all arrived", has_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_holds_up_no_other_on_any_daemon_nor_while_one_is_started_anew() {
    let test = "a_sink_that_hangs_holds_up_no_other_on_any_daemon_nor_while_one_is_started_anew";
    let Some(shared) = Shared::new(test).await else { return };
    let (well, sick) = (Callback::start().await, Callback::start().await);
    // No call of it ever ends.
    sick.take_time(Duration::from_secs(3600));
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&well, &sick)));
    let (first, second) = (a.start(), b.start());
    let mut ids: BTreeSet<String> = post_all(&first.url(), (0..60).map(numbered)).await.into_iter().collect();
    ids.extend(post_all(&second.url(), (60..120).map(numbered)).await);
    has(&well, &ids).await;
    for house in [&a, &b] {
        settles(house, "well", [120, 120, 0]).await;
        settles(house, "sick", [120, 0, 120]).await;
    }
    // Each has a share of both, and its part of what hangs.
    let is_down = |house: &House| verbs::status(house)["sinks"]["sick"]["last_error"].is_object().then_some(());
    wait_until("it hangs on the one", || is_down(&a)).await;
    wait_until("it hangs on the other", || is_down(&b)).await;
    assert_eq!(first.terminate(), 0);
    let first = a.start();
    ids.extend(post_all(&first.url(), (120..180).map(numbered)).await);
    ids.extend(post_all(&second.url(), (180..240).map(numbered)).await);
    has(&well, &ids).await;
    second.kill();
    ids.extend(post_all(&first.url(), (240..300).map(numbered)).await);
    has(&well, &ids).await;
    settles(&a, "well", [300, 300, 0]).await;
    settles(&a, "sick", [300, 0, 300]).await;
    let second = b.start();
    sick.take_time(Duration::ZERO);
    has(&sick, &ids).await;
    for house in [&a, &b] {
        settles(house, "well", [300, 300, 0]).await;
        settles(house, "sick", [300, 300, 0]).await;
    }
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}
