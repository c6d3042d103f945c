//! What failed is sent again, over kills: the world and the oracle of `tests/it/resend_proof.rs`, for as long as asked;
//! once as it is, and once with a stand-in of Interakt's API that loses every tenth answer. Each life takes a share of
//! the failed messages, and ends at a random moment; some are killed while they start.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::{Dice, Resends};
use crate::resend_proof::World;

/// Every so many-th answer is lost, in the second run.
const LOSES: u64 = 10;

/// Runs both; whether both verdicts are good. They are printed, and written beside the soak's.
pub async fn run(plan: Resends) -> bool {
    let mut report = String::new();
    let mut is_good = true;
    for loses in [None, Some(LOSES)] {
        let verdict = prove(plan, loses).await;
        let Resends { failed, kills, seed } = plan;
        let answers = if loses.is_some() { "every tenth answer lost" } else { "no answer lost" };
        let text = format!("resends, seed {seed}: {failed} failed, {kills} kills, {answers}\n{verdict}");
        println!("{text}");
        report.push_str(&text);
        report.push('\n');
        is_good &= verdict.is_good();
    }
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("resends.txt"), report).unwrap();
    is_good
}

async fn prove(plan: Resends, loses: Option<u64>) -> crate::resend_proof::Verdict {
    let mut world = World::new(plan.failed, plan.seed, loses).await;
    let mut dice = Dice::new(plan.seed);
    let bar = ProgressBar::new(plan.kills);
    let style = "resends {bar:40} {pos}/{len} kills, {msg} ({elapsed}, {eta} to go)";
    bar.set_style(ProgressStyle::with_template(style).unwrap());
    for life in 0..plan.kills {
        if dice.roll(4) == 0 {
            world.kill_while_starting(Duration::from_millis(dice.roll(300)));
        }
        let daemon = world.start();
        let share = plan.failed * (life + 1) / plan.kills - plan.failed * life / plan.kills;
        for _ in 0..share {
            world.send_first();
            tokio::time::sleep(Duration::from_millis(dice.roll(10))).await;
        }
        // The random moment is what is wanted, not something that happens then.
        tokio::time::sleep(Duration::from_millis(dice.roll(1500))).await;
        tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
        bar.set_message(format!("{} taken", world.stand_in.taken().len()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let daemon = world.start();
    let verdict = world.judge().await;
    if daemon.terminate() != 0 {
        println!("resends: the daemon did not stop as it should");
    }
    verdict
}
