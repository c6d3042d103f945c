//! Providers' published examples, each against the preset that stands for the provider, in the words of the config.

use std::collections::HashMap;

use ::http::{HeaderValue, Request};
use proptest::prelude::*;

use super::super::source::signer::Signer;
use super::*;
use crate::ingress::source::kinds::SOURCE_KINDS;
use crate::verify::Refusal;

/// A source from its table.
pub(in crate::ingress) fn table(text: &str) -> SourceConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn read(text: &str) -> Arc<SourcePlan> {
    plan(&table(text))
}

fn request(headers: &[(&str, &str)]) -> ::http::request::Parts {
    let mut request = Request::post("/webhooks");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The headers, the body and the time at which they were signed are believed; not one byte more, nor later.
fn demand(config: &str, headers: &[(&str, &str)], body: &str, now: i64, has_time: bool) {
    let proof = &read(config).proof;
    let parts = request(headers);
    assert!(proof.verify(&parts, body.as_bytes(), now).is_ok(), "{config}");
    assert_eq!(proof.verify(&parts, format!("{body} ").as_bytes(), now), Err(Refusal::Wrong), "{config}");
    assert_eq!(proof.verify(&request(&[]), body.as_bytes(), now), Err(Refusal::Missing), "{config}");
    let later = |seconds| proof.verify(&parts, body.as_bytes(), now + seconds);
    if has_time {
        assert!(later(300).is_ok() && later(-300).is_ok());
        assert_eq!([later(301), later(-301)], [Err(Refusal::Stale); 2], "{config}");
    } else {
        assert!(later(1_000_000).is_ok());
    }
}

fn of(kind: &str, secret: &str) -> String {
    format!("kind = \"{kind}\"\npath = \"/webhooks\"\nsecret = \"{secret}\"\n")
}

/// Interakt's help centre, "Webhook security".
#[test]
fn interakt() {
    let headers = [("Interakt-Signature", "sha256=b84783d10ede5bd6ed771e8b16fbe5a7093340159d6e49ec4248350b6ec2c7b4")];
    demand(&of("interakt", "examplekey"), &headers, r#"{"foo":1,"bar":2}"#, 0, false);
}

/// docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation".
#[test]
fn github() {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("X-Hub-Signature-256", signature)];
    demand(&of("github", "It's a Secret to Everybody"), &headers, "Hello, World!", 0, false);
}

/// docs.slack.dev, "Verifying requests from Slack", the example there.
#[test]
fn slack() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
        response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
        trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = [
        ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ("X-Slack-Request-Timestamp", "1531420618"),
    ];
    demand(&of("slack", "8f742231b10e8888abcd99yyyzzz85a5"), &headers, body, 1_531_420_618, true);
}

/// The event, secret and time of the tests of Stripe's libraries (stripe-dotnet's `EventUtilityTest` and the Rust
/// library's `test_webhook_construct_event`); the `v1` is the latter's, the `v0` that of another scheme.
#[test]
fn stripe() {
    let body = STRIPE_EVENT;
    let headers = [(
        "Stripe-Signature",
        "t=1533204620,v1=82216eca827bcb7b34b8055eb2d2d9e6bc13b9ac39ded14a61e69f70c565f53a,\
         v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef",
    )];
    demand(&of("stripe", "webhook_secret"), &headers, body, 1_533_204_620, true);
}

const STRIPE_EVENT: &str = r#"{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "ii_123",
      "object": "invoiceitem",
      "amount": 1000,
      "currency": "usd",
      "customer": "cus_123",
      "date": 1533204620,
      "description": "Test Invoice Item",
      "discountable": false,
      "invoice": "in_123",
      "livemode": false,
      "metadata": {},
      "period": {
        "start": 1533204620,
        "end": 1533204620
      },
      "proration": false,
      "quantity": 3
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "invoiceitem.created"
}
"#;

/// Shopify publishes no example with its secret. Computed with another tool:
/// `printf '%s' BODY | openssl dgst -sha256 -hmac SECRET -binary | base64`.
#[test]
fn shopify() {
    let headers = [("X-Shopify-Hmac-Sha256", "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=")];
    let body = r#"{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}"#;
    demand(&of("shopify", "test-webhook-secret"), &headers, body, 0, false);
}

