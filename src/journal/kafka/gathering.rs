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
/// So many answers in a row with a gap, about a minute of them, are told.
const MANY: u32 = 20;
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
    /// Some are not; and by its client's id the member that is to join again, where there is one.
    Gap { whose: Option<String> },
}

/// When the group is asked, and what it has said.
#[derive(Default)]
pub(super) struct Gathering {
    due: Option<Instant>,
    asked: Option<Receiver<Seen>>,
    /// How often in a row there was a gap.
    gaps: u32,
}

impl Gathering {
    /// The group was rebalanced.
    pub fn assigned(&mut self) {
        // A question that is under way stays: its thread is waited for at the end.
        self.due = Some(Instant::now() + SETTLED);
        self.gaps = 0;
    }

    /// Whether the member is to leave the group and join it again, now. Asks the group where that is due; waits for
    /// nothing.
    pub fn is_to_join_anew(&mut self, member: &Arc<Member>) -> bool {
        let now = Instant::now();
        if self.asked.is_some() {
            return self.is_answered_so(now, &member.sink, &clients::member_id(&member.common.cluster, &member.sink));
        }
        if self.due.take_if(|due| *due <= now).is_some() {
            self.asked = Some(ask(member));
        }
        false
    }

    /// Whether the question that is under way has an answer by which the member, whose client has this id, is to join
    /// again.
    fn is_answered_so(&mut self, now: Instant, sink: &str, own: &str) -> bool {
        let seen = match self.asked.as_ref().map(Receiver::try_recv) {
            Some(Ok(seen)) => seen,
            // No thread could be had.
            Some(Err(TryRecvError::Disconnected)) => Seen::Unsettled,
            Some(Err(TryRecvError::Empty)) | None => return false,
        };
        self.asked = None;
        // Where the group was rebalanced since it was asked, the answer is of no use.
        self.due.is_none() && self.hear(seen, now, sink, own)
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
    fn hear(&mut self, seen: Seen, now: Instant, sink: &str, own: &str) -> bool {
        let Seen::Gap { whose } = seen else {
            self.gaps = 0;
            self.due = (seen == Seen::Unsettled).then_some(now + AGAIN);
            return false;
        };
        self.gaps = self.gaps.saturating_add(1);
        let joins = self.gaps > 1 && whose.as_deref() == Some(own);
        if joins {
            self.gaps = 0;
        } else if self.gaps.is_multiple_of(MANY) {
            let client = whose.unwrap_or_default();
            warn!(%sink, client, "some shards are no daemon's: the one with this client does not take care of them");
        }
        self.due = Some(now + if joins { SETTLED } else { AGAIN });
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
    Ok(judge(members, |client| clients::is_member_id(client, &member.sink), cluster.partitions))
}

/// What it comes to that these members, by their clients' ids, have these shards of so many. Of the daemons among them
/// one takes care of a gap; another member of the group, whoever let it join, would not.
fn judge(members: Vec<(&str, Vec<u32>)>, is_daemon: impl Fn(&str) -> bool, partitions: u32) -> Seen {
    if (0..partitions).all(|shard| members.iter().any(|(_, shards)| shards.contains(&shard))) {
        return Seen::Whole;
    }
    let daemons = members.iter().filter(|(client, _)| is_daemon(client));
    let fewest = daemons.min_by_key(|(client, shards)| (shards.len(), *client));
    Seen::Gap { whose: fewest.map(|(client, _)| (*client).to_owned()) }
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn of_shards_that_are_nobodys_the_member_with_the_fewest_takes_care_and_only_where_it_is_seen_twice() {
        let is_daemon = |client: &str| client != "0";
        let members = || vec![("b", vec![3, 4]), ("0", vec![]), ("c", vec![]), ("a", vec![])];
        assert_eq!(judge(vec![("b", vec![1, 2]), ("a", vec![0])], is_daemon, 3), Seen::Whole);
        let gap = |whose: &str| Seen::Gap { whose: Some(whose.to_owned()) };
        assert_eq!(judge(members(), is_daemon, 5), gap("a"));
        assert_eq!(judge(vec![("0", vec![])], is_daemon, 1), Seen::Gap { whose: None });
        let (now, mut gathering) = (Instant::now(), Gathering::default());
        let mut hear = |seen: Seen| (gathering.hear(seen, now, "s", "a"), gathering.due.map(|due| due - now));
        assert_eq!(hear(gap("a")), (false, Some(AGAIN)));
        assert_eq!(hear(Seen::Unsettled), (false, Some(AGAIN)));
        assert_eq!(hear(gap("c")), (false, Some(AGAIN)));
        assert_eq!(hear(gap("a")), (true, Some(SETTLED)));
        assert_eq!(hear(gap("a")), (false, Some(AGAIN)), "it has just joined again");
        assert_eq!(hear(Seen::Whole), (false, None));
    }

    #[test]
    fn an_answer_from_before_a_rebalance_counts_for_nothing_and_its_question_is_waited_for_at_the_end() {
        let (tell, asked) = sync_channel(1);
        let mut gathering = Gathering { due: None, asked: Some(asked), gaps: 1 };
        gathering.assigned();
        let due = gathering.due;
        assert!(!gathering.is_answered_so(Instant::now(), "s", "a"));
        tell.send(Seen::Gap { whose: Some("a".into()) }).unwrap();
        assert!(!gathering.is_answered_so(Instant::now(), "s", "a"), "the gap may be gone by now");
        assert!(gathering.gaps == 0 && gathering.due == due && gathering.asked.is_none());

        let (tell, asked) = sync_channel(1);
        gathering.asked = Some(asked);
        gathering.assigned();
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let question = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            ends.store(true, Ordering::Release);
            tell.send(Seen::Whole)
        });
        gathering.end();
        assert!(is_over.load(Ordering::Acquire), "the question is still under way");
        let _ = question.join().unwrap();
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
