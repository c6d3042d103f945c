//! Takes shards over, and lets go of them, away from the thread that polls: where the sink stands in them, what is held
//! of it there, then they are ready to be read. What fails is tried again for as long as the shards are assigned.

use std::time::{Duration, Instant};

use tracing::{debug, error, warn};

use super::clients;
use super::group::GroupError;
use super::member::Member;
use super::rows;
use super::seam::Stand;
use super::shards::{Taken, Work};
use super::standing;
use crate::journal::{CursorsError, Position};

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it is believed that a cursor which is not there will be: brokers may say so for a moment (KAFKA-20416).
const MISSING: Duration = Duration::from_secs(10);
/// How often it is asked whether a topic really ends before a cursor.
const BEYOND: usize = 5;
/// How often the keeper is asked to forget.
const TRIES: usize = 3;

/// What is done for a member until it ends. Blocks.
pub(super) fn run(member: &Member) {
    while let Some(Work { gone, take }) = member.shards.work() {
        if !gone.is_empty() {
            forget(member, &gone);
            member.shards.forgot();
        }
        let mut take_over = Takeover { member, wanted: take, missing: None };
        while let Err(error) = take_over.run() {
            warn!(sink = %member.sink, %error, "shards cannot be taken over; trying again");
            std::thread::sleep(PAUSE);
        }
    }
}

fn forget(member: &Member, gone: &[u32]) {
    let keeper = &member.common.keeper;
    for _ in 0..TRIES {
        match member.common.runtime.block_on(keeper.gone(&member.sink, gone.to_vec())) {
            Ok(()) => return,
            // What is kept too long is forgotten when the shard is taken again.
            Err(error) => error!(sink = %member.sink, shards = ?gone, %error, "what is kept of another's shards stays"),
        }
        std::thread::sleep(PAUSE);
    }
}

struct Takeover<'m> {
    member: &'m Member,
    /// Shards with their tickets.
    wanted: Vec<(u32, u64)>,
    /// Since when a cursor is missing.
    missing: Option<Instant>,
}

impl Takeover<'_> {
    fn run(&mut self) -> Result<(), GroupError> {
        let Member { sink, common, shards, .. } = self.member;
        self.wanted.retain(|wanted| shards.is_wanted(*wanted));
        if self.wanted.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        let taken = self.stands()?;
        let stands: Vec<Stand> = taken.iter().map(|taken| taken.stand.clone()).collect();
        let keeping = |error: CursorsError| GroupError::Keeper(error.to_string());
        common.runtime.block_on(common.keeper.taking(sink, stands)).map_err(keeping)?;
        let partitions: Vec<u32> = self.wanted.iter().map(|(shard, _)| *shard).collect();
        let mut restored = 0;
        rows::read(&common.cluster, sink, &common.cluster.held(sink), &partitions, &mut |shard, rows| {
            if !self.wanted.iter().any(|wanted| wanted.0 == shard && shards.is_wanted(*wanted)) {
                return Ok(());
            }
            restored += rows.len();
            common.runtime.block_on(common.keeper.restored(sink, shard, rows)).map_err(keeping)
        })?;
        debug!(%sink, shards = ?partitions, rows = restored, took = ?since.elapsed(), "restored");
        let ticket = |taken: &Taken| self.wanted.iter().find(|(shard, _)| *shard == taken.stand.cursor.shard);
        let taken = taken.into_iter().filter_map(|taken| Some((ticket(&taken)?.1, taken))).collect();
        shards.restored(taken);
        Ok(())
    }

    /// Where the sink stands, which is what was committed unless that is lost.
    fn stands(&mut self) -> Result<Vec<Taken>, GroupError> {
        let Member { sink, common, .. } = self.member;
        let shards: Vec<u32> = self.wanted.iter().map(|(shard, _)| *shard).collect();
        let committed = standing::committed(&common.cluster, sink, &shards)?;
        let missing: Vec<u32> =
            committed.iter().filter(|(_, stand)| stand.is_none()).map(|(shard, _)| *shard).collect();
        if !missing.is_empty() && self.missing.get_or_insert_with(Instant::now).elapsed() < MISSING {
            return Err(GroupError::Missing(missing));
        }
        let ends = clients::ends(&common.cluster, sink).map_err(|error| GroupError::kafka("taking over", &error))?;
        let topic = common.cluster.events();
        let mut taken = vec![];
        for (shard, stand) in committed {
            let (mut oldest, mut end) = rows::watermarks(&ends, &topic, shard)?;
            let stand = match stand {
                Some(stand) => {
                    for _ in 1..BEYOND {
                        if stand.cursor.offset <= end {
                            break;
                        }
                        std::thread::sleep(PAUSE);
                        (oldest, end) = rows::watermarks(&ends, &topic, shard)?;
                    }
                    stand
                }
                None => {
                    error!(%sink, shard, "the group's offset is lost: the sink begins anew, with the oldest event");
                    Stand { cursor: Position { shard, offset: oldest }, note: String::new() }
                }
            };
            let cursor = if stand.cursor.offset > end {
                error!(%sink, shard, cursor = stand.cursor.offset, end,
                    "the topic of events ends before the cursor: it was made anew; the sink begins with the oldest");
                Position { shard, offset: oldest }
            } else {
                stand.cursor
            };
            taken.push(Taken { stand: Stand { cursor, ..stand }, oldest });
        }
        Ok(taken)
    }
}
