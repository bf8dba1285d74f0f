//! What browsers ask of a cookie that they are to keep.

use super::method::LONGEST_NAME;
use super::route::host_name;
use super::{DAY, SECOND, duration_within, is_token, or_default};
use crate::document::cluster::{CookieAttributes, SameSite};
use crate::document::defaults;
use crate::document::report::{Complaint, Place, Report, quoted};
use crate::document::written::affinity::Method;
use crate::state::RETURN_WINDOW;

/// Stickler's cookie as it is to be written, with the problems that browsers would have with it. A default has
/// none, so each is at something that was written.
pub(super) fn check(report: &Report<'_>, written: &Method) -> Option<CookieAttributes> {
    let Method::Cookie {
        name,
        path,
        domain,
        secure,
        http_only,
        same_site,
        max_age,
        partitioned,
        on_cacheable,
        record,
        return_window,
    } = written
    else {
        return None;
    };
    let cookie = CookieAttributes {
        name: or_default(name, defaults::COOKIE_NAME.to_owned()),
        path: or_default(path, defaults::COOKIE_PATH.to_owned()),
        domain: domain.as_ref().map(|domain| domain.get_ref().to_ascii_lowercase()),
        secure: or_default(secure, defaults::COOKIE_SECURE),
        http_only: or_default(http_only, defaults::COOKIE_HTTP_ONLY),
        same_site: or_default(same_site, defaults::COOKIE_SAME_SITE),
        max_age: max_age.as_ref().map(|age| *age.get_ref()),
        partitioned: or_default(partitioned, defaults::COOKIE_PARTITIONED),
        on_cacheable: or_default(on_cacheable, defaults::COOKIE_ON_CACHEABLE),
        record: or_default(record, defaults::COOKIE_RECORD),
        return_window: or_default(return_window, defaults::COOKIE_RETURN_WINDOW),
    };
    if let Some(name) = name {
        check_name(report, &name.span(), &cookie);
    }
    if let Some(path) = path {
        check_path(report, &path.span(), &cookie.path);
    }
    if let (Some(place), Some(domain)) = (domain, &cookie.domain) {
        check_domain(report, &place.span(), domain);
    }
    if let Some(place) = same_site.as_ref().filter(|_| cookie.same_site == SameSite::None && !cookie.secure) {
        let complaint = Complaint::new("browsers drop a cookie with same_site \"none\" that is not secure");
        report.add(&place.span(), complaint.help("add secure = true, or write same_site = \"lax\""));
    }
    if let Some(place) = partitioned.as_ref().filter(|_| cookie.partitioned && !cookie.secure) {
        let complaint = Complaint::new("browsers drop a partitioned cookie that is not secure");
        report.add(&place.span(), complaint.help("add secure = true, or leave `partitioned` out"));
    }
    // Browsers keep no cookie longer, and one of a few seconds would be renewed with every response.
    duration_within(report, "return_window", return_window, SECOND * 10..=RETURN_WINDOW);
    duration_within(report, "max_age", max_age, SECOND * 10..=DAY * 400);
    Some(cookie)
}

fn check_path(report: &Report<'_>, place: &Place, path: &str) {
    let fit = path.starts_with('/')
        && path.len() <= 1024
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    if !fit {
        let complaint = Complaint::new(format!("{} can't be a cookie's path", quoted(path)));
        report.add(place, complaint.help("start with \"/\", without spaces or \";\""));
    }
}

fn check_name(report: &Report<'_>, place: &Place, cookie: &CookieAttributes) {
    let name = &cookie.name;
    if !is_token(name) || name.len() > LONGEST_NAME {
        let complaint = Complaint::new(format!("{} can't be the name of a cookie", quoted(name)));
        report.add(place, complaint.help("use letters, digits, \"-\" and \"_\""));
    }
    // Browsers compare these prefixes without regard to case.
    let lower = name.to_ascii_lowercase();
    let of_host = lower.starts_with("__host-");
    if (of_host || lower.starts_with("__secure-")) && !cookie.secure {
        let complaint =
            Complaint::new(format!("browsers drop a cookie named {} that is not secure", quoted(name)));
        report.add(place, complaint.help("add secure = true, or change the name"));
    }
    if of_host && (cookie.domain.is_some() || cookie.path != "/") {
        let complaint =
            Complaint::new(format!("browsers drop a cookie named {} with a domain or path", quoted(name)));
        report.add(place, complaint.help("leave out domain and path, or change the name"));
    }
}

fn check_domain(report: &Report<'_>, place: &Place, domain: &str) {
    let bare = domain.trim_start_matches("*.").trim_start_matches('.');
    if bare != domain && host_name(bare).is_ok() {
        let complaint = Complaint::new(format!("`domain` can't be {}", quoted(domain)));
        report.add(place, complaint.help(format!("write \"{bare}\", which covers the names below it too")));
    } else if let Err(Complaint { message, suggestion }) = host_name(domain) {
        report.add(place, Complaint { message: format!("`domain` {message}"), suggestion });
    }
}
