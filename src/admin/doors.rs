//! Who may ask what: the token, the sessions that stand for it, and what a page of another site in the same browser may
//! not do. Pure but for the chance in a session's cookie; whoever asks says what time it is.
//!
//! - A program shows the token as `Authorization: Bearer`. No page of another site can make a browser do that.
//! - A browser shows a session's cookie. What changes something, or is a question in a body, must then come from our
//!   own page: the cookie is `SameSite=Strict`, and its `Origin` is looked at besides.
//! - Where the config has no token, everybody who can open the Unix socket may ask. A browser that comes through a
//!   proxy can, too, and so can a page of another site in it: it is refused by what the browser says of it.
//!
//! Over TCP there is always a token. So a page whose name was made to lead here (DNS rebinding) gets nothing: it has no
//! token, and the cookie is one of another name. Before a Unix socket without a token, the proxy must see to that.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

use super::endpoints::Right;
use super::guesses::{Guesses, Origin, WINDOW};
use super::session::{self, Sessions, digest};
use super::sites;

/// Why somebody may not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The token is missing or wrong.
    NoToken,
    /// Too many wrong tokens came from there.
    TooOften(Duration),
    /// A page of another site asks.
    OtherSite,
    /// The config says that nothing is to be changed here.
    ReadOnly,
}

/// By what somebody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Token,
    Session,
    /// There is no token to be shown.
    Nothing,
}

/// The token, what stands for it, and who tried to guess it.
pub(super) struct Doors {
    token: Option<[u8; 32]>,
    read_only: bool,
    sessions: Mutex<Sessions>,
    guesses: Mutex<(Guesses, Option<Instant>)>,
}

/// Who asks, and when.
#[derive(Clone, Copy)]
pub(super) struct Visitor<'h> {
    /// The connection's other end; none over a Unix socket.
    pub remote: Option<IpAddr>,
    /// The request's headers.
    pub headers: &'h HeaderMap,
    /// Now.
    pub now: Instant,
}

impl Doors {
    pub fn new(token: Option<&str>, read_only: bool) -> Self {
        let guesses = Mutex::new((Guesses::new(), None));
        Self { token: token.map(digest), read_only, sessions: Mutex::default(), guesses }
    }

    /// Whether somebody shows what lets him in, be it for this request or not.
    pub fn knows(&self, visitor: Visitor<'_>) -> bool {
        self.shown(visitor).is_ok()
    }

    /// Sees that somebody may do what takes this right, by this method.
    pub fn admit(&self, right: Right, method: &Method, visitor: Visitor<'_>) -> Result<(), Denied> {
        let shown = match right {
            Right::Open | Right::Page => return Ok(()),
            // Whoever has no session yet has nothing but what the browser says of him.
            Right::Enter => Shown::Nothing,
            Right::Read | Right::Change => self.shown(visitor)?,
        };
        let is_safe = matches!(*method, Method::GET | Method::HEAD);
        let is_foreign = match shown {
            Shown::Token => false,
            Shown::Session => sites::is_foreign(visitor.headers) || !sites::is_own(visitor.headers),
            Shown::Nothing => sites::is_foreign(visitor.headers),
        };
        if is_foreign && !is_safe {
            return Err(Denied::OtherSite);
        }
        if right == Right::Change && self.read_only { Err(Denied::ReadOnly) } else { Ok(()) }
    }

    /// Begins a session for whoever has the token; gives the cookie to be set, where one is needed.
    pub fn log_in(&self, token: &str, visitor: Visitor<'_>) -> Result<Option<HeaderValue>, Denied> {
        if self.token.is_none() {
            return Ok(None);
        }
        self.check(token.as_bytes(), visitor)?;
        let cookie = self.sessions().begin(visitor.now);
        // Digits, letters and punctuation: they are a header's value.
        Ok(HeaderValue::from_str(&session::set(&cookie, sites::is_tls(visitor.headers))).ok())
    }

    /// Ends the session, where there is one; gives what makes the browser forget it.
    pub fn log_out(&self, headers: &HeaderMap) -> HeaderValue {
        for cookie in cookies(headers) {
            self.sessions().end(cookie);
        }
        HeaderValue::from_static(session::UNSET)
    }

    fn shown(&self, visitor: Visitor<'_>) -> Result<Shown, Denied> {
        if self.token.is_none() {
            return Ok(Shown::Nothing);
        }
        let bearer = visitor.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if let Some(token) = bearer.and_then(|value| value.strip_prefix(b"Bearer ")) {
            return self.check(token, visitor).map(|()| Shown::Token);
        }
        let is_known = cookies(visitor.headers).any(|cookie| self.sessions().admits(cookie, visitor.now));
        if is_known { Ok(Shown::Session) } else { Err(Denied::NoToken) }
    }

