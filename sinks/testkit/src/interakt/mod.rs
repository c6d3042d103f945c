//! A **stand-in** of Interakt's send API, for tests and for `make demo`. It is not Interakt: it behaves as far as the
//! public pages say how Interakt does, sends nothing to anybody, and where nothing is known it says what it invents.
//!
//! A call is checked by the API's rules ([`check`]) and answered; a message that was taken then goes its course
//! ([`course`]: a pure function of template, phone, attempt and seed), and each status of it is posted to the daemon as
//! a signed webhook ([`body`], `post`). It keeps what it took and what it told ([`record`]): an oracle that knows
//! nothing of the daemon's own files. Faults ([`Fault`]) are injected into its answers.
//!
//! Invented are: the words of 401 and of the refusals that no page quotes; how long a status takes; which code comes
//! when. Interakt posts a webhook once and waits 3 s for its answer; so does the stand-in, unless
//! [`Webhooks::until_taken`] says otherwise.

pub mod body;
pub mod check;
pub mod course;
mod post;
pub mod record;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::http::{HttpServer, Reply, Seen, Then};
use crate::lock::lock;

use check::{Message, Refusal, Template};
use course::{Asked, Script};
use post::Poster;
pub use post::Webhooks;
use record::{Record, Taken};

/// The key that [`Options`] begins with.
pub const KEY: &str = "c3RhbmQtaW46bm90LWludGVyYWt0";
/// What Interakt says of a message that it took.
const QUEUED: &str = "Message queued for sending via Interakt. Check webhook for delivery status";
/// What it says to who calls too often.
const TOO_MANY: &str = "Rate limit exceeded for this resource";
/// What follows the base of [`StandIn::url`], with the slash at its end.
const PATH: &str = "/v1/public/message/";

/// How the stand-in is to behave.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0 is a free one.
    pub listen: SocketAddr,
    /// The API key that must come as `Basic <key>`.
    pub key: String,
    /// The templates that it knows, beside those that are named by their course.
    pub templates: Vec<Template>,
    /// What becomes of a message.
    pub script: Script,
    /// What chance begins with.
    pub seed: u64,
    /// Whom it tells of statuses; nobody where there is none.
    pub webhooks: Option<Webhooks>,
    /// How many calls it takes in how long.
    pub limit: Option<Limit>,
    /// How many messages it keeps, and how many may be on their way at once: beyond, calls are answered 503.
    pub keep: usize,
}

impl Default for Options {
    /// On a free port, with [`KEY`], courses by the template's name at a pace of a second, and nobody who is told.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            key: KEY.to_owned(),
            templates: Template::samples(),
            script: course::by_name(Duration::from_secs(1)),
            seed: 0,
            webhooks: None,
            limit: None,
            keep: 10_000,
        }
    }
}

/// How many calls are taken in how long; windows follow one another.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Calls in a window.
    pub calls: u32,
    /// How long a window is.
    pub within: Duration,
    /// Whether the answer has a `Retry-After`: whole seconds until the window ends.
    pub says_when: bool,
}

/// What goes wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The message is taken, and the connection closed without an answer.
    Lost,
    /// The message is taken, and no answer ever comes.
    Hangs,
    /// The message is taken, and in the place of the answer comes a gateway's: this status, with a text that is no
    /// JSON.
    Gateway(u16),
    /// Nothing is taken; this status (5xx), with a text that is no JSON.
    Broken(u16),
    /// Nothing is taken; 201 with a body that does not parse.
    Garbage,
}

/// The server. Dropped, it answers nobody and tells nobody any more.
pub struct StandIn {
    server: HttpServer,
    desk: Arc<Desk>,
}

/// What answers calls.
struct Desk {
    key: String,
    templates: Vec<Template>,
    script: Script,
    seed: u64,
    limit: Option<Limit>,
    keep: usize,
    poster: Option<Arc<Poster>>,
    record: Arc<Mutex<Record>>,
    state: Mutex<State>,
    runtime: Handle,
    courses: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    /// Each fault, and every how many-th call has it.
    faults: Vec<(Fault, u64)>,
    /// Calls that had no other reason to be refused.
    calls: u64,
    /// When the window began, and how many calls it has had.
    window: Option<(Instant, u32)>,
    /// How many calls were answered how; 0 is no answer.
    answers: BTreeMap<u16, u64>,
}

impl StandIn {
    /// Starts it. Must be called inside a tokio runtime, whose tasks the webhooks become.
    pub async fn start(options: Options) -> Self {
        let poster = options.webhooks.map(|webhooks| Arc::new(Poster::new(webhooks)));
        let desk = Arc::new(Desk {
            key: options.key,
            templates: options.templates,
            script: options.script,
            seed: options.seed,
            limit: options.limit,
            keep: options.keep,
            poster,
            record: Arc::new(Mutex::new(Record::new(options.keep))),
            state: Mutex::default(),
            runtime: Handle::current(),
            courses: Mutex::default(),
        });
        let asked = Arc::clone(&desk);
        let server = HttpServer::start_at(options.listen, move |request| asked.answer(request)).await;
        Self { server, desk }
    }

    /// The base of the API: what the sink's `url` is.
    pub fn url(&self) -> String {
        self.server.url("/v1")
    }

    /// Takes a message as if another program had sent it: by the API's rules, but for key, limit and faults. Gives its
    /// id.
    ///
    /// # Errors
    /// What the API would have answered.
    pub fn send(&self, request: &Value) -> Result<Uuid, Refusal> {
        let message = check::check(request.to_string().as_bytes(), &self.desk.templates)?;
        self.desk.take(message, true)
    }

    /// Tells of statuses at this URL from now on, those included that were not taken yet.
    pub fn call_back(&self, url: &str) {
        if let Some(poster) = &self.desk.poster {
            poster.call_back(url);
        }
    }

