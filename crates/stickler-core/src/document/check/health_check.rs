use super::{HOUR, MILLISECOND, duration_within, is_token, no_longer_than, number, or_default};
use crate::document::cluster::{CheckAnswer, HealthCheck};
use crate::document::defaults;
use crate::document::report::{Complaint, Report, quoted};
use crate::document::written::{self, Written};

/// The most header fields that a check sends.
const MOST_HEADERS: usize = 16;

/// The longest value of a header field that a check sends, and the longest text that it looks for.
const LONGEST_TEXT: usize = 1024;

/// Checks a pool's `[pool.check]`; without one, a TCP connection is enough.
pub(super) fn check(
    report: &Report<'_>,
    written: Option<&written::health_check::HealthCheck>,
) -> HealthCheck {
    const STREAK: std::ops::RangeInclusive<u32> = 1..=100;

    let mut check = HealthCheck {
        path: None,
        interval: defaults::CHECK_INTERVAL,
        timeout: defaults::CHECK_TIMEOUT,
        rise: defaults::CHECK_RISE,
        fall: defaults::CHECK_FALL,
        fast_interval: defaults::CHECK_INTERVAL,
        answer: CheckAnswer::by_status(defaults::CHECK_EXPECT.0, defaults::CHECK_EXPECT.1),
    };
    let Some(written) = written else { return check };
    check_target(report, &written.path);
    duration_within(report, "interval", &written.interval, MILLISECOND * 100..=HOUR);
    duration_within(report, "fast_interval", &written.fast_interval, MILLISECOND * 20..=HOUR);
    duration_within(report, "timeout", &written.timeout, MILLISECOND * 10..=HOUR);
    check.path = written.path.as_ref().map(|path| path.get_ref().clone());
    check.interval = or_default(&written.interval, check.interval);
    check.fast_interval = or_default(&written.fast_interval, check.interval);
    check.timeout = or_default(&written.timeout, check.timeout);
    check.rise = number(report, "rise", &written.rise, STREAK, check.rise);
    check.fall = number(report, "fall", &written.fall, STREAK, check.fall);
    let interval = ("interval", &written.interval, check.interval);
    no_longer_than(report, ("timeout", &written.timeout, check.timeout), interval);
    no_longer_than(report, ("fast_interval", &written.fast_interval, check.fast_interval), interval);
    check.answer = check_answer(report, written);
    if check.path.is_none() {
        needs_a_path(report, written);
    }
    check
}

/// Without a path there is no answer to look at.
fn needs_a_path(report: &Report<'_>, written: &written::health_check::HealthCheck) {
    let first = [
        written.host.as_ref().map(|written| ("host", written.span())),
        written.headers.as_ref().map(|written| ("headers", written.span())),
        written.expect.as_ref().map(|written| ("expect", written.span())),
        written.body.as_ref().map(|written| ("body", written.span())),
        written.drain_status.as_ref().map(|written| ("drain_status", written.span())),
        written.drain_header.as_ref().map(|written| ("drain_header", written.span())),
        written.instance_header.as_ref().map(|written| ("instance_header", written.span())),
    ];
    if let Some((key, place)) = first.into_iter().flatten().next() {
        let complaint =
            Complaint::new(format!("`{key}` is about an answer, and this check asks for nothing"));
        report.add(&place, complaint.help("add a `path`, such as \"/health\""));
    }
}

fn check_answer(report: &Report<'_>, written: &written::health_check::HealthCheck) -> CheckAnswer {
    let header = |key: &str, written: &Written<String>| {
        let written = written.as_ref()?;
        if !is_token(written.get_ref()) {
            let complaint = Complaint::new(format!("`{key}` can't be {}", quoted(written.get_ref())));
            report.add(&written.span(), complaint.help("write the name of a header, such as \"X-Instance\""));
        }
        Some(written.get_ref().clone())
    };
    let status = written.drain_status.as_ref();
    number(report, "drain_status", &written.drain_status, 200..=599_u16, 404);
    CheckAnswer {
        host: field_value(report, "host", &written.host),
        headers: check_headers(report, &written.headers),
        expect: check_expect(report, &written.expect),
        body: field_value(report, "body", &written.body),
        drain_status: status.and_then(|status| u16::try_from(*status.get_ref()).ok()),
        drain_header: header("drain_header", &written.drain_header),
        instance_header: header("instance_header", &written.instance_header),
    }
}

/// The path of a check is sent as it stands, so it must be fit for a request line.
fn check_target(report: &Report<'_>, written: &Written<String>) {
    const LONGEST: usize = 1024;
    let Some(written) = written else { return };
    let path = written.get_ref();
    let fit = path.len() <= LONGEST
        && path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !fit {
        let complaint = Complaint::new(format!("`path` is not what a GET can ask for: {}", quoted(path)));
        let help = "start with \"/\", and percent-encode spaces and other special characters";
        report.add(&written.span(), complaint.help(help));
    }
}

/// What can stand in a header field's value: visible characters and spaces.
fn is_field_value(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_TEXT
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn field_value(report: &Report<'_>, key: &str, written: &Written<String>) -> Option<String> {
    let written = written.as_ref()?;
    if !is_field_value(written.get_ref()) {
        let complaint = Complaint::new(format!("`{key}` can't be {}", quoted(written.get_ref())));
        report.add(&written.span(), complaint.help("use 1 to 1024 letters, digits, signs and spaces"));
    }
    Some(written.get_ref().clone())
}

/// Header fields as `curl -H` takes them. What frames the request is not theirs to say.
fn check_headers(report: &Report<'_>, written: &Written<Vec<String>>) -> Vec<(String, String)> {
    const OWN: [&str; 5] = ["host", "connection", "content-length", "transfer-encoding", "upgrade"];
    let Some(written) = written else { return Vec::new() };
    if written.get_ref().len() > MOST_HEADERS {
        let complaint = Complaint::new(format!("`headers` has more than {MOST_HEADERS} fields"));
        report.add(&written.span(), complaint.help("leave some out"));
    }
    let read = |line: &String| {
        let split = line.split_once(':').map(|(name, value)| (name, value.trim()));
        let fit = split.filter(|(name, value)| {
            is_token(name) && is_field_value(value) && !OWN.contains(&name.to_ascii_lowercase().as_str())
        });
        if fit.is_none() {
            let complaint = Complaint::new(format!("`headers` can't have {}", quoted(line)));
            let help = "write a name and a value, such as \"X-Probe: yes\"; the host has a key of its own";
            report.add(&written.span(), complaint.help(help));
        }
        fit.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    written.get_ref().iter().filter_map(read).collect()
}

/// Statuses and ranges of them, with commas between.
fn check_expect(report: &Report<'_>, written: &Written<String>) -> Vec<(u16, u16)> {
    let Some(written) = written else { return vec![defaults::CHECK_EXPECT] };
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|status| (200..=599_u16).contains(status))
    };
    let range = |text: &str| match text.trim().split_once('-') {
        Some((from, to)) => Some((status(from)?, status(to)?)).filter(|(from, to)| from <= to),
        None => status(text.trim()).map(|status| (status, status)),
    };
    let ranges: Option<Vec<_>> = written.get_ref().split(',').map(range).collect();
    ranges.unwrap_or_else(|| {
        let complaint = Complaint::new(format!("`expect` can't be {}", quoted(written.get_ref())));
        let help = "write statuses from 200 to 599 and ranges of them, such as \"200,204,300-399\"";
        report.add(&written.span(), complaint.help(help));
        vec![defaults::CHECK_EXPECT]
    })
}