/// Meta publishes no example with its secret. Computed with another tool:
/// `printf '%s' BODY | openssl dgst -sha256 -hmac SECRET`.
#[test]
fn meta() {
    let headers = [("X-Hub-Signature-256", "sha256=9c69f71a23423830aaaf469c5b4e811b58ca01b78f3dd0978bdfc91b832e1fa5")];
    let body =
        r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{}}]}]}"#;
    demand(&format!("{}verify_token = \"v\"\n", of("meta", "app-secret")), &headers, body, 0, false);
}

/// The Standard Webhooks specification's own example, by both families of names.
#[test]
fn standard_webhooks() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for family in ["webhook", "svix"] {
        let [id, time, signature] = ["id", "timestamp", "signature"].map(|name| format!("{family}-{name}"));
        let headers = [
            (id.as_str(), "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (&time, "1614265330"),
            (&signature, "v1a,bm9uZQ== v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        demand(&of("standard_webhooks", secret), &headers, r#"{"test": 2432232314}"#, 1_614_265_330, true);
    }
}

#[test]
fn what_the_reference_library_of_standard_webhooks_signs_is_believed() {
    let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
    let [new, old] = secrets.map(|secret| standardwebhooks::Webhook::new(secret).unwrap());
    let only = read(&of("standard_webhooks", secrets[0]));
    let both = format!("{}previous_secret = \"{}\"\n", of("standard_webhooks", secrets[0]), secrets[1]);
    let both = read(&both);
    for body in ["", "{}", "a.b.c\n", "é\u{0}"] {
        let by_new = new.sign("msg_1", 1000, body.as_bytes()).unwrap();
        let by_old = old.sign("msg_1", 1000, body.as_bytes()).unwrap();
        let verify = |plan: &SourcePlan, signature: &str, now| {
            let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", "1000"), ("webhook-signature", signature)];
            plan.proof.verify(&request(&headers), body.as_bytes(), now)
        };
        assert!(verify(&only, &by_new, 1000).is_ok() && verify(&both, &by_new, 1000).is_ok(), "{body:?}");
        assert!(verify(&both, &by_old, 1300).is_ok(), "the previous key");
        assert!(verify(&only, &format!("{by_old} {by_new}"), 1000).is_ok(), "the sender changes its key");
        assert_eq!(verify(&only, &by_old, 1000), Err(Refusal::Wrong));
        assert_eq!(verify(&both, &by_old, 1301), Err(Refusal::Stale));
        let unsigned = verify(&only, by_new.trim_start_matches("v1,"), 1000);
        assert_eq!(unsigned, Err(Refusal::Malformed), "a version is part of it");
    }
}

#[test]
fn what_our_reverse_signs_the_reference_library_believes() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signer = Signer::new(&read(&of("standard_webhooks", secret)));
    let now = Timestamp::now().as_second();
    let signed = signer.sign(&::http::HeaderMap::new(), "x", "msg_1", now, b"{}");
    standardwebhooks::Webhook::new(secret).unwrap().verify(b"{}", &signed.headers).unwrap();
}

/// A table of each kind, with the keys that it cannot be without.
pub(in crate::ingress) fn tables() -> HashMap<&'static str, String> {
    let more = |kind: &str| match kind {
        "meta" => "verify_token = \"v\"\n",
        "hmac" => {
            "header = \"x-sig\"\nalgorithm = \"sha512\"\nencoding = \"base64\"\nprefix = \"v9:\"\n\
                   signed = \"{id}|{time}|{body}\"\nid = { header = \"x-id\" }\ntime = { header = \"x-time\" }\n\
                   tolerance = \"1m\"\n"
        }
        "token" => "header = [\"authorization\", \"x-token\"]\nprefix = \"Bearer \"\n",
        _ => "",
    };
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let table = |kind: &'static str| match kind {
        "none" => (kind, "kind = \"none\"\npath = \"/webhooks\"\n".to_owned()),
        _ => (kind, format!("{}{}", of(kind, secret), more(kind))),
    };
    SOURCE_KINDS.iter().map(|info| table(info.name)).collect()
}

#[test]
fn what_is_signed_for_a_kind_is_believed_by_it_and_has_the_type_that_was_asked_for() {
    for (kind, text) in tables() {
        let plan = read(&text);
        let signer = Signer::new(&plan);
        let body = signer.sample("order.paid", "id-1", "2030-01-01T00:00:00Z");
        let signed = signer.sign(&::http::HeaderMap::new(), "order.paid", "id-1", 5000, &body);
        let mut parts = request(&[]);
        parts.headers = signed.headers;
        assert!(plan.proof.verify(&parts, &body, 5010).is_ok(), "{kind}");
        if table(&text).with_preset().unwrap().id.is_some() {
            assert_eq!(plan.message_id(&parts.headers, &body).as_deref(), Some("id-1"), "{kind}");
        }
        let expected = if kind == "interakt" { "unknown" } else { "order.paid" };
        assert_eq!(plan.envelope(&parts.headers, &body).kind, expected, "{kind}");
        if kind != "none" {
            assert_eq!(plan.proof.verify(&request(&[]), &body, 5010), Err(Refusal::Missing), "{kind}");
        }
    }
}

