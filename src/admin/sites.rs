//! Whether a request was made by the page itself, or by a page of another site in the same browser. Pure: headers in,
//! an answer out.
//!
//! A browser says where a request comes from in two headers that no page can set: `Origin`, with every `POST` (Fetch,
//! section 3.2), and `Sec-Fetch-Site`, where the connection can be trusted (W3C, Fetch Metadata). A client that is no
//! browser sends neither, and no page can be behind it.
//!
//! `X-Forwarded-Host` counts beside `Host`, as many a proxy puts its upstream's name there. A page of another site
//! cannot send it: that takes a preflight (Fetch, section 3.2.2), which is answered 405 here.

use http::header::{self, HeaderMap, HeaderName};

/// Whether a browser sent the request for a page of another site.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    // `same-site` is another host of the same domain; `none` is a person at the address bar.
    let is_foreign_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    is_foreign_site || (headers.contains_key(header::ORIGIN) && !is_own(headers))
}

/// Whether the request says that it comes from our own page.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let Some(origin) = text(headers, &header::ORIGIN) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let without_port = |host: &str| {
        let host = host.trim().to_ascii_lowercase();
        host.strip_suffix(port).map(str::to_owned).unwrap_or(host)
    };
    let forwarded = text(headers, &HeaderName::from_static("x-forwarded-host"));
    let forwarded = forwarded.map(|list| list.split(',').next().unwrap_or(list));
    let own = [text(headers, &header::HOST), forwarded];
    own.into_iter().flatten().any(|host| !host.is_empty() && without_port(host) == without_port(authority))
}

/// Whether the browser speaks TLS with a proxy before us. Everybody is believed that: it makes a cookie `Secure`, and
/// who lies keeps the cookie from himself.
pub(super) fn is_tls(headers: &HeaderMap) -> bool {
    let scheme = text(headers, &HeaderName::from_static("x-forwarded-proto"));
    scheme.is_some_and(|scheme| scheme.split(',').next().is_some_and(|scheme| scheme.trim() == "https"))
}

/// A header that there is once; several are as good as none.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).into_iter();
    all.next().filter(|_| all.next().is_none())?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_request_is_the_pages_own_where_its_origin_is_the_host_that_was_asked() {
        for (host, origin, own) in [
            ("relay.example", "https://relay.example", true),
            ("relay.example:443", "https://relay.example", true),
            ("Relay.Example", "https://relay.example:443", true),
            ("127.0.0.1:4001", "http://127.0.0.1:4001", true),
            ("[::1]:4001", "http://[::1]:4001", true),
            ("relay.example", "https://relay.example:8443", false),
            ("relay.example:443", "http://relay.example", false),
            ("relay.example", "https://relay.example.evil.test", false),
            ("relay.example", "https://evil.test", false),
            ("relay.example", "null", false),
            ("", "https://", false),
            ("relay.example", "file://relay.example", false),
        ] {
            let headers = of(&[("host", host), ("origin", origin)]);
            assert_eq!((is_own(&headers), is_foreign(&headers)), (own, !own), "{host} {origin}");
        }
        let behind =
            of(&[("host", "hookrelay"), ("x-forwarded-host", "relay.example"), ("origin", "https://relay.example")]);
        assert!(is_own(&behind));
        let twice = of(&[("host", "a"), ("origin", "http://a"), ("origin", "http://b")]);
        assert!(!is_own(&twice) && is_foreign(&twice));
    }

    #[test]
    fn a_client_that_is_no_browser_is_no_other_site_and_a_browser_says_what_it_is() {
        assert!(!is_foreign(&of(&[("host", "a")])) && !is_own(&of(&[("host", "a")])));
        for (site, foreign) in
            [("same-origin", false), ("none", false), ("same-site", true), ("cross-site", true), ("", true)]
        {
            assert_eq!(is_foreign(&of(&[("host", "a"), ("sec-fetch-site", site)])), foreign, "{site}");
            let with = of(&[("host", "a"), ("origin", "http://a"), ("sec-fetch-site", site)]);
            assert_eq!(is_foreign(&with), foreign, "{site}");
        }
        assert!(is_tls(&of(&[("x-forwarded-proto", "https")])) && !is_tls(&of(&[("x-forwarded-proto", "http")])));
        assert!(!is_tls(&of(&[])));
    }
}
