//! The suite of `sink-testkit`, with a program that can be taken away as its target.

use std::os::unix::fs::symlink;

use sink_api::{BuildError, Sink, SinkConfig, async_trait};
use sink_testkit::{EventBuilder, Has, Repeats, Subject, event, wait_until};

use crate::{Fixture, runs};

/// Keeps ids in `arrived`, tells them its secret, and refuses what is of type `poison`.
const PROGRAM: &str = r#"
echo $$ >>pids
echo "my token is $TOKEN" >&2
while next; do
    case $line in
        *'"type":"poison"'*) printf '{"id":"%s","outcome":"reject","code":"poison","detail":"%s"}\n' "$id" "$TOKEN" ;;
        *) printf '%s\n' "$id" >>arrived; say delivered ;;
    esac
done
"#;
const SECRET: &str = "hush-hush-hush";

struct Program(Fixture);

impl Program {
    fn new(more: &str) -> Self {
        let env = format!("{{ TOKEN = \"{SECRET}\" }}");
        let lines = format!("command = [\"./shell\", \"program.sh\", \"{SECRET}\"]\nenv = {env}\n{more}");
        let fixture = Fixture::with(&lines, PROGRAM);
        symlink("/bin/sh", fixture.path("shell")).unwrap();
        Self(fixture)
    }
}

#[async_trait]
impl Subject for Program {
    fn config(&self) -> &dyn SinkConfig {
        self.0.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.0.build().await
    }

    async fn delivered(&self) -> Vec<String> {
        self.0.lines("arrived")
    }

    fn poison(&self) -> Has<EventBuilder> {
        Has::Yes(event("poison"))
    }

    async fn take_down(&self) -> Has<()> {
        std::fs::remove_file(self.0.path("shell")).unwrap();
        for pid in self.0.lines("pids") {
            if runs(&pid) {
                let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        }
        wait_until("the program is gone", || !self.0.lines("pids").iter().any(|pid| runs(pid))).await;
        Has::Yes(())
    }

    async fn bring_up(&self) {
        if !self.0.path("shell").exists() {
            symlink("/bin/sh", self.0.path("shell")).unwrap();
        }
    }

    fn repeats(&self) -> Repeats {
        Repeats::MayDuplicate
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let summary = sink_testkit::run_all(&Program::new("")).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[tokio::test]
async fn keeps_the_contract_on_one_thread() {
    let summary = sink_testkit::run_all(&Program::new("max_line = \"4KiB\"")).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}