#[test]
fn the_envelope_that_a_request_is_known_by_is_not_read_again() {
    for (kind, has_one) in [("github", true), ("interakt", false), ("token", false)] {
        let plan = read(&format!("{}dedupe = \"1m\"\n", tables()[kind]));
        let mut headers = ::http::HeaderMap::new();
        headers.insert("x-github-delivery", HeaderValue::from_static("1"));
        headers.insert("x-github-event", HeaderValue::from_static("push"));
        let (identity, envelope) = plan.identity(None, &headers, b"{}");
        assert!(identity.is_some(), "{kind}: at least the body's digest");
        assert_eq!(envelope.map(|envelope| envelope.kind.into_owned()), has_one.then(|| "push".to_owned()), "{kind}");
    }
}

#[test]
fn while_a_secret_is_changed_every_kind_believes_both() {
    for (kind, text) in tables() {
        if kind == "none" {
            continue;
        }
        let next = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let changed =
            text.replacen("secret = \"whsec_", &format!("secret = \"{next}\"\nprevious_secret = \"whsec_"), 1);
        let (before, after) = (read(&text), read(&changed));
        let signed = Signer::new(&before).sign(&::http::HeaderMap::new(), "t", "i", 5000, b"{}");
        let mut parts = request(&[]);
        parts.headers = signed.headers;
        assert!(after.proof.verify(&parts, b"{}", 5000).is_ok(), "{kind}");
        let only_new = read(&text.replacen("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", next, 1));
        assert_eq!(only_new.proof.verify(&parts, b"{}", 5000), Err(Refusal::Wrong), "{kind}");
    }
}

#[test]
fn with_its_tolerance_off_a_signature_of_any_age_is_believed() {
    for kind in ["slack", "stripe", "standard_webhooks"] {
        let text = format!("{}tolerance = \"off\"\n", tables()[kind]);
        let signed = Signer::new(&read(&text)).sign(&::http::HeaderMap::new(), "t", "i", 5000, b"{}");
        let mut parts = request(&[]);
        parts.headers = signed.headers;
        assert!(read(&text).proof.verify(&parts, b"{}", 2_000_000_000).is_ok(), "{kind}");
        assert_eq!(read(&tables()[kind]).proof.verify(&parts, b"{}", 2_000_000_000), Err(Refusal::Stale), "{kind}");
    }
}

#[test]
fn a_preset_is_what_its_table_says_under_kind_hmac() {
    let text = include_str!("../source/presets/stripe.toml").replace("path =", "secret = \"webhook_secret\"\npath =");
    let headers =
        [("Stripe-Signature", "t=1533204620,v1=82216eca827bcb7b34b8055eb2d2d9e6bc13b9ac39ded14a61e69f70c565f53a")];
    demand(&text, &headers, STRIPE_EVENT, 1_533_204_620, true);
}

proptest! {
    #[test]
    fn arbitrary_requests_are_refused_by_every_kind_and_nothing_panics(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..4),
        query in "[ -~]{0,60}",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            "[\\[\\]{}\":,.a-z0-9 \\\\]{0,80}".prop_map(String::into_bytes),
        ],
        now in any::<i64>(),
    ) {
        for (kind, text) in tables() {
            let plan = read(&text);
            let proof = &plan.proof;
            let mut parts = request(&[]);
            if let Ok(uri) = format!("/webhooks?{query}").parse() {
                parts.uri = uri;
            }
            let beside = ["webhook-id", "webhook-timestamp", "x-slack-request-timestamp", "x-id", "x-time"];
            let beside = beside.map(::http::HeaderName::from_static);
            for name in proof.headers().iter().chain(&beside) {
                for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
                    parts.headers.append(name, value);
                }
            }
            prop_assert_eq!(proof.verify(&parts, &body, now).is_err(), kind != "none", "{}", kind);
            prop_assert!(!plan.envelope(&parts.headers, &body).kind.is_empty());
            prop_assert!(!matches!(plan.challenge.get(parts.uri.query()), Some(Ok(_))));
            let _ = plan.challenge.post(&body);
        }
    }
}