    /// From now on every so many-th call has a fault; of several that fall together the first counts.
    pub fn set_faults(&self, faults: &[(Fault, u64)]) {
        lock(&self.desk.state).faults = faults.to_vec();
    }

    /// How many calls were answered how; 0 is no answer.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        lock(&self.desk.state).answers.clone()
    }

    /// What it took, with what it told of each, in the order it was taken.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.desk.record).all()
    }

    /// How many messages it has taken and does not keep any more.
    pub fn forgotten(&self) -> u64 {
        lock(&self.desk.record).forgotten()
    }

    /// How many messages have not come to the end of their course.
    pub fn under_way(&self) -> usize {
        let mut courses = lock(&self.desk.courses);
        while courses.try_join_next().is_some() {}
        courses.len()
    }

    /// Closes its port and all connections. Courses go on.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Opens the same port again.
    pub async fn resume(&self) {
        self.server.resume().await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        lock(&self.desk.courses).abort_all();
    }
}

impl Desk {
    fn answer(&self, request: &Seen) -> Reply {
        let (reply, status) = match self.take_call(request) {
            Ok(reply) => reply,
            Err(refusal) => (refusal.reply(), refusal.status),
        };
        *lock(&self.state).answers.entry(status).or_default() += 1;
        reply
    }

    fn take_call(&self, request: &Seen) -> Result<(Reply, u16), Refusal> {
        let mut words = request.line.split(' ');
        match (words.next(), words.next()) {
            (Some("POST"), Some(PATH)) => {}
            (_, Some(PATH)) => return Err(Refusal::new(405, "Method not allowed")),
            _ => return Err(Refusal::new(404, "Not found")),
        }
        if request.header("authorization").and_then(|value| value.strip_prefix("Basic ")) != Some(&self.key) {
            return Err(Refusal::new(401, "Invalid API key"));
        }
        self.within_limit()?;
        let message = check::check(&request.body, &self.templates)?;
        let fault = self.next_fault();
        match fault {
            Some(Fault::Broken(status)) => return Ok((of_gateway(status), status)),
            Some(Fault::Garbage) => return Ok((answer(201, "", "{\"result\":tr"), 201)),
            Some(Fault::Lost | Fault::Hangs | Fault::Gateway(_)) | None => {}
        }
        let id = self.take(message, fault.is_none())?;
        Ok(match fault {
            Some(Fault::Lost) => (Reply::Bytes(Vec::new(), Then::Close), 0),
            Some(Fault::Hangs) => (Reply::Bytes(Vec::new(), Then::Hang), 0),
            Some(Fault::Gateway(status)) => (of_gateway(status), status),
            _ => (answer(201, "", &json!({"result": true, "message": QUEUED, "id": id.to_string()}).to_string()), 201),
        })
    }

    fn within_limit(&self) -> Result<(), Refusal> {
        let Some(limit) = self.limit else { return Ok(()) };
        let (now, mut state) = (Instant::now(), lock(&self.state));
        let (began, calls) = match state.window {
            Some((began, calls)) if now < began + limit.within => (began, calls),
            _ => (now, 0),
        };
        state.window = Some((began, calls + 1));
        if calls < limit.calls {
            return Ok(());
        }
        let left = (began + limit.within - now).as_secs_f64().ceil();
        let headers = if limit.says_when { format!("retry-after: {left}\r\n") } else { String::new() };
        Err(Refusal { headers, ..Refusal::new(429, TOO_MANY) })
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut state = lock(&self.state);
        state.calls += 1;
        let calls = state.calls;
        state.faults.iter().find(|(_, every)| calls.is_multiple_of((*every).max(1))).map(|(fault, _)| fault.clone())
    }

    /// Writes the message down, and lets its course begin.
    fn take(&self, message: Message, is_answered: bool) -> Result<Uuid, Refusal> {
        let mut courses = lock(&self.courses);
        while courses.try_join_next().is_some() {}
        if courses.len() >= self.keep {
            return Err(Refusal::new(503, "too many messages are on their way in the stand-in"));
        }
        let (id, at, message) = (random_id(), Instant::now(), Arc::new(message));
        let attempt = lock(&self.record).attempts(&message.phone);
        let asked = Asked { template: message.template_name(), phone: &message.phone, attempt, seed: self.seed };
        let course = (self.script)(&asked);
        let taken = Taken { id, attempt, is_answered, at, message: Arc::clone(&message), told: Vec::new() };
        let number = lock(&self.record).add(taken);
        if let Some(poster) = &self.poster {
            let (poster, record) = (Arc::clone(poster), Arc::clone(&self.record));
            let teller = post::Teller { id, number, message, taken: SystemTime::now(), poster, record };
            courses.spawn_on(teller.tell(course), &self.runtime);
        }
        Ok(id)
    }
}

impl Refusal {
    fn reply(&self) -> Reply {
        answer(self.status, &self.headers, &json!({"result": false, "message": self.message}).to_string())
    }
}

/// What stands between the API and its callers says that something went wrong.
fn of_gateway(status: u16) -> Reply {
    let text = "upstream connect error";
    let head = format!("HTTP/1.1 {status} Broken\r\ncontent-length: {}\r\n\r\n", text.len());
    Reply::Bytes([head, text.to_owned()].concat().into(), Then::Keep)
}

fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = "content-type: application/json\r\n";
    Reply::Bytes(
        format!("HTTP/1.1 {status} Whatever\r\n{head}content-length: {length}\r\n{headers}\r\n{body}").into_bytes(),
        Then::Keep,
    )
}

/// A version 4 UUID, as Interakt's ids are.
fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    let digest = Sha256::digest(Uuid::now_v7().as_bytes());
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
