//! The suite every sink passes, in both formats.

use async_trait::async_trait;
use sink_api::{BuildError, Sink, SinkConfig};
use sink_testkit::{EventBuilder, Has, Repeats, Subject, event, run_all};

use crate::kit::{self, SIGNING_SECRET};
use sink_testkit::http::{HttpServer, Reply, Seen};

const TOKEN: &str = "bearer-token-2718";
const QUERY: &str = "query-token-1828";
const HEADER: &str = "header-token-4590";

struct Http {
    server: HttpServer,
    config: Box<dyn SinkConfig>,
    dir: tempfile::TempDir,
}

impl Http {
    async fn new(format: &str) -> Self {
        let server = HttpServer::start(answer).await;
        let url = server.url(&format!("/hooks/{{type}}?token={QUERY}"));
        let config = kit::config(&format!(
            "url = \"{url}\"\nformat = \"{format}\"\nbearer = \"{TOKEN}\"\n\
             headers = {{ X-Token = \"{HEADER}\" }}\nsign = {{ standard_webhooks = \"{SIGNING_SECRET}\" }}"
        ));
        Self { server, config, dir: tempfile::tempdir().unwrap() }
    }
}

fn answer(request: &Seen) -> Reply {
    match request.line.split(' ').nth(1).unwrap() {
        path if path.starts_with("/hooks/poison") => Reply::Status(422),
        path if path.starts_with("/hooks/") => Reply::Status(204),
        _ => Reply::Status(404),
    }
}

#[async_trait]
impl Subject for Http {
    fn config(&self) -> &dyn SinkConfig {
        self.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        kit::build_in(self.config.as_ref(), self.dir.path()).await
    }

    async fn delivered(&self) -> Vec<String> {
        let seen = self.server.seen().into_iter().filter(|request| request.status == 204);
        seen.map(|request| request.header("webhook-id").unwrap().to_owned()).collect()
    }

    fn poison(&self) -> Has<EventBuilder> {
        Has::Yes(event("poison"))
    }

    async fn take_down(&self) -> Has<()> {
        self.server.stop().await;
        Has::Yes(())
    }

    async fn bring_up(&self) {
        self.server.resume().await;
    }

    fn repeats(&self) -> Repeats {
        Repeats::MayDuplicate
    }

    fn secrets(&self) -> Vec<String> {
        let key = SIGNING_SECRET.trim_start_matches("whsec_");
        [TOKEN, QUERY, HEADER, key].map(str::to_owned).to_vec()
    }
}

#[tokio::test]
async fn the_sink_keeps_the_contract_with_raw_bodies() {
    let summary = run_all(&Http::new("raw").await).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[tokio::test]
async fn the_sink_keeps_the_contract_with_cloudevents() {
    let summary = run_all(&Http::new("cloudevents").await).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}
