//! Shards that are nobody's although there are members who could have them.

use super::kit::{SINK, Topics, eventually, taken};

#[tokio::test(flavor = "multi_thread")]
async fn shards_whose_owner_is_started_anew_while_it_gives_them_up_are_soon_somebodys() {
    let test = "shards_whose_owner_is_started_anew_while_it_gives_them_up_are_soon_somebodys";
    let Some(topics) = Topics::new(test).await else { return };
    topics.begin().await;
    let elder = topics.daemon("a");
    let (mut reader, _) = elder.joins(4).await;
    let other = topics.daemon("b");
    let _others = other.reader().await;
    // It is to give up two, and does not come to that.
    let _waits = taken(&mut reader).await;
    elder.groups.close().await;
    let again = topics.daemon("a");
    let _again = again.reader().await;
    let owned = || [&again, &other].map(|daemon| daemon.groups.owned(SINK).len());
    eventually("what it keeps is its own again", || owned() == [2, 0]).await;
    eventually("all are somebody's", || owned() == [2, 2]).await;
}
