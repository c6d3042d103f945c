//! Three daemons behind the nginx of docs/scale-out.md: whoever posts does not notice that one is killed, and another
//! started anew.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::bodies::numbered;
use crate::harness::{Callback, House, wait_until};
use crate::proxy::{Proxy, own_port, program, with};
use crate::restarts::Sender;
use crate::several::{Shared, came, figures, tables};

/// Webhooks that are answered between two evils.
const BETWEEN: u64 = 60;

/// The guide's site in front of these daemons, without its certificate.
fn guides_nginx(at: SocketAddr, daemons: [SocketAddr; 3]) -> String {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scale-out.md")).unwrap();
    let block = guide.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let without = |line: &&str| !line.trim_start().starts_with("ssl_certificate");
    let site: String = block.lines().filter(without).flat_map(|line| [line, "\n"]).collect();
    let [first, second, third] = daemons.map(|daemon| daemon.to_string());
    let changes = [
        ("10.0.0.1:4000", &*first),
        ("10.0.0.2:4000", &second),
        ("10.0.0.3:4000", &third),
        ("listen 443 ssl;", &format!("listen {at};")),
    ];
    with(site, &changes)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_posts_to_the_nginx_of_the_guide_notices_no_death_and_no_restart_of_a_daemon() {
    let test = "who_posts_to_the_nginx_of_the_guide_notices_no_death";
    let Some(program) = program("nginx", test) else { return };
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    let (at, own) = (own_port(21), [own_port(22), own_port(23), own_port(24)]);
    let houses = own.map(|address| {
        let house = shared.house(&format!("node-{}", address.port()), &tables(&callback.url()));
        let text = std::fs::read_to_string(house.config()).unwrap();
        std::fs::write(house.config(), text.replace("127.0.0.1:0", &address.to_string())).unwrap();
        house
    });
    let [a, b, c] = houses.each_ref().map(House::start);
    let _nginx = Proxy::nginx(&program, &guides_nginx(at, own), at).await;

    let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let poster = std::thread::spawn({
        let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
        move || {
            let mut failed = Vec::new();
            for n in (0..).take_while(|_| !stop.load(Ordering::Acquire)) {
                match Sender::new(at, false).post(&numbered(n)) {
                    Ok(200) => {}
                    other => failed.push((n, other.map_err(|error| error.to_string()))),
                }
                answered.fetch_add(1, Ordering::AcqRel);
            }
            failed
        }
    });
    let more = || async {
        let enough = answered.load(Ordering::Acquire) + BETWEEN;
        wait_until("more are answered", || (answered.load(Ordering::Acquire) >= enough).then_some(())).await;
    };
    more().await;
    a.kill();
    more().await;
    let a = houses[0].start();
    more().await;
    // Asked to end, it refuses nobody: what nginx cannot bring to it goes to the others.
    assert_eq!(b.terminate(), 0);
    more().await;
    let b = houses[1].start();
    c.hang_up();
    more().await;
    stop.store(true, Ordering::Release);
    let failed = tokio::task::spawn_blocking(|| poster.join().unwrap()).await.unwrap();
    assert_eq!(failed, [], "not answered 200");

    // An answer that a kill has cut off was repeated by nginx, and both are kept: so there are as many at least.
    let posted = answered.load(Ordering::Acquire);
    for house in &houses {
        let rest = wait_until("all is settled", || {
            let [accepted, delivered, dead, pending] = figures(house);
            (pending == 0 && dead == 0 && accepted == delivered && accepted >= posted).then_some(accepted)
        });
        let accepted = rest.await;
        assert!(accepted <= posted + 1, "{accepted} of {posted}");
    }
    let bodies: BTreeSet<String> = came(&callback).into_keys().collect();
    assert!(bodies.len() as u64 >= posted, "{} of {posted} arrived", bodies.len());
    assert_eq!([a, b, c].map(|daemon| daemon.terminate()), [0, 0, 0]);
}
