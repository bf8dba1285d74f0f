use super::{Unique, cookie, is_token, number, or_default};
use crate::affinity::pattern::Patterns;
use crate::document::cluster::Method;
use crate::document::defaults;
use crate::document::report::{Complaint, Report, quoted};
use crate::document::written::{self, Written};

/// Headers that belong to one connection, to the framing of a message, or to something that Stickler does
/// itself. None of them can tell sessions apart.
const UNFIT_HEADERS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The longest name of a header or cookie.
pub(super) const LONGEST_NAME: usize = 128;

/// What makes two methods of one affinity the same.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// Stickler's cookie and the application's share one space of names.
    Cookie(String),
    /// In lower case, with its pattern.
    Header(String, Option<String>),
    Query(String),
    /// A header in lower case, and a claim.
    Claim(String, String),
}

pub(super) fn check_methods(report: &Report<'_>, written: &[written::affinity::By]) -> Option<Vec<Method>> {
    let mut identities = Unique::new("the method with the name");
    let mut own_cookies = Unique::new("the method");
    let mut check = |by: &written::affinity::By| {
        let method = check_method(report, by.method.as_ref()?)?;
        let (identity, name) = match &method {
            Method::Cookie(attributes) => {
                own_cookies.add(report, &by.place, (), "\"cookie\"");
                (Identity::Cookie(attributes.name.clone()), &attributes.name)
            }
            Method::ApplicationCookie { name, .. } => (Identity::Cookie(name.clone()), name),
            Method::Header { name, pattern, .. } => {
                (Identity::Header(name.to_ascii_lowercase(), pattern.clone()), name)
            }
            Method::Query { name } => (Identity::Query(name.clone()), name),
            Method::JwtClaim { header, claim } => {
                (Identity::Claim(header.to_ascii_lowercase(), claim.clone()), claim)
            }
            Method::SourceAddress { .. } => return Some(method),
        };
        identities.add(report, &by.place, identity, &quoted(name));
        Some(method)
    };
    let methods: Vec<Option<Method>> = written.iter().map(&mut check).collect();
    for (by, method) in written.iter().zip(&methods).rev().skip(1) {
        if matches!(method, Some(Method::SourceAddress { .. })) {
            let complaint =
                Complaint::new("every request has a source address, so that no later method is tried");
            report.add(&by.place, complaint.help("move the method \"source-address\" to the end"));
        }
    }
    methods.into_iter().collect()
}

/// `None` when a name is missing, which has been added.
fn check_method(report: &Report<'_>, written: &written::affinity::Method) -> Option<Method> {
    use written::affinity::Method as Form;

    match written {
        Form::Cookie { .. } => Some(Method::Cookie(cookie::check(report, written)?)),
        Form::ApplicationCookie { name, path_parameter, route_separator } => {
            check_token(report, "a cookie", name);
            check_token(report, "a parameter of a path", path_parameter);
            Some(Method::ApplicationCookie {
                name: name.as_ref()?.get_ref().clone(),
                path_parameter: path_parameter.as_ref().map(|name| name.get_ref().clone()),
                route_separator: check_separator(report, route_separator),
            })
        }
        Form::Header { name, bearer, pattern, learn_from_response } => {
            check_token(report, "a header", name);
            check_header(report, name);
            check_pattern(report, pattern);
            Some(Method::Header {
                name: name.as_ref()?.get_ref().clone(),
                bearer: or_default(bearer, defaults::BEARER),
                pattern: pattern.as_ref().map(|pattern| pattern.get_ref().clone()),
                learn_from_response: check_fit_header(report, learn_from_response),
            })
        }
        Form::SourceAddress { ipv4_prefix, ipv6_prefix } => Some(Method::SourceAddress {
            ipv4_prefix: number(report, "ipv4_prefix", ipv4_prefix, 1..=32, defaults::IPV4_PREFIX),
            ipv6_prefix: number(report, "ipv6_prefix", ipv6_prefix, 1..=128, defaults::IPV6_PREFIX),
        }),
        Form::Query { name } => {
            check_text(report, "a query's parameter", name);
            Some(Method::Query { name: name.as_ref()?.get_ref().clone() })
        }
        Form::JwtClaim { header, claim } => {
            check_token(report, "a header", header);
            check_header(report, header);
            check_text(report, "a claim", claim);
            let header = or_default(header, defaults::CLAIM_HEADER.to_owned());
            Some(Method::JwtClaim { header, claim: claim.as_ref()?.get_ref().clone() })
        }
    }
}

/// Adds a problem when `name` can't be the name of `what`.
fn check_token(report: &Report<'_>, what: &str, name: &Written<String>) {
    let Some(name) = name else { return };
    if !is_token(name.get_ref()) || name.get_ref().len() > LONGEST_NAME {
        let complaint = Complaint::new(format!("{} can't be the name of {what}", quoted(name.get_ref())));
        report.add(&name.span(), complaint.help("use letters, digits, \"-\" and \"_\""));
    }
}

/// Adds a problem when `name` is empty or too long for the name of `what`. Any character can be in it.
fn check_text(report: &Report<'_>, what: &str, name: &Written<String>) {
    let Some(name) = name else { return };
    if name.get_ref().is_empty() || name.get_ref().len() > LONGEST_NAME {
        let complaint = Complaint::new(format!("{} can't be the name of {what}", quoted(name.get_ref())));
        report.add(&name.span(), complaint.help(format!("a name has 1 to {LONGEST_NAME} bytes")));
    }
}

/// A name that a response's header can have, for Stickler to go by.
pub(super) fn check_fit_header(report: &Report<'_>, written: &Written<String>) -> Option<String> {
    check_token(report, "a header", written);
    check_header(report, written);
    written.as_ref().map(|name| name.get_ref().clone())
}

/// The one character between an identifier and the name of its backend.
fn check_separator(report: &Report<'_>, written: &Written<String>) -> Option<char> {
    let written = written.as_ref()?;
    let mut characters = written.get_ref().chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) if one.is_ascii_punctuation() && !"\"\\,;=".contains(one) => Some(one),
        _ => {
            let complaint =
                Complaint::new(format!("`route_separator` can't be {}", quoted(written.get_ref())));
            report.add(&written.span(), complaint.help("write one character, such as \".\" or \"!\""));
            None
        }
    }
}

fn check_pattern(report: &Report<'_>, written: &Written<String>) {
    let Some(written) = written else { return };
    if let Err(why) = Patterns::compile(written.get_ref()) {
        let complaint = Complaint::new(format!("`pattern` {why}"));
        let help =
            "write a regular expression whose first group is the identifier, such as \"sid=([0-9a-f]+)\"";
        report.add(&written.span(), complaint.help(help));
    }
}

fn check_header(report: &Report<'_>, name: &Written<String>) {
    let Some(name) = name else { return };
    let lower = name.get_ref().to_ascii_lowercase();
    let complaint = |why: &str| Complaint::new(format!("the header {} {why}", quoted(name.get_ref())));
    if lower == "cookie" {
        let complaint = complaint("holds all cookies at once");
        let help = "use the method \"application-cookie\" with the name of one cookie";
        report.add(&name.span(), complaint.help(help));
    } else if UNFIT_HEADERS.contains(&lower.as_str()) {
        let complaint = complaint("says nothing about a session");
        report.add(&name.span(), complaint.help("name a header that the application's clients send"));
    } else if lower.starts_with("stickler-") {
        let complaint = complaint("is taken out of requests, as are all that start with \"stickler-\"");
        report.add(&name.span(), complaint.help("name a header that the application's clients send"));
    }
}
