use std::time::Duration;

use toml::Spanned;

use super::cluster::all;
use super::{
    DAY, HOUR, SECOND, Unique, cookie, duration_within, is_token, name, no_longer_than, number, or_default,
};
use crate::document::cluster::{Affinity, Method};
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

/// Checks all affinities. `None` after a problem was added.
pub(super) fn check(report: &Report<'_>, written: &[written::affinity::Affinity]) -> Option<Vec<Affinity>> {
    let mut names = Unique::new("an affinity with the name");
    all(written.iter().map(|affinity| {
        names.add_name(report, &affinity.name);
        check_affinity(report, affinity)
    }))
}

fn check_affinity(report: &Report<'_>, written: &written::affinity::Affinity) -> Option<Affinity> {
    // Browsers keep no cookie longer. Below two seconds the way of a report and of an expiry through the
    // cluster would be more than "never early, at most a fifth late" leaves.
    const LONGEST: Duration = DAY.saturating_mul(400);

    let name = name(report, &written.name);
    let methods = check_methods(report, &written.by);
    duration_within(report, "idle_timeout", &written.idle_timeout, SECOND * 2..=LONGEST);
    duration_within(report, "max_age", &written.max_age, SECOND..=LONGEST);
    duration_within(report, "alias_grace", &written.alias_grace, Duration::ZERO..=HOUR);
    let idle_timeout = or_default(&written.idle_timeout, defaults::IDLE_TIMEOUT);
    let max_age = written.max_age.as_ref().map(|age| *age.get_ref());
    if let Some(max_age) = max_age {
        let idle = ("idle_timeout", &written.idle_timeout, idle_timeout);
        no_longer_than(report, idle, ("max_age", &written.max_age, max_age));
    }
    if let Some(none) = written.max_sessions.as_ref().filter(|most| *most.get_ref() == 0) {
        let complaint = Complaint::new("`max_sessions` can't be 0");
        report.add(&none.span(), complaint.help("leave it out for no cap of this affinity"));
    }
    Some(Affinity {
        name: name?,
        methods: methods?,
        otherwise: or_default(&written.otherwise, defaults::OTHERWISE),
        idle_timeout,
        max_age,
        max_sessions: written.max_sessions.as_ref().map(|most| *most.get_ref()),
        when_down: or_default(&written.when_down, defaults::WHEN_DOWN),
        when_isolated: or_default(&written.when_isolated, defaults::WHEN_ISOLATED),
        alias_grace: or_default(&written.alias_grace, defaults::ALIAS_GRACE),
    })
}

/// What makes two methods of one affinity the same.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// Stickler's cookie and the application's share one space of names.
    Cookie(String),
    /// In lower case.
    Header(String),
    Query(String),
    /// A header in lower case, and a claim.
    Claim(String, String),
}

fn check_methods(report: &Report<'_>, written: &[written::affinity::By]) -> Option<Vec<Method>> {
    let mut identities = Unique::new("the method with the name");
    let mut own_cookies = Unique::new("the method");
    let mut check = |by: &written::affinity::By| {
        let method = check_method(report, by.method.as_ref()?)?;
        let (identity, name) = match &method {
            Method::Cookie(attributes) => {
                own_cookies.add(report, &by.place, (), "\"cookie\"");
                (Identity::Cookie(attributes.name.clone()), &attributes.name)
            }
            Method::ApplicationCookie { name } => (Identity::Cookie(name.clone()), name),
            Method::Header { name, .. } => (Identity::Header(name.to_ascii_lowercase()), name),
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
        Form::Cookie { name, path, domain, secure, http_only, same_site } => {
            let attributes = crate::document::cluster::CookieAttributes {
                name: or_default(name, defaults::COOKIE_NAME.to_owned()),
                path: or_default(path, defaults::COOKIE_PATH.to_owned()),
                domain: domain.as_ref().map(|domain| domain.get_ref().to_ascii_lowercase()),
                secure: or_default(secure, defaults::COOKIE_SECURE),
                http_only: or_default(http_only, defaults::COOKIE_HTTP_ONLY),
                same_site: or_default(same_site, defaults::COOKIE_SAME_SITE),
            };
            let places = cookie::Places {
                name: name.as_ref().map(Spanned::span),
                path: path.as_ref().map(Spanned::span),
                domain: domain.as_ref().map(Spanned::span),
                same_site: same_site.as_ref().map(Spanned::span),
            };
            cookie::check(report, &attributes, &places);
            Some(Method::Cookie(attributes))
        }
        Form::ApplicationCookie { name } => {
            check_token(report, "a cookie", name);
            Some(Method::ApplicationCookie { name: name.as_ref()?.get_ref().clone() })
        }
        Form::Header { name, bearer } => {
            check_token(report, "a header", name);
            check_header(report, name);
            let bearer = or_default(bearer, defaults::BEARER);
            Some(Method::Header { name: name.as_ref()?.get_ref().clone(), bearer })
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
