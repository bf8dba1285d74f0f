use super::pool::{check_max_sessions, check_weight};
use super::{number, or_default};
use crate::document::cluster::{Discovery, DnsRecord};
use crate::document::defaults;
use crate::document::report::{Complaint, Report, quoted};
use crate::document::written;

/// Longest name (RFC 1035, 2.3.4), without the dot at its end.
const LONGEST_NAME: usize = 253;

/// Checks a pool's `[pool.dns]`; without one, the document alone names its backends.
pub(super) fn check(
    report: &Report<'_>,
    written: Option<&written::discovery::Discovery>,
) -> Option<Discovery> {
    let written = written?;
    let record = or_default(&written.record, defaults::DNS_RECORD);
    let port = number(report, "port", &written.port, 1..=u16::MAX, 1);
    match (&written.port, record) {
        (Some(port), DnsRecord::Srv) => {
            let complaint = Complaint::new("`port` means nothing with record = \"srv\"");
            report.add(&port.span(), complaint.help("leave it out: each record names its port"));
        }
        (None, DnsRecord::A | DnsRecord::Aaaa) if !written.record_unread => {
            let complaint = Complaint::new("addresses alone are no backends: `port` is missing");
            report.add(&written.place, complaint.help("write port = 8080, or record = \"srv\""));
        }
        _ => {}
    }
    let weight = check_weight(report, &written.weight);
    if let Some(weight) = written.weight.as_ref().filter(|_| record == DnsRecord::Srv) {
        let complaint = Complaint::new("`weight` means nothing with record = \"srv\"");
        report.add(&weight.span(), complaint.help("leave it out: each record has its weight"));
    }
    let name = written.name.as_ref()?;
    let plain = name.get_ref().strip_suffix('.').unwrap_or(name.get_ref());
    if !is_domain(plain) {
        let complaint = Complaint::new(format!("{} is no name to ask DNS for", quoted(name.get_ref())));
        let example = if record == DnsRecord::Srv { "_http._tcp.shop.internal" } else { "shop.internal" };
        report.add(&name.span(), complaint.help(format!("write a name such as \"{example}\"")));
    }
    Some(Discovery {
        name: plain.to_ascii_lowercase(),
        record,
        port,
        weight,
        max_sessions: check_max_sessions(report, &written.max_sessions),
        max_requests: super::ejection::check_max_requests(report, &written.max_requests),
    })
}

/// Labels of letters, digits, "-" and "_", as services have them (RFC 2782).
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let numbers = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= LONGEST_NAME && !numbers && name.split('.').all(is_label)
}
