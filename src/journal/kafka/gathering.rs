//! Sees that each shard is somebody's. A shard moves in two rebalances: by the first one its owner is to give it up,
//! and nobody has it; the owner then joins again, and by the second one it is another's. Where the owner's process is
//! started anew in between, the broker gives the new process what the first rebalance gave the old one (that is what a
//! member with a name of its own is for), and nobody joins again: the shard, and all that comes to it, would be
//! nobody's until the next daemon comes or goes.
//!
//! So a while after each assignment the group is asked who has which shards. Where some are nobody's for longer than
//! moving takes, one member leaves the group and joins it again: the one with the fewest shards, so that the least is
//! given up for that. Where that one has died the group shares its shards anyway once its session is over.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tracing::{debug, warn};

use super::clients;
use super::member::{DRAIN, Member, spawn};

/// After so long what was to move has moved: an owner takes at most [`DRAIN`] to give shards up, and then joins again.
const SETTLED: Duration = DRAIN.saturating_add(Duration::from_secs(5));
/// Pause until it is asked again, where it was not as it should be.
const AGAIN: Duration = Duration::from_secs(3);
/// Longest one question to a broker.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest that the end of a question is waited for.
const END: Duration = Duration::from_secs(3);
/// The state of a group in which nobody joins or waits for an assignment.
const STABLE: &str = "Stable";

/// What a group's coordinator says.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A rebalance is under way, or nothing is known.
    Unsettled,
    /// Each shard is somebody's.
    Whole,
    /// Some are not; and whether this member is the one to join again.
    Gap { is_ours: bool },
}

/// When the group is asked, and what it has said.
#[derive(Default)]
pub(super) struct Gathering {
    due: Option<Instant>,
    asked: Option<Receiver<Seen>>,
    /// Whether there was a gap when it was asked last.
    was_gap: bool,
}

impl Gathering {
    /// The group was rebalanced.
    pub fn assigned(&mut self) {
        *self = Self { due: Some(Instant::now() + SETTLED), ..Self::default() };
    }

    /// Whether the member is to leave the group and join it again, now. Asks the group where that is due; waits for
    /// nothing.
    pub fn is_to_join_anew(&mut self, member: &Arc<Member>) -> bool {
        let now = Instant::now();
        if let Some(asked) = &self.asked {
            let seen = match asked.try_recv() {
                Ok(seen) => seen,
                Err(TryRecvError::Empty) => return false,
                // No thread could be had.
                Err(TryRecvError::Disconnected) => Seen::Unsettled,
            };
            self.asked = None;
            return self.hear(seen, now);
        }
        if self.due.take_if(|due| *due <= now).is_some() {
            self.asked = Some(ask(member));
        }
        false
    }

    /// Waits for a question that is under way, but not for ever: the process may end next, and takes from under its
    /// threads what a client needs (OpenSSL cleans up at the exit).
    pub fn end(&mut self) {
        if let Some(asked) = self.asked.take() {
            // What the group says does not matter any more.
            let _ = asked.recv_timeout(END);
        }
    }

    /// Twice in a row there must be a gap: an owner that was slow may have joined again in between.
    fn hear(&mut self, seen: Seen, now: Instant) -> bool {
        let had_gap = std::mem::replace(&mut self.was_gap, matches!(seen, Seen::Gap { .. }));
        let joins = had_gap && seen == Seen::Gap { is_ours: true };
        if joins {
            self.was_gap = false;
        }
        self.due = match seen {
            Seen::Whole => None,
            _ if joins => Some(now + SETTLED),
            _ => Some(now + AGAIN),
        };
        joins
    }
}

/// Asks the group's coordinator, on a thread of its own.
fn ask(member: &Arc<Member>) -> Receiver<Seen> {
    let (tell, asked) = sync_channel(1);
    let (this, sink) = (Arc::clone(member), member.sink.clone());
    let asking = spawn("kafka-gather", &sink, move || {
        let seen = look(&this).unwrap_or_else(|error| {
            debug!(sink = %this.sink, %error, "the group cannot be asked who has which shards");
            Seen::Unsettled
        });
        // Whoever asked may have been assigned shards meanwhile, or have ended.
        let _ = tell.send(seen);
    });
    if let Err(error) = asking {
        warn!(%sink, %error, "the group is not asked who has which shards; trying again");
    }
    asked
}

