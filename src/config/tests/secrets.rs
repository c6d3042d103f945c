//! What was filled in, or is plainly a secret, is never printed: not in a message, a help, an excerpt or JSON.

use super::*;

const SECRET: &str = "hunter2-correct-horse";

/// Everything a person or a script could see of these faults.
fn visible(text: &str, env: &FakeEnv) -> String {
    let faults = read(text, env).map(|_| ()).unwrap_err();
    format!("{faults}\n{}\n{faults:?}", serde_json::to_string(&faults).unwrap())
}

fn shows_nothing(text: &str, value: &str, placeholder: &str) {
    let visible = visible(text, &FakeEnv::of(&[("V", value)]));
    for piece in value.split(|c: char| !c.is_alphanumeric()).filter(|piece| piece.len() > 3) {
        assert!(!visible.contains(piece), "{piece:?} of {value:?} in:\n{visible}");
    }
    assert!(visible.contains(placeholder), "no {placeholder} in:\n{visible}");
}

#[test]
fn a_fault_with_an_interpolated_value_shows_the_placeholder() {
    let sink = |keys: &str| format!("{SOURCE}[sinks.s]\nkind = \"file\"\n{keys}");
    let http = |keys: &str| format!("{SOURCE}[sinks.s]\nkind = \"http\"\n{keys}");
    for text in [
        format!("{SOURCE}[server]\nmax_connections = \"${{V}}\"\n"),
        format!("{SOURCE}[server]\nlisten = \"${{V}}\"\n"),
        format!("{SOURCE}[server]\ntrusted_proxies = [\"${{V}}\"]\n"),
        format!("{SOURCE}[journal]\nretention = \"${{V}}\"\n"),
        format!("{SOURCE}[journal]\nsegment_size = \"x${{V}}\"\n"),
        format!("{SOURCE}[journal]\nwhen_full = \"${{V}}\"\n"),
        format!("{SOURCE}server = \"${{V}}\"\n"),
        format!("{SOURCE}[sinks.s]\nkind = \"${{V}}\"\n"),
        sink("path = \"data/{${V}}/x\"\n"),
        sink("path = \"data/{type}\"\nkey = \"{${V}}\"\n"),
        sink("path = \"data/{type}\"\nrotate = \"${V}\"\n"),
        sink("path = \"data/{type}\"\nrotate = { size = \"${V}\" }\n"),
        sink("path = \"data/{type}\"\n[sinks.s.rotate]\nsize = \"1MiB\"\ncompress = \"${V}\"\n"),
        sink("path = \"data/{type}\"\nrate = \"${V}\"\nenabled = \"${V}\"\n"),
        http("url = \"ftp://u:${V}@x/${V}\"\n"),
        http("url = \"http://x/{${V}}\"\n"),
        http("url = \"http://x/\"\nsign = { standard_webhooks = \"${V}\" }\n"),
        http("url = \"http://x/\"\nsign = \"${V}\"\n"),
        http("url = \"http://x/\"\nheaders = { x = 1, \"${V}\" = \"${V}\" }\n"),
        format!("{SOURCE}[[routes]]\nmatch = \"[${{V}}\"\nto = \"a-${{V}}\"\n"),
        format!("{SOURCE}[[routes]]\nmatch = \"*\"\nsource = \"${{V}}\"\nto = []\ntransform = \"${{V}}\"\n"),
    ] {
        shows_nothing(&text, SECRET, "${V}");
        shows_nothing(&text, &format!("{SECRET}\"\\\n{{tpye}}"), "${V}");
    }
}

#[test]
fn a_secret_written_out_in_the_file_is_not_shown_either() {
    for text in [
        format!("[sources.a]\nkind = \"interakt\"\npath = \"/a\"\nsecret = [\"{SECRET}\"]\n"),
        format!("[sources.a]\nkind = \"interakt\"\nsecret = \"{SECRET}\" \nsecret = \"{SECRET}\"\n"),
        format!("{SOURCE}[sinks.s]\nkind = \"http\"\nurl = \"http://x/\"\nbasic = \"user:{SECRET}\"\n"),
        format!("{SOURCE}[sinks.s]\nkind = \"http\"\nurl = \"http://u:{SECRET}@x/\"\nheaders = [\"{SECRET}\"]\n"),
        format!(
            "{SOURCE}[sinks.s]\nkind = \"http\"\nurl = \"http://x/\"\nsign = {{ standard_webhook = \"{SECRET}\" }}\n"
        ),
        format!("[sources.a]\nkind = \"interakt\"\nsecret = \"{SECRET}\n"),
        format!("[sources.a]\nkind = \"interakt\"\nsecret = {SECRET} x\n"),
        format!("[sources.a]\nkind = \"interakt\"\nsecret {SECRET}\n"),
    ] {
        let visible = visible(&text, &FakeEnv::default());
        assert!(!visible.contains("hunter2") && !visible.contains("horse"), "{visible}");
    }
}

