//! What browsers ask of a cookie that they are to keep.

use super::affinity::LONGEST_NAME;
use super::is_token;
use super::route::host_name;
use crate::document::cluster::{CookieAttributes, SameSite};
use crate::document::report::{Complaint, Place, Report, quoted};

/// Where the attributes stand that were written.
pub(super) struct Places {
    pub name: Option<Place>,
    pub path: Option<Place>,
    pub domain: Option<Place>,
    pub same_site: Option<Place>,
}

/// Adds the problems of a cookie. A default has none, so each is at something that was written.
pub(super) fn check(report: &Report<'_>, cookie: &CookieAttributes, places: &Places) {
    if let Some(place) = &places.name {
        check_name(report, place, cookie);
    }
    if let Some(place) = &places.path {
        let fit = cookie.path.starts_with('/')
            && cookie.path.len() <= 1024
            && cookie.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
        if !fit {
            let complaint = Complaint::new(format!("{} can't be a cookie's path", quoted(&cookie.path)));
            report.add(place, complaint.help("start with \"/\", without spaces or \";\""));
        }
    }
    if let (Some(place), Some(domain)) = (&places.domain, &cookie.domain) {
        check_domain(report, place, domain);
    }
    if let Some(place) =
        places.same_site.as_ref().filter(|_| cookie.same_site == SameSite::None && !cookie.secure)
    {
        let complaint = Complaint::new("browsers drop a cookie with same_site \"none\" that is not secure");
        report.add(place, complaint.help("add secure = true, or write same_site = \"lax\""));
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