fn look(member: &Member) -> Result<Seen, KafkaError> {
    let cluster = &member.common.cluster;
    let (group, topic) = (cluster.group(&member.sink), cluster.events());
    let client = clients::looker(cluster, &member.sink)?;
    // Only a client that has seen the brokers can ask each of them which groups it has.
    client.fetch_metadata(Some(&topic), ANSWER)?;
    let groups = client.fetch_group_list(Some(&group), ANSWER)?;
    let Some(group) = groups.groups().iter().find(|found| found.name() == group && found.state() == STABLE) else {
        return Ok(Seen::Unsettled);
    };
    let shards = |assignment| shards(assignment, &topic);
    let members = group.members().iter();
    let members = members.map(|one| (one.client_id(), one.assignment().map(shards).unwrap_or_default())).collect();
    let is_daemon = |client: &str| clients::is_member_id(client, &member.sink);
    Ok(judge(members, &clients::member_id(cluster, &member.sink), is_daemon, cluster.partitions))
}

/// What it comes to that these members, by their clients' ids, have these shards of so many. Of the daemons among them
/// one takes care of a gap; another member of the group, whoever let it join, would not.
fn judge(members: Vec<(&str, Vec<u32>)>, own: &str, is_daemon: impl Fn(&str) -> bool, partitions: u32) -> Seen {
    if (0..partitions).all(|shard| members.iter().any(|(_, shards)| shards.contains(&shard))) {
        return Seen::Whole;
    }
    let daemons = members.iter().filter(|(client, _)| is_daemon(client));
    let fewest = daemons.min_by_key(|(client, shards)| (shards.len(), *client));
    Seen::Gap { is_ours: fewest.is_some_and(|(client, _)| *client == own) }
}

/// The partitions of a topic in an assignment as the consumers of a group write it (`ConsumerProtocolAssignment`: a
/// version, then of each topic its name and its partitions); what cannot be read is none.
fn shards(assignment: &[u8], topic: &str) -> Vec<u32> {
    let mut bytes = assignment;
    let mut found = vec![];
    let mut read = || -> Option<()> {
        take::<2>(&mut bytes)?;
        for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
            let length = u16::from_be_bytes(take(&mut bytes)?).into();
            let (name, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
                let partition = u32::from_be_bytes(take(&mut bytes)?);
                if name == topic.as_bytes() {
                    found.push(partition);
                }
            }
        }
        Some(())
    };
    match read() {
        Some(()) => found,
        None => vec![],
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_shards_that_are_nobodys_the_member_with_the_fewest_takes_care_and_only_where_it_is_seen_twice() {
        let is_daemon = |client: &str| client != "0";
        let members = || vec![("b", vec![3, 4]), ("0", vec![]), ("c", vec![]), ("a", vec![])];
        let judged = |own: &str| judge(members(), own, is_daemon, 5);
        assert_eq!(judge(vec![("b", vec![1, 2]), ("a", vec![0])], "a", is_daemon, 3), Seen::Whole);
        assert_eq!(["a", "b", "c"].map(|own| judged(own) == Seen::Gap { is_ours: true }), [true, false, false]);
        let (now, mut gathering) = (Instant::now(), Gathering::default());
        let mut hear = |seen: Seen| (gathering.hear(seen, now), gathering.due.map(|due| due - now));
        assert_eq!(hear(Seen::Gap { is_ours: true }), (false, Some(AGAIN)));
        assert_eq!(hear(Seen::Unsettled), (false, Some(AGAIN)));
        assert_eq!(hear(Seen::Gap { is_ours: false }), (false, Some(AGAIN)));
        assert_eq!(hear(Seen::Gap { is_ours: true }), (true, Some(SETTLED)));
        assert_eq!(hear(Seen::Gap { is_ours: true }), (false, Some(AGAIN)), "it has just joined again");
        assert_eq!(hear(Seen::Whole), (false, None));
    }

    #[test]
    fn an_assignment_is_read_as_members_write_it_and_what_is_none_gives_nothing() {
        let topic = |name: &str, partitions: &[u32]| {
            let mut bytes = (name.len() as u16).to_be_bytes().to_vec();
            bytes.extend(name.bytes());
            bytes.extend((partitions.len() as u32).to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
            bytes
        };
        let of = |topics: &[Vec<u8>]| [&[0, 1], &(topics.len() as u32).to_be_bytes()[..], &topics.concat()].concat();
        let whole = of(&[topic("other", &[7]), topic("events", &[0, 5])]);
        assert_eq!(shards(&[&whole[..], &[0, 0, 0, 0]].concat(), "events"), [0, 5]);
        assert_eq!(shards(&of(&[]), "events"), [0; 0]);
        for cut in 0..whole.len() {
            assert_eq!(shards(&whole[..cut], "events"), [0; 0], "cut at {cut}");
        }
        assert_eq!(shards(&[0xff; 64], "events"), [0; 0]);
    }
}
