//! Schemes beside Interakt's, and tokens, on bytes of every sort.

use std::time::Duration;

use proptest::prelude::*;

use super::hmac::{Algorithm, Beside, Encoding, Form, Hmac, Piece, Scheme};
use super::{EmptySecret, Refusal, Token, Which, standard_webhooks};

const BODY: &[u8] = br#"{"foo":1,"bar":2}"#;

/// One scheme of each layout.
fn schemes() -> [Scheme; 4] {
    let five = Some(Duration::from_secs(300));
    let text = |text: &str| Piece::Text(text.into());
    [
        Scheme::default(),
        Scheme {
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Base64,
            form: Form::One { prefix: "v0=".into() },
            signed: vec![text("v0:"), Piece::Time, text(":"), Piece::Body],
            tolerance: five,
        },
        Scheme {
            algorithm: Algorithm::Sha1,
            encoding: Encoding::Hex,
            form: Form::Pairs { signature: "v1".into(), time: Some("t".into()) },
            signed: vec![Piece::Time, text("."), Piece::Body],
            tolerance: five,
        },
        standard_webhooks::scheme(five),
    ]
}

fn with(scheme: Scheme) -> Hmac {
    Hmac::with(scheme, b"key", None).unwrap()
}

fn beside<'h>(time: &'h str, id: &'h str) -> Beside<'h> {
    Beside { time: Some(time.as_bytes()), id: Some(id.as_bytes()) }
}

#[test]
fn base64_is_taken_with_and_without_padding_and_nothing_else_is() {
    let scheme = Scheme { encoding: Encoding::Base64, form: Form::One { prefix: String::new() }, ..Scheme::default() };
    let hmac = with(scheme);
    let good = hmac.sign(BODY);
    let check = |text: &str| hmac.verify([text.as_bytes()], BODY).map(drop);
    assert_eq!([check(&good), check(good.trim_end_matches('=')), check(&format!(" {good} "))], [Ok(()); 3]);
    let url_safe = good.replace('+', "-").replace('/', "_");
    for bad in [&good[1..], &good[..40], &format!("{good}AAAA"), "", "=", &"A".repeat(100_000)] {
        assert_eq!(check(bad), Err(Refusal::Malformed), "{bad:.80}");
    }
    assert!(url_safe == good || check(&url_safe).is_err());
    assert!(check(&good.to_lowercase()).is_err(), "its case counts");
}

