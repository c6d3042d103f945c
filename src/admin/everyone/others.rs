//! Asks the other daemons: all at once, each for what it has itself, and no longer than is bearable.
//!
//! Another daemon is somebody who may hang. Each has a little more time than this daemon takes for its own answer
//! ([`Question::grace`]); one that was not there is not asked again for some seconds, so that it makes no answer slow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sink_api::Secret;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::reach::reach;
use crate::admin::client::{self, AskError};
use crate::admin::{AdminConfig, NO_SINK, Refusal, Unanswered};
use crate::ledger::nodes::{Node, Nodes};

/// Most other daemons that are asked; of more, those at the end of the alphabet are named as not asked.
const MOST: usize = 32;
/// How much longer than its own answer this daemon waits for those of others.
const GRACE: Duration = Duration::from_secs(2);
/// The same where something is to be changed: a transaction takes its time.
const CHANGES: Duration = Duration::from_secs(10);
/// For how long one that was not there is taken to be away.
const AWAY: Duration = Duration::from_secs(5);
/// What is said of the others where it is not known who they are.
pub const UNKNOWN: &str = "?";
/// What is said of one that does not know the token.
const OTHER_TOKEN: &str = "it does not take this daemon's token: [admin] `token` is to be the same on all";
/// The media type of questions and answers.
const JSON: &str = "application/json";

/// The way to the other daemons.
pub(super) struct Others {
    nodes: Arc<dyn Nodes>,
    /// This daemon's name, and its host's.
    own: String,
    host: String,
    token: Option<Secret>,
    away: Mutex<HashMap<String, Away>>,
}

/// One that was not there.
struct Away {
    until: Instant,
    admin: String,
    why: String,
}

/// What all are asked.
#[derive(Clone)]
pub(super) struct Question {
    method: Method,
    path: String,
    accept: &'static str,
    body: Vec<u8>,
    grace: Duration,
}

impl Question {
    /// Asks as the verbs do, with the question in the body.
    pub fn get(path: impl Into<String>, question: &impl Serialize) -> Self {
        let body = serde_json::to_vec(question).ok().filter(|body| body != b"null").unwrap_or_default();
        Self { method: Method::GET, path: path.into(), accept: JSON, body, grace: GRACE }
    }

    /// The same for what is asked by `POST`, and changes nothing.
    pub fn post(path: &str, question: &impl Serialize) -> Self {
        Self { method: Method::POST, ..Self::get(path, question) }
    }

    /// The same for what changes something.
    pub fn change(path: &str, question: &impl Serialize) -> Self {
        Self { grace: CHANGES, ..Self::post(path, question) }
    }

    /// An answer of that media type instead of JSON.
    pub fn accepting(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }
}

/// Why a daemon said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    /// It knows of no such thing, and so has nothing to add.
    Missing,
    /// It is not there, or refuses.
    Why(String),
}

/// What the others said, by name.
pub(super) struct Said<T> {
    /// This daemon, as the others see it; `None` before it was announced.
    pub own: Option<Node>,
    pub others: Vec<(Node, Result<T, Silent>)>,
    /// Why it is not known who they are.
    pub unknown: Option<String>,
}

impl Others {
    pub fn new(nodes: Arc<dyn Nodes>, own: &str, host: &str, config: &AdminConfig) -> Self {
        let (own, host) = (own.to_owned(), host.to_owned());
        Self { nodes, own, host, token: config.token.clone(), away: Mutex::default() }
    }

    /// This daemon's name.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// Waits for this daemon's own answer, and asks the others at the same time.
    pub async fn ask<O: Send>(&self, own: impl Future<Output = O> + Send, question: Question) -> (O, Said<Bytes>) {
        let (done, is_done) = watch::channel(false);
        let own = async {
            let own = own.await;
            done.send_replace(true);
            own
        };
        tokio::join!(own, self.all(question, &is_done))
    }

