//! Sessions of the page: a browser that showed the token once has a cookie that stands for it, which scripts cannot
//! read. Pure but for chance; whoever asks says what time it is.
//!
//! Only digests of the cookies are kept, in memory: whoever reads that has no cookie, and sessions end with the daemon.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The cookie's name.
pub(super) const COOKIE: &str = "hookrelay_session";
/// Most sessions; one more ends the oldest.
const SESSIONS: usize = 32;
/// A session ends when nothing was asked with it for so long.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends so long after it began, whatever was asked with it.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

struct Session {
    id: [u8; 32],
    began: Instant,
    used: Instant,
}

/// The sessions of one listener, the oldest first.
#[derive(Default)]
pub(super) struct Sessions(VecDeque<Session>);

impl Sessions {
    /// Begins a session; gives what its cookie holds.
    pub fn begin(&mut self, now: Instant) -> String {
        self.forget_old(now);
        while self.0.len() >= SESSIONS {
            self.0.pop_front();
        }
        // Drawn from a generator that is fit for keys; 256 bits are guessed by nobody.
        let cookie = hex::encode(rand::random::<[u8; 32]>());
        self.0.push_back(Session { id: digest(&cookie), began: now, used: now });
        cookie
    }

    /// Whether a cookie is one of a session, which then was used now.
    pub fn admits(&mut self, cookie: &str, now: Instant) -> bool {
        self.forget_old(now);
        let id = digest(cookie);
        let mut admits = Choice::from(0);
        // All are looked at, each in the same time: how long it takes tells nothing.
        for session in &mut self.0 {
            let is_it = session.id.ct_eq(&id);
            if is_it.into() {
                session.used = now;
            }
            admits |= is_it;
        }
        admits.into()
    }

    /// Ends the session of a cookie.
    pub fn end(&mut self, cookie: &str) {
        let id = digest(cookie);
        self.0.retain(|session| !bool::from(session.id.ct_eq(&id)));
    }

    fn forget_old(&mut self, now: Instant) {
        let since = |then| now.saturating_duration_since(then);
        self.0.retain(|session| since(session.used) < IDLE && since(session.began) < LIFE);
    }
}

/// By which secrets are compared: the time that it takes to compare digests says nothing of what they are of.
pub(super) fn digest(secret: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// What a browser is to keep: a cookie that no script reads, that goes with no request of another site, and, behind
/// TLS, over nothing but TLS (RFC 6265bis). It ends with the browser.
pub(super) fn set(cookie: &str, is_tls: bool) -> String {
    format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict{}", if is_tls { "; Secure" } else { "" })
}

/// What makes a browser forget the cookie.
pub(super) const UNSET: &str = "hookrelay_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";

/// The session's cookies among all that a browser sends in one header. There may be several: a neighbouring site under
/// the same domain can set one of that name, and must not keep anybody out by it.
pub(super) fn cookies_of(header: &str) -> impl Iterator<Item = &str> {
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_when_it_is_old_and_when_it_is_ended() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let cookie = sessions.begin(now);
        assert!(sessions.admits(&cookie, now) && !sessions.admits("", now) && !sessions.admits(&"0".repeat(64), now));
        let mut later = now;
        while later + IDLE / 2 < now + LIFE {
            later += IDLE / 2;
            assert!(sessions.admits(&cookie, later), "it was used");
        }
        assert!(!sessions.admits(&cookie, now + LIFE), "it is old, though it was used");
        let idle = sessions.begin(now);
        assert!(!sessions.admits(&idle, now + IDLE) && sessions.0.is_empty());
        let ended = sessions.begin(now);
        sessions.end(&ended);
        assert!(!sessions.admits(&ended, now));
    }

    #[test]
    fn the_oldest_goes_where_there_are_too_many_and_no_cookie_is_kept() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let cookies: Vec<String> = (0..=SESSIONS).map(|_| sessions.begin(now)).collect();
        assert!(!sessions.admits(&cookies[0], now));
        assert!(cookies[1..].iter().all(|cookie| sessions.admits(cookie, now)));
        assert!(cookies.iter().all(|cookie| cookie.len() == 64));
        assert!(sessions.0.iter().all(|session| !cookies.contains(&hex::encode(session.id))));
    }

    #[test]
    fn a_cookie_is_read_among_others_and_set_for_this_site_alone() {
        let all = |header| cookies_of(header).collect::<Vec<_>>();
        assert_eq!(all("a=b; hookrelay_session=x; c=d; hookrelay_session=y"), ["x", "y"]);
        assert!(all("a_hookrelay_session=x").is_empty() && all("").is_empty());
        let plain = set("x", false);
        assert_eq!(plain, "hookrelay_session=x; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(set("x", true), format!("{plain}; Secure"));
        assert!(UNSET.starts_with(COOKIE));
    }
}
