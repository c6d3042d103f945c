//! Tells which values of a config are secrets, by the key that a value stands under or because it is a URL with a
//! password. Pure.

use sink_api::fault::is_one_slip_apart;

use super::mask::Part;

/// Keys whose values are secrets even where they are written out in the file.
const SECRET_KEYS: &[&str] = &[
    "secret",
    "previous_secret",
    "token",
    "verify_token",
    "password",
    "bearer",
    "basic",
    "sign",
    "headers",
    "api_key",
];
/// Those of [`SECRET_KEYS`] that also hold values that are no secrets.
const MIXED_KEYS: &[&str] = &["headers", "basic"];
/// Words in the name of a header, parameter or property whose value is a credential.
const CREDENTIALS: &[&str] =
    &["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "api_key"];
/// Keys that hold an address, perhaps with user and password.
const ADDRESSES: &[&str] = &["url", "brokers", "database", "listen"];

/// Whether a string written out in the file may be a secret, by its key or as a URL that carries one. A string that may
/// be a secret is not printed with a fault.
pub(super) fn may_be_secret(path: &[String], text: &str) -> bool {
    let by_key = has_secret_key(path);
    let is_address = below_root(path).any(|key| ADDRESSES.contains(&key.as_str()));
    let has_user = (is_address || text.contains("://")) && text.contains('@');
    // libpq's other form of an address: `host=h password=p`.
    let has_password = text.to_lowercase().contains("password=");
    by_key
        || has_user
        || has_password
        || path.iter().any(|key| nearly_secret(&key.to_lowercase()))
        || text.contains("PRIVATE KEY")
        || text.contains("://") && (text.contains('?') || has_odd_port(text))
}

/// Whether a key may be meant for one whose value is a secret, but is misspelt or in the wrong table; or holds settings
/// that are passed on to other programs, passwords among them.
fn nearly_secret(key: &str) -> bool {
    const LONG_ENOUGH: usize = 5;
    let mut sure = SECRET_KEYS.iter().filter(|secret| secret.len() >= LONG_ENOUGH && !MIXED_KEYS.contains(secret));
    let is_near = sure.any(|secret| is_one_slip_apart(key, secret));
    matches!(key, "properties" | "env") || is_credential(key) || is_near
}

/// Whether a value under this key is a secret or holds some.
pub(super) fn has_secret_key(path: &[String]) -> bool {
    below_root(path).any(|key| SECRET_KEYS.contains(&key.as_str()))
}

/// Whether a string is certainly a secret, by its key and form. Others should not be able to read a file with such a
/// one.
pub(super) fn is_secret(path: &[String], text: &str) -> bool {
    let names = match path.first().map(String::as_str) {
        Some("sources" | "sinks") => 2,
        Some("admin") => 1,
        _ => return false,
    };
    let is_sure = |key: &str| SECRET_KEYS.contains(&key) && !MIXED_KEYS.contains(&key);
    let by_key = path.iter().skip(names).map(|key| key.to_lowercase()).any(|key| is_sure(&key) || is_credential(&key));
    let in_url = url_parts(text).iter().any(|part| match part.value.strip_prefix("://") {
        Some(user) => user.contains(':'),
        None => part.value.split('=').next().is_some_and(|name| is_credential(&name.to_lowercase())),
    });
    !text.is_empty() && (by_key || in_url)
}

/// Whether a header, parameter or property of this name, in lower case, holds a credential.
pub fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|word| name.contains(word))
}

/// The parts of a URL that must not be shown, each with what is shown instead: user and password, and the values of its
/// query. Placeholders of any sort may be shown.
pub(super) fn url_parts(text: &str) -> Vec<Part> {
    let Some((_, rest)) = text.split_once("://") else { return vec![] };
    let part = |value: String, shown: &str| Part { shown: shown.to_owned(), value };
    let mut parts = Vec::new();
    // A password may hold characters that should have been percent-encoded, such as `/`.
    let authority = rest.split_once('?').map_or(rest, |(before, _)| before);
    if let Some((user, _)) = authority.rsplit_once('@').filter(|(user, _)| !user.contains(['{', '}'])) {
        parts.push(part(format!("://{user}@"), "://***@"));
    }
    for pair in rest.split_once('?').into_iter().flat_map(|(_, query)| query.split(['&', '#'])) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let written = value.split(['{', '$']).next().unwrap_or_default();
        if !written.is_empty() && !name.contains(['{', '$']) {
            for before in ['?', '&'] {
                parts.push(part(format!("{before}{name}={written}"), &format!("{before}{name}=***")));
            }
        }
    }
    parts
}

/// Whether something else than a number stands where a URL has its port: perhaps a password, whose host was forgotten.
fn has_odd_port(text: &str) -> bool {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let ports = authority.split(',').filter(|host| !host.ends_with(']')).filter_map(|host| host.rsplit_once(':'));
    ports.into_iter().any(|(_, port)| port.parse::<u16>().is_err())
}

fn below_root(path: &[String]) -> impl Iterator<Item = String> + '_ {
    path.iter().skip(1).map(|key| key.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &str) -> Vec<String> {
        keys.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_secret_is_known_by_its_key_or_its_url() {
        for (key, text) in [
            ("sources.a.secret", "x"),
            ("admin.token", "x"),
            ("sinks.a.basic.password", "x"),
            ("sinks.a.sign.standard_webhooks", "whsec_x"),
            ("sinks.a.headers.Authorization", "Bearer x"),
            ("sinks.a.properties.sasl.password", "x"),
            ("sinks.a.url", "postgres://u:p@h/d"),
            ("sinks.a.url", "https://h/?a=1&access_token=x"),
        ] {
            assert!(is_secret(&path(key), text), "{key} {text}");
            assert!(may_be_secret(&path(key), text) || key.contains("properties"), "{key} {text}");
        }
        for (key, text) in [
            ("sources.a.secret", ""),
            ("sinks.a.headers.x-env", "prod"),
            ("sinks.my-token.path", "out"),
            ("tests.headers.x-token", "x"),
            ("sinks.a.url", "postgres://u@h/d"),
            ("sinks.a.url", "https://h/?v=1"),
            ("sinks.a.path", "out/{type}"),
        ] {
            assert!(!is_secret(&path(key), text), "{key} {text}");
        }
        for key in [
            "secret",
            "sources.a.secrett",
            "sources.a.previous_secrets",
            "admin.tokn",
            "sinks.k.properties.sasl.pasword",
        ] {
            assert!(may_be_secret(&path(key), "x"), "{key}");
        }
        for text in ["host=h password=x", "postgres://u:pass", "u:pass@h/d", "http://u@h", "https://h/?v=1"] {
            assert!(may_be_secret(&path("sinks.a.url"), text), "{text}");
        }
        for text in ["http://h:8080/x", "postgres://a:1,[::1]/d", "https://h/"] {
            assert!(!may_be_secret(&path("sinks.a.url"), text), "{text}");
        }
    }

    #[test]
    fn of_a_url_what_is_written_out_in_user_and_query_is_hidden() {
        let of = |text: &str| url_parts(text).into_iter().map(|part| part.value).collect::<Vec<_>>();
        assert_eq!(of("https://u:p/w@h/x"), ["://u:p/w@"]);
        assert_eq!(of("https://h/x?token=abc&t={type}&k=a{id}"), ["?token=abc", "&token=abc", "?k=a", "&k=a"]);
        assert_eq!(of("https://${U}@h/?t=${T}"), [""; 0]);
        assert_eq!(of("plain?a=b"), [""; 0]);
    }
}
