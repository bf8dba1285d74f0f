//! Strict checks of a request's framing and target, as far as the HTTP parser leaves them to us, and the
//! list of everything for which a request is refused before anyone looks where it should go.

use http::header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, StatusCode, Version};

/// Why a request was refused as it stands. The client is at fault; an operator who sees many of one kind is
/// looking at a broken client, a middlebox, or an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No `Host` in a request of HTTP/1.1.
    #[error("the request has no Host")]
    NoHost,
    /// More than one `Host` line.
    #[error("the request has several Host lines")]
    SeveralHosts,
    /// The `Host` or the target's authority is no host name or address with an optional port.
    #[error("the Host is not a host name or address")]
    BadHost,
    /// The target is absolute and names another host than `Host` does.
    #[error("the target and the Host differ")]
    HostDiffersFromTarget,
    /// The target is neither a path, nor an absolute http URI, nor `*` of OPTIONS.
    #[error("the target is not a path")]
    BadTarget,
    /// `CONNECT`: this is no forward proxy.
    #[error("CONNECT is not for this server")]
    Connect,
    /// A `Transfer-Encoding` other than exactly one `chunked`.
    #[error("the only transfer encoding taken is chunked, once")]
    BadTransferEncoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthBesideTransferEncoding,
    /// More than one `Content-Length` line, equal or not.
    #[error("the request has several Content-Length lines")]
    SeveralLengths,
    /// A line of the head or of the chunked framing ends without a carriage return.
    #[error("a line ends without a carriage return")]
    BareLineFeed,
    /// The body before this request could not be followed to its end.
    #[error("the framing of the body before can't be read")]
    UnreadableBody,
    /// An `Expect` other than `100-continue`.
    #[error("the only expectation met is 100-continue")]
    BadExpectation,
}

impl Rejection {
    /// The status that it is answered with. The connection is closed after each.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadExpectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The name that the `Stickler-Error` header and the metrics carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoHost => "no-host",
            Self::SeveralHosts => "several-hosts",
            Self::BadHost => "bad-host",
            Self::HostDiffersFromTarget => "host-differs-from-target",
            Self::BadTarget => "bad-target",
            Self::Connect => "connect",
            Self::BadTransferEncoding => "bad-transfer-encoding",
            Self::LengthBesideTransferEncoding => "length-beside-transfer-encoding",
            Self::SeveralLengths => "several-lengths",
            Self::BareLineFeed => "bare-line-feed",
            Self::UnreadableBody => "unreadable-body",
            Self::BadExpectation => "bad-expectation",
        }
    }
}

/// Checks what the parser let through and brings the target into origin form (`/path?query`, or `*`).
/// Answers the host that the request is for: lower case, without port; empty for HTTP/1.0 without `Host`.
pub fn check<B>(request: &mut Request<B>) -> Result<String, Rejection> {
    if request.method() == Method::CONNECT {
        return Err(Rejection::Connect);
    }
    check_transfer_encoding(request.headers())?;
    check_expectation(request.headers())?;
    let host = check_host(request)?;
    check_target(request)?;
    Ok(host)
}

fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Rejection::BadTransferEncoding),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Rejection> {
    let met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(http::header::EXPECT).iter().all(met) {
        Ok(())
    } else {
        Err(Rejection::BadExpectation)
    }
}

fn check_host<B>(request: &Request<B>) -> Result<String, Rejection> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Rejection::SeveralHosts),
        (None, _) if request.version() == Version::HTTP_10 => None,
        (None, _) => return Err(Rejection::NoHost),
        (Some(host), None) => {
            let host = host.to_str().map_err(|_opaque| Rejection::BadHost)?;
            Some(parse_host(host).ok_or(Rejection::BadHost)?)
        }
    };
    let target = match request.uri().authority() {
        None => return Ok(host.map_or_else(String::new, |host| host.name)),
        Some(authority) => parse_host(authority.as_str()).ok_or(Rejection::BadHost)?,
    };
    match host {
        Some(host) if !host.is_same(&target, request.uri()) => Err(Rejection::HostDiffersFromTarget),
        _ => Ok(target.name),
    }
}