    async fn all(&self, question: Question, is_done: &watch::Receiver<bool>) -> Said<Bytes> {
        let nodes = match self.nodes.all().await {
            Ok(nodes) => nodes,
            Err(error) => return Said { own: None, others: vec![], unknown: Some(error.to_string()) },
        };
        let (own, others): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.name == self.own);
        self.away().retain(|name, _| others.iter().any(|node| node.name == *name));
        let (mut said, mut asking) = (Vec::with_capacity(others.len()), JoinSet::new());
        for (n, node) in others.into_iter().enumerate() {
            let way =
                if n < MOST { self.way(&node) } else { Err(format!("not asked: it is none of the first {MOST}")) };
            match way {
                Err(why) => said.push((node, Err(Silent::Why(why)))),
                Ok(config) => {
                    let (question, is_done) = (question.clone(), is_done.clone());
                    asking.spawn(async move {
                        let answer = one(&config, &node.name, question, is_done).await;
                        (node, answer)
                    });
                }
            }
        }
        while let Some(asked) = asking.join_next().await {
            // It cannot fail but by a panic, which was reported.
            let Ok((node, answer)) = asked else { continue };
            if let Err(Failed::Away(why)) = &answer {
                let away = Away { until: Instant::now() + AWAY, admin: node.admin.clone(), why: why.clone() };
                self.away().insert(node.name.clone(), away);
            }
            said.push((node, answer.map_err(Failed::silent)));
        }
        said.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Said { own: own.into_iter().next(), others: said, unknown: None }
    }

    /// How a daemon is asked, or why it is not.
    fn way(&self, node: &Node) -> Result<AdminConfig, String> {
        if let Some(Away { until, admin, why }) = self.away().get(&node.name)
            && *admin == node.admin
            && *until > Instant::now()
        {
            return Err(why.clone());
        }
        reach(node, &self.host, self.token.as_ref())
    }

    fn away(&self) -> MutexGuard<'_, HashMap<String, Away>> {
        // Valid whoever panicked: each change is made at once.
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no answer.
enum Failed {
    Away(String),
    Refused(u16, String),
}

impl Failed {
    fn silent(self) -> Silent {
        match self {
            Self::Refused(404, _) => Silent::Missing,
            // Of a sink that is out of the config another daemon may have rows still.
            Self::Refused(400, why) if why.starts_with(NO_SINK) => Silent::Missing,
            Self::Away(why) | Self::Refused(_, why) => Silent::Why(one_line(&why)),
        }
    }
}

async fn one(
    config: &AdminConfig,
    name: &str,
    question: Question,
    mut is_done: watch::Receiver<bool>,
) -> Result<Bytes, Failed> {
    let Question { method, path, accept, body, grace } = question;
    let late = async {
        // An error says that nobody waits any more.
        let _ = is_done.wait_for(|done| *done).await;
        sleep(grace).await;
    };
    tokio::select! {
        answer = client::ask_node(config, name, (method, &path), accept, body) => answer.map_err(|error| match error {
            AskError::NoDaemon { at, why } | AskError::NotOurs { at, why } => {
                Failed::Away(format!("nobody answers at {at}: {why}"))
            }
            // It is left alone for a while: too many wrong tokens would have this machine locked out.
            AskError::Refused { status: 401, .. } => Failed::Away(OTHER_TOKEN.to_owned()),
            AskError::Refused { status, why, .. } => Failed::Refused(status, why),
        }),
        () = late => Err(Failed::Away(format!("no answer within {} s", grace.as_secs()))),
    }
}

impl Said<Bytes> {
    /// The answers, read from JSON.
    pub fn read<T: DeserializeOwned>(self) -> Said<T> {
        let read = |bytes: Bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|error| Silent::Why(format!("its answer is not understood: {error}")))
        };
        let others = self.others.into_iter().map(|(node, said)| (node, said.and_then(read))).collect();
        Said { own: self.own, others, unknown: self.unknown }
    }
}

impl<T> Said<T> {
    /// All that was said, this daemon's own first, and who said nothing.
    ///
    /// # Errors
    /// This daemon's, where nobody else knows better.
    pub fn with(self, name: &str, own: Result<T, Refusal>) -> Result<(Vec<T>, Vec<Unanswered>), Refusal> {
        let (mut all, mut unanswered) = (Vec::new(), Vec::new());
        let not_own = match own {
            Ok(own) => {
                all.push(own);
                None
            }
            Err(Refusal::Question(why)) if !why.starts_with(NO_SINK) => return Err(Refusal::Question(why)),
            Err(refusal @ (Refusal::Missing(_) | Refusal::Unable(_) | Refusal::Question(_))) => Some(refusal),
            Err(refusal) => return Err(refusal),
        };
        for (node, said) in self.others {
            match said {
                Ok(said) => all.push(said),
                Err(Silent::Missing) => {}
                Err(Silent::Why(why)) => unanswered.push(Unanswered { node: node.name, why }),
            }
        }
        match not_own {
            Some(refusal) if all.is_empty() => return Err(refusal),
            Some(Refusal::Unable(why)) => {
                unanswered.insert(0, Unanswered { node: name.to_owned(), why: one_line(&why) });
            }
            _ => {}
        }
        unanswered.extend(self.unknown.map(|why| Unanswered { node: UNKNOWN.to_owned(), why: unknown(&why) }));
        Ok((all, unanswered))
    }
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).collect::<Vec<_>>().join("; ")
}

/// That it is not known who the others are.
pub(super) fn unknown(why: &str) -> String {
    format!("which other daemons there are is not known: {why}")
}
