//! Headers that belong to one connection and not to the message (RFC 9110, 7.6.1), the headers that a
//! forwarded message gets, and those that no client may set.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Method, Request, Version};
use stickler_core::client_address::X_FORWARDED_FOR;
use stickler_core::deliberate::{self, Fault};

/// Names that start so are ours: nothing that a client sends under them reaches a backend.
pub const RESERVED_PREFIX: &str = "stickler-";

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Always of the connection, named in `Connection` or not.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// A `Connection` line can't take these away: without them the message means something else to the backend
/// than to us. `Trailer` says which trailers may be passed on.
const OF_THE_MESSAGE: [HeaderName; 5] = [HOST, CONTENT_LENGTH, COOKIE, SET_COOKIE, TRAILER];

/// What a backend is told about the client's side.
#[derive(Clone, Copy, Debug)]
pub struct ClientSide<'a> {
    /// The client's address, or that of the last proxy before us.
    pub address: IpAddr,
    /// `http` or `https`.
    pub scheme: &'a str,
}

/// Makes a checked request of a client ready to be sent to a backend: takes away what belongs to the
/// client's connection or is reserved for us, and adds `X-Forwarded-*` (appended to what is there) and
/// `Via`. An upgrade to WebSocket stays asked for. Headers of our own are added after this.
pub fn prepare_request<B>(request: &mut Request<B>, client: &ClientSide<'_>) {
    let websocket = wants_websocket(request);
    let version = std::mem::replace(request.version_mut(), Version::HTTP_11);
    let method = request.method().clone();
    let headers = request.headers_mut();
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    let trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
    strip_connection(headers);
    if !deliberate::active(Fault::PassForgedFence) {
        strip_reserved(headers);
    }
    // The expectation was the client's of us: the parser answers 100 when the body is first asked for,
    // which is once a backend takes the request.
    headers.remove(EXPECT);
    if chunked {
        // Without it hyper leaves the body of a GET out.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if trailers && method != Method::CONNECT {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    append_to_list(headers, X_FORWARDED_FOR, &client.address.to_string());
    append_to_list(headers, X_FORWARDED_PROTO, client.scheme);
    if let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned) {
        append_to_list(headers, X_FORWARDED_HOST, &host);
    }
    append_to_list(headers, VIA, via(version));
}

/// Takes from a backend's response what belongs to the backend's connection, and adds `Via`. `upgraded`
/// keeps what a 101 needs.
pub fn clean_response(headers: &mut HeaderMap, version: Version, upgraded: bool) {
    let protocol = upgraded.then(|| headers.get(UPGRADE).cloned()).flatten();
    strip_connection(headers);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    append_to_list(headers, VIA, via(version));
}

/// Whether the request asks to become a WebSocket, in the only way that is passed on: a GET of HTTP/1.1
/// without a body that names `websocket` and nothing else.
#[must_use]
pub fn wants_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let mut upgrades = headers.get_all(UPGRADE).iter();
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && upgrades.next().is_none()
        && headers.get_all(CONNECTION).iter().any(|value| has_token(value, "upgrade"))
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
}

fn strip_connection(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(tokens)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !OF_THE_MESSAGE.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
}

fn strip_reserved(headers: &mut HeaderMap) {
    let is_reserved = |name: &&HeaderName| name.as_str().starts_with(RESERVED_PREFIX);
    let reserved: Vec<HeaderName> = headers.keys().filter(is_reserved).cloned().collect();
    for name in reserved {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or("").split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(value: &HeaderValue, wanted: &str) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Adds to the end of a list header, joining its lines into one: backends that read a single line would
/// otherwise read the client's own claim and miss ours.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let mut list = Vec::with_capacity(value.len());
    for before in headers.get_all(&name) {
        list.extend_from_slice(before.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(value.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

fn via(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "1.0 stickler" } else { "1.1 stickler" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        prepare_request(&mut request, &ClientSide { address: IpAddr::from([192, 0, 2, 7]), scheme: "http" });
        request.headers().clone()
    }

    #[test]
    fn what_belongs_to_the_clients_connection_stays_there() {
        let headers = prepared(&[
            ("host", "shop"),
            ("connection", "close, X-Private"),
            ("connection", "x-second , host, content-length, cookie"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("x-kept", "1"),
            ("cookie", "a=b"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("expect", "100-continue"),
            ("content-length", "0"),
        ]);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let kept = [
            "content-length",
            "cookie",
            "host",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-kept",
        ];
        assert_eq!(names, kept);
    }

    #[test]
    fn no_client_sets_a_header_that_is_ours() {
        let headers = prepared(&[("Stickler-Epoch", "7"), ("stickler-session", "x"), ("sticklers", "1")]);
        assert!(!headers.keys().any(|name| name.as_str().starts_with("stickler-")));
        assert_eq!(headers["sticklers"], "1");
    }

    #[test]
    fn forwarding_is_added_behind_what_is_there() {
        let headers = prepared(&[
            ("host", "shop:8080"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("via", "1.1 before"),
        ]);
        let one = |name: &str| {
            assert_eq!(headers.get_all(name).iter().count(), 1);
            headers[name].to_str().unwrap().to_owned()
        };
        assert_eq!(one("x-forwarded-for"), "10.0.0.1, 10.0.0.2, 192.0.2.7");
        assert_eq!(one("x-forwarded-proto"), "https, http");
        assert_eq!(one("x-forwarded-host"), "shop:8080");
        assert_eq!(one("via"), "1.1 before, 1.1 stickler");
    }

    #[test]
    fn only_a_websocket_may_upgrade() {
        let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let headers = prepared(&asked);
        assert_eq!(
            (&headers["connection"], &headers["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        for refused in [
            vec![("upgrade", "websocket")],
            vec![("connection", "upgrade"), ("upgrade", "h2c")],
            vec![("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            vec![asked[0], asked[1], ("content-length", "5")],
            vec![asked[0], asked[1], ("transfer-encoding", "chunked")],
        ] {
            assert!(!prepared(&refused).contains_key("upgrade"), "{refused:?}");
        }
    }

    #[test]
    fn a_response_loses_what_belongs_to_the_backends_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Hop, keep-alive, set-cookie"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=b"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut upgraded = headers.clone();
        clean_response(&mut headers, Version::HTTP_11, false);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(
            (&headers["via"], &headers["set-cookie"]),
            (&"1.1 stickler".parse().unwrap(), &"a=b".parse().unwrap())
        );
        upgraded.insert("upgrade", HeaderValue::from_static("websocket"));
        clean_response(&mut upgraded, Version::HTTP_11, true);
        assert_eq!(
            (&upgraded["connection"], &upgraded["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
    }
}
