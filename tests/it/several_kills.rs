//! Daemons and brokers are killed (kill -9) under load, and nothing is lost, invented, or out of order. The long form
//! is `make soak ONLY=several`.

use std::time::Duration;

use sink_testkit::kafka::{self, Cluster};

use crate::several_chaos::plan::Plan;
use crate::several_chaos::run;

/// A daemon and a broker in each of these rounds. A session is over after 12 s, before some of them are back.
const KILLS: u64 = 3;
const PERIOD: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn of_three_daemons_and_three_brokers_one_of_each_is_killed_again_and_again_and_every_sink_has_what_kafka_has() {
    let test = "of_three_daemons_and_three_brokers_one_of_each_is_killed_again_and_again";
    // Nobody else uses the brokers meanwhile.
    let Some((_, _alone)) = kafka::alone(test).await else { return };
    let plan = Plan { seed: 20_261_201, kills: KILLS, period: PERIOD };
    let verdict = run(plan, Cluster::of_three(), "several_kills", |_| {}).await;
    println!("{verdict}");
    assert!(verdict.is_good(), "{verdict}");
}
