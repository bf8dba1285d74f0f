//! Every method of recognition: what the cluster document says of it, how a client gets an identifier, and how it
//! shows it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::rig::document::{Door, NEVER_IDLE};

/// A method of recognition behind a route of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    /// What the report calls it.
    pub name: &'static str,
    /// What its route and its affinity are called.
    pub route: &'static str,
    /// Where its requests go.
    pub path: &'static str,
    /// Its affinity's tables.
    pub written: &'static str,
    /// How a client comes by an identifier.
    pub begins: Begins,
    /// How a client shows it.
    pub shows: Shows,
}

/// How a client comes by an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// It has one that nobody knows: all its requests are first requests.
    Unknown,
    /// The same, and the identifier names this backend.
    UnknownOf(&'static str),
    /// Its first answer brings a cookie of this name that Stickler has made.
    Token(&'static str),
    /// Its first answer brings a cookie of this name that the application has made.
    Cookie(&'static str),
    /// The same, and the cookie ends with its backend's name.
    RoutedCookie(&'static str),
    /// Its first answer brings a header of this name.
    Header(&'static str),
}

/// How a client shows its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// In a cookie of this name.
    Cookie(&'static str),
    /// In the path, as the parameter `jsessionid`.
    Path,
    /// In a header of this name, in which nothing else stands.
    Header(&'static str),
    /// In a part of a header that is another one in each request.
    Pattern,
    /// As a bearer token.
    Bearer,
    /// As the subject of a JSON Web Token that is another one in each request.
    Claim,
    /// In the query.
    Query,
    /// It is the client's address, as a proxy says.
    Address,
}

/// All of them, in the order of the report.
pub(super) const ALL: [Method; 15] = [
    Method {
        name: "Stickler's cookie",
        route: "cookie",
        path: "/by/cookie",
        written: "[[affinity.by]]\nmethod = \"cookie\"\nname = \"ALWAYS\"",
        begins: Begins::Token("ALWAYS"),
        shows: Shows::Cookie("ALWAYS"),
    },
    Method {
        name: "Stickler's cookie, recorded on return",
        route: "return",
        path: "/by/return",
        written: "[[affinity.by]]\nmethod = \"cookie\"\nname = \"RETURN\"\nrecord = \"on-return\"",
        begins: Begins::Token("RETURN"),
        shows: Shows::Cookie("RETURN"),
    },
    Method {
        name: "application cookie, learned",
        route: "application",
        path: "/by/application",
        written: "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"SHOP\"",
        begins: Begins::Cookie("SHOP"),
        shows: Shows::Cookie("SHOP"),
    },
    Method {
        name: "application cookie, unknown",
        route: "unknown",
        path: "/by/unknown",
        written: "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"SHOP\"",
        begins: Begins::Unknown,
        shows: Shows::Cookie("SHOP"),
    },
    Method {
        name: "cookie with a route, learned",
        route: "route",
        path: "/by/route",
        written: "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"ROUTED\"\nroute_separator = \".\"",
        begins: Begins::RoutedCookie("ROUTED"),
        shows: Shows::Cookie("ROUTED"),
    },
    Method {
        name: "cookie with a route, unknown",
        route: "unknown-route",
        path: "/by/unknown-route",
        written: "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"ROUTED\"\nroute_separator = \".\"",
        begins: Begins::UnknownOf("web-2"),
        shows: Shows::Cookie("ROUTED"),
    },
    Method {
        name: "path parameter, learned by cookie",
        route: "path",
        path: "/by/path",
        written: "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"JSESSIONID\"\npath_parameter = \"jsessionid\"",
        begins: Begins::Cookie("JSESSIONID"),
        shows: Shows::Path,
    },
    Method {
        name: "path parameter, unknown",
        route: "unknown-path",
        path: "/by/unknown-path",
        written: "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"JSESSIONID\"\npath_parameter = \"jsessionid\"",
        begins: Begins::Unknown,
        shows: Shows::Path,
    },
    Method {
        name: "header",
        route: "header",
        path: "/by/header",
        written: "[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"",
        begins: Begins::Unknown,
        shows: Shows::Header("x-session"),
    },
    Method {
        name: "header, by a pattern",
        route: "pattern",
        path: "/by/pattern",
        written: "[[affinity.by]]\nmethod = \"header\"\nname = \"X-Trace\"\npattern = 'sid=([a-z0-9-]+)'",
        begins: Begins::Unknown,
        shows: Shows::Pattern,
    },
    Method {
        name: "bearer token",
        route: "bearer",
        path: "/by/bearer",
        written: "[[affinity.by]]\nmethod = \"header\"\nname = \"Authorization\"\nbearer = true",
        begins: Begins::Unknown,
        shows: Shows::Bearer,
    },
    Method {
        name: "claim of a JSON Web Token",
        route: "claim",
        path: "/by/claim",
        written: "[[affinity.by]]\nmethod = \"jwt-claim\"\nclaim = \"sub\"",
        begins: Begins::Unknown,
        shows: Shows::Claim,
    },
    Method {
        name: "query parameter",
        route: "query",
        path: "/by/query",
        written: "[[affinity.by]]\nmethod = \"query\"\nname = \"sid\"",
        begins: Begins::Unknown,
        shows: Shows::Query,
    },
    Method {
        name: "token learned from a response's header",
        route: "learned",
        path: "/by/learned",
        written: "[[affinity.by]]\nmethod = \"header\"\nname = \"Authorization\"\nbearer = true\n\
                  learn_from_response = \"X-Session-Token\"",
        begins: Begins::Header("x-session-token"),
        shows: Shows::Bearer,
    },
    Method {
        name: "source address, behind a proxy",
        route: "source",
        path: "/by/source",
        written: "[[affinity.by]]\nmethod = \"source-address\"",
        begins: Begins::Unknown,
        shows: Shows::Address,
    },
];

impl Method {
    /// Its route and affinity.
    pub(super) fn door(&self) -> Door<'static> {
        Door { name: self.route, path_prefix: self.path, options: NEVER_IDLE, methods: self.written }
    }

    /// The identifier of the client with this number, as far as somebody else than Stickler makes it.
    pub(super) fn identifier(&self, number: usize) -> String {
        match (self.shows, self.begins) {
            (Shows::Address, _) => {
                format!("10.{}.{}.{}", number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
            }
            (_, Begins::UnknownOf(backend)) => format!("{}-{number}.{backend}", self.route),
            _ => format!("{}-{number}", self.route),
        }
    }

    /// The header that has the application answer a first request with this identifier.
    pub(super) fn asks_for(&self, identifier: &str) -> Option<(&'static str, String)> {
        match self.begins {
            Begins::Unknown | Begins::UnknownOf(_) | Begins::Token(_) => None,
            Begins::Cookie(name) => Some(("x-answer-set-cookie", format!("{name}={identifier}; Path=/"))),
            Begins::RoutedCookie(name) => {
                Some(("x-answer-set-cookie", format!("{name}={identifier}.{{backend}}; Path=/")))
            }
            // It is the only header that an application answers with.
            Begins::Header(_) => Some(("x-answer-x-session-token", identifier.to_owned())),
        }
    }

    /// Whether the identifier comes with a first answer.
    pub(super) const fn is_given(&self) -> bool {
        !matches!(self.begins, Begins::Unknown | Begins::UnknownOf(_))
    }

    /// The identifier that a first answer brings.
    pub(super) fn given(&self, headers: &HeaderMap) -> Option<String> {
        match self.begins {
            Begins::Unknown | Begins::UnknownOf(_) => None,
            Begins::Token(name) | Begins::Cookie(name) | Begins::RoutedCookie(name) => cookie(headers, name),
            Begins::Header(name) => Some(headers.get(name)?.to_str().ok()?.to_owned()),
        }
    }

    /// Target and header of a client's request. `number` tells its requests apart where they differ.
    pub(super) fn request(
        &self,
        identifier: &str,
        number: usize,
    ) -> (String, Option<(&'static str, String)>) {
        let path = self.path;
        let header = match self.shows {
            Shows::Path => return (format!("{path}/cart;jsessionid={identifier}"), None),
            Shows::Query => return (format!("{path}?page={number}&sid={identifier}"), None),
            Shows::Cookie(name) => ("cookie", format!("theme=dark; {name}={identifier}")),
            Shows::Header(name) => (name, identifier.to_owned()),
            Shows::Pattern => ("x-trace", format!("request={number}; sid={identifier}; depth=2")),
            Shows::Bearer => ("authorization", format!("Bearer {identifier}")),
            Shows::Claim => ("authorization", format!("Bearer {}", web_token(identifier, number))),
            Shows::Address => ("x-forwarded-for", format!("198.51.100.7, {identifier}")),
        };
        (path.to_owned(), Some(header))
    }
}

/// A token of this subject as it is after so many renewals. Nobody checks its signature.
fn web_token(subject: &str, renewal: usize) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let claims = format!("{{\"iat\":{renewal},\"sub\":\"{subject}\"}}");
    format!(
        "{}.{}.{}",
        part("{\"alg\":\"HS256\"}".to_owned()),
        part(claims),
        part(format!("signed {renewal}"))
    )
}

fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.filter_map(|line| line.split(';').next()?.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_has_a_route_of_its_own_and_every_client_an_identifier() {
        assert_eq!(ALL.iter().map(|method| method.path).collect::<BTreeSet<_>>().len(), ALL.len());
        for method in ALL {
            assert_eq!(method.path, format!("/by/{}", method.route));
            let identifiers: BTreeSet<String> = (0..2000).map(|number| method.identifier(number)).collect();
            assert_eq!(identifiers.len(), 2000, "{}", method.name);
            assert_eq!(
                method.asks_for("a").is_some() || matches!(method.begins, Begins::Token(_)),
                method.is_given()
            );
        }
    }
}
