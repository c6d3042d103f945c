//! Three daemons and three brokers, of each of which one is killed every 30 seconds: the world and the oracle of
//! `tests/it/several_chaos`, for as long as asked.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use sink_testkit::kafka::{self, Cluster};

use crate::several_chaos::plan::Plan;

/// Whether the verdict is good. It is printed, and written beside the soak's.
pub async fn run(plan: Plan) -> bool {
    let Some((_, _alone)) = kafka::alone("soak, several daemons").await else { return true };
    let bar = ProgressBar::new(plan.kills);
    let style = "several {bar:40} {pos}/{len} kills of a daemon and a broker ({elapsed}, {eta} to go)";
    bar.set_style(ProgressStyle::with_template(style).unwrap());
    let verdict =
        crate::several_chaos::run(plan, Cluster::of_three(), "several", |round| bar.set_position(round)).await;
    bar.finish_and_clear();
    let report = format!("several, seed {}: a kill of each every {} s\n{verdict}", plan.seed, plan.period.as_secs());
    println!("{report}");
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("several.txt"), format!("{report}\n")).unwrap();
    verdict.is_good()
}
