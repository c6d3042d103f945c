//! A power-off under load: whatever was answered 200 is in the journal and in the sink's file after the next boot.

use crate::story::Story;

pub fn a_power_off_under_load_loses_nothing_that_was_answered(story: &mut Story) {
    let load = story.load();
    load.goes_on_for(100);
    story.machine.power_off_hard();
    let (answered, failed) = load.stop();
    assert!(!failed.is_empty(), "the power was not off");
    println!("boot: power-off: {answered} webhooks were answered before it");

    story.machine.power_on();
    let machine = &story.machine;
    machine.until("the service is up", "systemctl is-active hookrelay.service hookrelay.socket");
    assert_eq!(story.answered(&story.secret), 200);
    story.record.arrives_in(&story.out("all.jsonl"));
    let missing = story.record.missing_in(&machine.must("hookrelay journal dump --json"));
    assert_eq!(missing, None, "in the journal");
    machine.must("hookrelay journal verify");
}