#[test]
fn any_of_several_digests_may_match_and_those_of_other_names_never() {
    let [.., pairs, list] = schemes().map(with);
    let digest = pairs.sign_with(beside("1000", ""), BODY).split_once("v1=").unwrap().1.to_owned();
    let zeros = "0".repeat(40);
    let check = |value: &str| pairs.verify_at([value.as_bytes()], Beside::default(), BODY, 1000).map(drop);
    for good in ["t=1000,v1=D", "v1=D,t=1000", "t=1000, v1=0 , v1=D", "t=1000,v1=Z,v1=D,v1=Z", "v2=x,,t=1000,v1=D"] {
        assert_eq!(check(&good.replace('D', &digest).replace('Z', &zeros)), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("v1=D", Refusal::Missing),
        ("t=1000", Refusal::Malformed),
        ("t=1000,v0=D", Refusal::Malformed),
        ("t=1000,v1=Z", Refusal::Wrong),
        ("t=1001,v1=D", Refusal::Wrong),
        ("t=,v1=D", Refusal::Wrong),
        ("D", Refusal::Malformed),
    ] {
        assert_eq!(check(&bad.replace('D', &digest).replace('Z', &zeros)), Err(why), "{bad}");
    }
    let digest = list.sign_with(beside("1000", "m"), BODY);
    let check = |value: &str, beside| list.verify_at([value.as_bytes()], beside, BODY, 1000).map(drop);
    assert_eq!(check(&format!("v1a,x {digest}  v1,AA"), beside("1000", "m")), Ok(()));
    assert_eq!(check(&digest, beside("1000", "n")), Err(Refusal::Wrong), "the id is signed");
    assert_eq!(check(&digest, Beside { id: None, ..beside("1000", "m") }), Err(Refusal::Missing));
    assert_eq!(check(&digest, Beside { time: None, ..beside("1000", "m") }), Err(Refusal::Missing));
    assert_eq!(check(digest.trim_start_matches("v1,"), beside("1000", "m")), Err(Refusal::Malformed));
}

#[test]
fn the_time_counts_in_either_direction_in_any_of_its_forms_and_only_once_the_rest_is_right() {
    let [_, slack, ..] = schemes().map(with);
    let check = |time: &str, now: i64| {
        let value = slack.sign_with(beside(time, ""), BODY);
        slack.verify_at([value.as_bytes()], beside(time, ""), BODY, now).map(drop)
    };
    for time in ["1700000000", "1700000000000", "1700000000000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"]
    {
        assert_eq!([check(time, 1_700_000_300), check(time, 1_699_999_700)], [Ok(()); 2], "{time}");
        assert_eq!([check(time, 1_700_000_301), check(time, 1_699_999_699)], [Err(Refusal::Stale); 2], "{time}");
    }
    for time in ["", "soon", "-5", "1e9", "99999999999999999999999", "2023-13-14T22:13:20Z"] {
        assert_eq!(check(time, 1_700_000_000), Err(Refusal::Malformed), "{time:?}");
    }
    let value = slack.sign_with(beside("1", ""), b"another body");
    let got = slack.verify_at([value.as_bytes()], beside("1", ""), BODY, 1_700_000_000);
    assert_eq!(got, Err(Refusal::Wrong), "a stale signature of another's is wrong first");
}

/// How many ways there are to cut a signed text at two separators so that it is believed.
fn cuts(hmac: &Hmac, text: &str, separator: &str, signed_as: &str, now: i64) -> usize {
    let at: Vec<usize> = text.match_indices(separator).map(|(at, _)| at).collect();
    let pairs = at.iter().flat_map(|a| at.iter().filter(move |b| **b >= a + separator.len()).map(move |b| (*a, *b)));
    let believed = pairs.filter(|(a, b)| {
        let (id, time, body) = (&text[..*a], &text[a + separator.len()..*b], &text[b + separator.len()..]);
        hmac.verify_at([signed_as.as_bytes()], beside(time, id), body.as_bytes(), now).is_ok()
    });
    believed.count()
}

#[test]
fn what_was_signed_cannot_be_cut_elsewhere() {
    let [_, slack, stripe, standard] = schemes().map(with);
    // Of 27 hours ago; its body holds a time of now.
    let (then, now) = ("1699902800", 1_700_000_000);
    let body = "{\"a\":1}.1700000000.{\"forged\":true}";
    let value = standard.sign_with(beside(then, "msg_1"), body.as_bytes());
    let forged = beside("1700000000", "msg_1.1699902800.{\"a\":1}");
    let got = standard.verify_at([value.as_bytes()], forged, b"{\"forged\":true}", now);
    assert_eq!(got.map(drop), Err(Refusal::Malformed));
    assert_eq!(cuts(&standard, &format!("msg_1.{then}.{body}"), ".", &value, now), 0, "the one cut there is, is stale");
    assert_eq!(cuts(&standard, &format!("msg_1.{then}.{body}"), ".", &value, 1_699_902_800), 1);

    let off = |scheme: usize| with(Scheme { tolerance: None, ..schemes()[scheme].clone() });
    let value = slack.sign_with(beside("1700000000", ""), b"{\"a\":1}");
    let got = off(1).verify_at([value.as_bytes()], beside("1700000000:{\"a\"", ""), b"1}", now);
    assert_eq!(got.map(drop), Err(Refusal::Malformed), "a time that holds what ends it");
    let value = stripe.sign_with(beside("1700000000", ""), b"1.5").replace("t=1700000000,", "t=1700000000.1,");
    let got = off(2).verify_at([value.as_bytes()], Beside::default(), b"5", now);
    assert_eq!(got.map(drop), Err(Refusal::Malformed));
    // RFC 3339 holds colons, and ends itself.
    let time = "2023-11-14T22:13:20.5+00:00";
    let value = slack.sign_with(beside(time, ""), BODY);
    assert!(slack.verify_at([value.as_bytes()], beside(time, ""), BODY, now).is_ok());
    for time in ["+1700000000", " 1700000000", "1700000000 ", "2023-11-14 22:13:20Z", "2023-11-14T22:13:20+0000"] {
        let value = slack.sign_with(beside(time, ""), BODY);
        assert_eq!(slack.verify_at([value.as_bytes()], beside(time, ""), BODY, now).map(drop), Err(Refusal::Malformed));
    }
}

#[test]
fn a_secret_of_standard_webhooks_is_whsec_and_base64_of_any_length() {
    use standard_webhooks::{KeyError, key};
    assert_eq!(key("whsec_AAAA").unwrap(), [0; 3]);
    assert_eq!(key(" whsec_AAAA ").unwrap(), [0; 3]);
    assert_eq!(key("whsec_"), Err(KeyError::Empty));
    assert_eq!(key(" "), Err(KeyError::Empty));
    assert_eq!(key("AAAA"), Err(KeyError::Prefix));
    assert_eq!(key("whsec_A-_="), Err(KeyError::Encoding));
}

#[test]
fn a_token_is_the_whole_of_it_and_either_while_it_is_changed() {
    let token = Token::new("Bearer ", b"new", Some(b"old")).unwrap();
    let check = |values: &[&str]| token.verify(values.iter().map(|value| value.as_bytes()));
    for good in [&["Bearer new"][..], &[" BEARER  new "], &["Bearer new", "Bearer new "]] {
        assert_eq!(check(good), Ok(Which::Current), "{good:?}");
    }
    assert_eq!(check(&["bearer old"]), Ok(Which::Previous));
    assert_eq!(check(&[]), Err(Refusal::Missing));
    for bad in [&[""][..], &["new"], &["Bearer "], &["Basic new"], &["Bearer new", "Bearer old"]] {
        assert_eq!(check(bad), Err(Refusal::Malformed), "{bad:?}");
    }
    for bad in ["Bearer ne", "Bearer newer", "Bearer New", "Bearer new\u{0}", "Bearer Bearer new"] {
        assert_eq!(check(&[bad]), Err(Refusal::Wrong), "{bad}");
    }
    assert_eq!(Token::new("", b" ", None).unwrap_err(), EmptySecret);
    assert_eq!(Token::new("", b"t", Some(b"")).unwrap_err(), EmptySecret);
    assert_eq!(format!("{token:?}"), "Token { previous: true, .. }");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_believed_and_never_panic(
        value in proptest::collection::vec(any::<u8>(), 0..160),
        time in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..30)),
        id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..30)),
        now in any::<i64>(),
    ) {
        let beside = Beside { time: time.as_deref(), id: id.as_deref() };
        for scheme in schemes() {
            let hmac = with(scheme);
            prop_assert!(hmac.verify_at([&value[..]], beside, BODY, now).is_err());
            for prefix in [&b"v1,"[..], b"t=1,v1=", b"v0="] {
                prop_assert!(hmac.verify_at([&[prefix, &value].concat()[..]], beside, BODY, now).is_err());
            }
        }
        prop_assert!(Token::new("", b"a token", None).unwrap().verify([&value[..]]).is_err());
    }

    #[test]
    fn there_is_one_cut_at_most(
        text in "[a.:1]{0,6}[.:]{1,2}[1.:]{1,6}[.:]{1,2}[a.:1]{0,6}",
        separator in "[.:]{1,2}",
    ) {
        let text = format!("x{text}");
        let between = || Piece::Text(separator.clone());
        let signed = vec![Piece::Id, between(), Piece::Time, between(), Piece::Body];
        for tolerance in [None, Some(Duration::from_secs(u64::MAX))] {
            let whole = Scheme { signed: vec![Piece::Body], ..Scheme::default() };
            let value = with(whole).sign(text.as_bytes());
            let hmac = with(Scheme { signed: signed.clone(), tolerance, ..Scheme::default() });
            let n = cuts(&hmac, &text, &separator, &value, 0);
            prop_assert!(n <= 1, "{n} cuts of {text:?} at {separator:?}");
        }
    }

    #[test]
    fn what_is_signed_is_believed_until_one_bit_of_anything_changes(
        body in proptest::collection::vec(any::<u8>(), 1..100),
        id in "[a-z]{1,9}",
        time in 0..2_000_000_000_i64,
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
    ) {
        for scheme in schemes() {
            let hmac = with(scheme.clone());
            let now = time.to_string();
            let value = hmac.sign_with(beside(&now, &id), &body);
            let verify = |body: &[u8], now: &str| {
                hmac.verify_at([value.as_bytes()], beside(now, &id), body, time)
            };
            prop_assert!(verify(&body, &now).is_ok(), "{:?}", scheme);
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= 1 << bit;
            prop_assert_eq!(verify(&changed, &now), Err(Refusal::Wrong));
            // In pairs the time comes from the value itself.
            let is_beside = scheme.signed.contains(&Piece::Time) && !matches!(scheme.form, Form::Pairs { .. });
            if is_beside {
                prop_assert_eq!(verify(&body, &(time + 1).to_string()), Err(Refusal::Wrong));
            }
        }
    }
}