fn check_target<B>(request: &mut Request<B>) -> Result<(), Rejection> {
    let uri = request.uri();
    if let Some(scheme) = uri.scheme_str() {
        if scheme != "http" && scheme != "https" {
            return Err(Rejection::BadTarget);
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        return Ok(());
    }
    match uri.path() {
        "*" if request.method() == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') && uri.authority().is_none() => Ok(()),
        _ => Err(Rejection::BadTarget),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    /// The same name and, the scheme's own port counting as none, the same port.
    fn is_same(&self, other: &Self, uri: &Uri) -> bool {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        self.name == other.name && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

/// A host name, an IPv4 address or a bracketed IPv6 address, with an optional port. What a name may hold is
/// kept narrow: nothing that another server could read as a path, a list or a login.
fn parse_host(text: &str) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (&text[..address.len() + 2], port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let name = &text[..end];
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if name.is_empty() || name.len() > 253 || !name.bytes().all(fits) {
                return None;
            }
            (name, &text[end..])
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        _ => return None,
    };
    Some(Host { name: name.to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, headers: &[(&'static str, &str)]) -> Result<(String, String), Rejection> {
        checked_as(Method::GET, Version::HTTP_11, target, headers)
    }

    fn checked_as(
        method: Method,
        version: Version,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(String, String), Rejection> {
        let mut request = Request::builder().method(method).version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        let host = check(&mut request)?;
        Ok((host, request.uri().to_string()))
    }

    #[test]
    fn exactly_one_valid_host_is_wanted() {
        for (host, name) in [
            ("Shop.Example:8080", "shop.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("a_b", "a_b"),
        ] {
            assert_eq!(checked("/", &[("host", host)]).unwrap().0, name);
        }
        assert_eq!(checked("/", &[]), Err(Rejection::NoHost));
        assert_eq!(checked("/", &[("host", "a"), ("host", "a")]), Err(Rejection::SeveralHosts));
        for bad in [
            "", "a b", "a,b", "a/b", "u@a", "a:", "a:b", "a:99999", "a:1:2", "[::1", "[x]", "[::1]x", "a:+1",
            "a%41",
        ] {
            assert_eq!(checked("/", &[("host", bad)]), Err(Rejection::BadHost), "{bad:?}");
        }
    }

    #[test]
    fn http_1_0_may_leave_the_host_out() {
        let checked = checked_as(Method::GET, Version::HTTP_10, "/", &[]).unwrap();
        assert_eq!(checked, (String::new(), "/".to_owned()));
    }

    #[test]
    fn an_absolute_target_must_agree_with_the_host_and_becomes_a_path() {
        let expected = ("shop".to_owned(), "/x?y".to_owned());
        assert_eq!(checked("http://Shop/x?y", &[("host", "shop:80")]), Ok(expected.clone()));
        assert_eq!(checked("https://shop:443/x?y", &[("host", "shop")]), Ok(expected));
        assert_eq!(checked("http://shop", &[("host", "shop")]).unwrap().1, "/");
        assert_eq!(checked("http://shop/", &[("host", "other")]), Err(Rejection::HostDiffersFromTarget));
        assert_eq!(checked("http://shop:81/", &[("host", "shop")]), Err(Rejection::HostDiffersFromTarget));
        assert_eq!(checked("http://u@shop/", &[("host", "shop")]), Err(Rejection::BadHost));
        assert_eq!(checked("ftp://shop/", &[("host", "shop")]), Err(Rejection::BadTarget));
        assert_eq!(checked("http://shop/", &[]), Err(Rejection::NoHost));
    }

    #[test]
    fn a_star_is_for_options_and_connect_for_nobody() {
        let host = [("host", "a")];
        let with = |method, target| checked_as(method, Version::HTTP_11, target, &host);
        assert_eq!(with(Method::OPTIONS, "*").unwrap().1, "*");
        assert_eq!(with(Method::GET, "*"), Err(Rejection::BadTarget));
        assert_eq!(with(Method::CONNECT, "a:443"), Err(Rejection::Connect));
        assert_eq!(with(Method::GET, "b:443"), Err(Rejection::HostDiffersFromTarget));
        assert_eq!(with(Method::GET, "a:80"), Err(Rejection::BadTarget), "authority form");
    }

    #[test]
    fn chunked_once_is_the_only_transfer_encoding() {
        let with = |lines: &[&str]| {
            let mut headers = vec![("host", "a")];
            headers.extend(lines.iter().map(|line| ("transfer-encoding", *line)));
            checked("/", &headers).map(|_checked| ())
        };
        assert_eq!(with(&["Chunked"]), Ok(()));
        for bad in
            [&["gzip, chunked"][..], &["chunked", "chunked"], &["identity"], &["chunked, chunked"], &[""]]
        {
            assert_eq!(with(bad), Err(Rejection::BadTransferEncoding), "{bad:?}");
        }
    }
}