#[test]
fn nothing_that_is_printed_of_a_good_config_shows_a_secret() {
    let text = format!(
        "{}[sinks.s]\nkind = \"http\"\nurl = \"http://u:${{V}}@x/${{V}}?t=${{V}}\"\nbearer = \"${{V}}\"\n[admin]\n\
         token = \"${{V}}\"\n",
        SOURCE.replace("a-long-secret", "${V}")
    );
    let text = text.replace("u:${V}@", "");
    let config = read(&text, &FakeEnv::of(&[("V", SECRET)])).unwrap_or_else(|faults| panic!("{faults}"));
    let warnings: String = config.warnings.iter().map(ToString::to_string).collect();
    assert!(!format!("{config:?}{warnings}").contains("hunter2"));
    assert_eq!(config.masks.mask(&format!("http://x/{SECRET}?t={SECRET}")), "http://x/${V}?t=${V}");
}

#[test]
fn a_default_written_in_the_file_is_not_masked() {
    let text = SOURCE.replace("/webhooks/interakt", "/${WORD:-webhooks}/interakt");
    let config = read(&text, &FakeEnv::default()).unwrap();
    assert_eq!(config.masks.mask("POST /webhooks/interakt"), "POST /webhooks/interakt");
}

#[test]
fn a_secret_that_was_never_filled_in_is_a_warning_with_the_mend() {
    let with = |secret: &str| SOURCE.replace("\"a-long-secret\"", secret);
    let warned = |text: &str, env: &FakeEnv| {
        let config = read(text, env).unwrap_or_else(|faults| panic!("{faults}"));
        config.warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>()
    };
    for (written, mend) in [
        ("\"$INTERAKT_WEBHOOK_SECRET\"", "write `${INTERAKT_WEBHOOK_SECRET}`"),
        ("\"{{INTERAKT_SECRET}}\"", "write `${INTERAKT_SECRET}`"),
        ("\"env:INTERAKT_SECRET\"", "write `${INTERAKT_SECRET}`"),
        ("\"%INTERAKT_SECRET%\"", "write `${INTERAKT_SECRET}`"),
        ("'\"quoted-secret\"'", "write one pair of quotes"),
    ] {
        let warnings = warned(&with(written), &FakeEnv::default());
        assert!(warnings.contains("[sources.interakt] `secret`:") && warnings.contains(mend), "{written}: {warnings}");
        assert!(!warnings.contains("quoted-secret"), "{warnings}");
    }
    for value in ["$OTHER_SECRET", "{{OTHER_SECRET}}", "env:OTHER_SECRET", "%OTHER_SECRET%", "\"OTHER_SECRET\""] {
        let warnings = warned(&with("\"${KEY}\""), &FakeEnv::of(&[("KEY", value)]));
        assert!(warnings.contains("`secret`: what `${KEY}` stands for") && warnings.contains("help:"), "{warnings}");
        assert!(!warnings.contains("OTHER_SECRET"), "{warnings}");
    }
    // Every key that holds a secret is looked at, and no other.
    let others = "[sources.m]\nkind = \"meta\"\npath = \"/m\"\nsecret = \"s\"\nprevious_secret = \"$OLD\"\n\
                  verify_token = \"$TOKEN\"\n\
                  [sinks.s]\nkind = \"http\"\nurl = \"http://x/\"\nbearer = \"$BEARER\"\n\
                                      headers = { x-a = \"{{type}}\" }\n\
                  [admin]\ntoken = \"$ADMIN\"\n";
    let warnings = warned(&format!("{SOURCE}{others}"), &FakeEnv::default());
    for key in ["previous_secret", "verify_token", "bearer", "token"] {
        assert!(warnings.contains(&format!("`{key}`:")), "{key}: {warnings}");
    }
    assert!(!warnings.contains("x-a"), "{warnings}");
    assert_eq!(warned(&with("\"${KEY}\""), &FakeEnv::of(&[("KEY", "$2b$12$abc")])).matches("secret`").count(), 0);
}

#[test]
fn a_standard_webhooks_secret_may_be_written_as_the_dashboard_shows_it() {
    let text = "[sources.s]\nkind = \"standard_webhooks\"\npath = \"/s\"\n\
                secret = \"v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
                [sinks.s]\nkind = \"http\"\nurl = \"http://x/\"\n\
                sign = { standard_webhooks = \"v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\" }\n";
    read(text, &FakeEnv::default()).unwrap_or_else(|faults| panic!("{faults}"));
}