    /// Compares a token with ours, unless too many wrong ones came from there.
    fn check(&self, token: &[u8], Visitor { remote, headers, now }: Visitor<'_>) -> Result<(), Denied> {
        let forwarded = headers.get_all("x-forwarded-for").into_iter().next_back();
        let from = Origin::of(remote, forwarded.and_then(|value| value.to_str().ok()));
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let (guesses, told) = &mut *guesses;
        if let Some(wait) = guesses.wait(from, now) {
            return Err(Denied::TooOften(wait));
        }
        if self.token.is_some_and(|own| own.ct_eq(&digest(token)).into()) {
            return Ok(());
        }
        // One line in a while, however many addresses guess.
        if guesses.wrong(from, now) && told.is_none_or(|told| now.saturating_duration_since(told) >= WINDOW) {
            *told = Some(now);
            tracing::warn!(%from, "too many wrong tokens came from there: none is looked at for a minute");
        }
        Err(Denied::NoToken)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of our cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(session::cookies_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: (&str, &str) = ("origin", "http://relay");
    const OTHER: (&str, &str) = ("origin", "http://evil.test");

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let all = [("host", "relay")].iter().chain(pairs);
        all.map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn by<'h>(headers: &'h HeaderMap) -> Visitor<'h> {
        Visitor { remote: Some([198, 51, 100, 7].into()), headers, now: Instant::now() }
    }

    /// What comes of a `POST` that takes this right, with these headers.
    fn post(doors: &Doors, right: Right, pairs: &[(&'static str, &str)]) -> Result<(), Denied> {
        doors.admit(right, &Method::POST, by(&headers(pairs)))
    }

    fn log_in(doors: &Doors, token: &str) -> Result<String, Denied> {
        let cookie = doors.log_in(token, by(&headers(&[])))?.unwrap();
        Ok(cookie.to_str().unwrap().split(';').next().unwrap().to_owned())
    }

    #[test]
    fn a_session_stands_for_the_token_on_our_own_page_alone() {
        let doors = Doors::new(Some("right"), false);
        assert_eq!(log_in(&doors, "wrong"), Err(Denied::NoToken));
        let cookie = log_in(&doors, "right").unwrap();
        let session = ("cookie", cookie.as_str());
        assert_eq!(doors.admit(Right::Read, &Method::GET, by(&headers(&[session]))), Ok(()));
        assert_eq!(post(&doors, Right::Change, &[session, OWN]), Ok(()));
        for pairs in [
            &[session][..],
            &[session, OTHER],
            &[session, ("origin", "null")],
            &[session, OWN, ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(post(&doors, Right::Change, pairs), Err(Denied::OtherSite), "{pairs:?}");
            assert_eq!(post(&doors, Right::Read, pairs), Err(Denied::OtherSite), "{pairs:?}");
        }
        let bearer = ("authorization", "Bearer right");
        assert_eq!(post(&doors, Right::Change, &[bearer, OTHER]), Ok(()), "a program says what it likes");
        for pairs in
            [&[OWN][..], &[("authorization", "Bearer wrong"), session, OWN], &[("cookie", "hookrelay_session=")]]
        {
            assert_eq!(post(&doors, Right::Change, pairs), Err(Denied::NoToken), "{pairs:?}");
        }
        assert_eq!(post(&doors, Right::Enter, &[OTHER]), Err(Denied::OtherSite));
        doors.log_out(&headers(&[session]));
        assert_eq!(post(&doors, Right::Change, &[session, OWN]), Err(Denied::NoToken));
    }

    #[test]
    fn without_a_token_everybody_may_but_a_page_of_another_site() {
        let doors = Doors::new(None, false);
        assert_eq!(doors.log_in("whatever", by(&headers(&[]))), Ok(None));
        for pairs in [&[][..], &[OWN], &[OWN, ("sec-fetch-site", "same-origin")]] {
            assert_eq!(post(&doors, Right::Change, pairs), Ok(()), "{pairs:?}");
        }
        for pairs in [&[OTHER][..], &[("sec-fetch-site", "cross-site")], &[("sec-fetch-site", "same-site"), OWN]] {
            assert_eq!(post(&doors, Right::Change, pairs), Err(Denied::OtherSite), "{pairs:?}");
        }
    }

    #[test]
    fn who_only_reads_changes_nothing_and_who_guesses_waits_however_he_shows_it() {
        let doors = Doors::new(Some("right"), true);
        let bearer = ("authorization", "Bearer right");
        assert_eq!(post(&doors, Right::Change, &[bearer]), Err(Denied::ReadOnly));
        assert_eq!(post(&doors, Right::Read, &[bearer]), Ok(()));
        let guess = [("authorization", "Bearer guess")];
        while post(&doors, Right::Read, &guess) == Err(Denied::NoToken) {}
        assert!(matches!(post(&doors, Right::Read, &[bearer]), Err(Denied::TooOften(_))));
        assert!(matches!(log_in(&doors, "right"), Err(Denied::TooOften(_))));
        let elsewhere = headers(&[bearer]);
        let owner = Visitor { remote: Some([203, 0, 113, 4].into()), ..by(&elsewhere) };
        assert_eq!(doors.admit(Right::Read, &Method::GET, owner), Ok(()));
    }
}
