use super::{DAY, HOUR, MILLISECOND, duration_within, no_longer_than, number, or_default};
use crate::document::cluster::Ejection;
use crate::document::defaults;
use crate::document::report::{Complaint, Report};
use crate::document::written::{self, Written};

/// Checks a pool's `[pool.ejection]`; without one, none of its backends is ever ejected.
pub(super) fn check(report: &Report<'_>, written: Option<&written::ejection::Ejection>) -> Option<Ejection> {
    let written = written?;
    let errors = &written.consecutive_errors;
    let consecutive_errors =
        number(report, "consecutive_errors", errors, 1..=1000_u32, defaults::EJECTION_ERRORS);
    duration_within(report, "time", &written.time, MILLISECOND * 100..=HOUR);
    duration_within(report, "longest", &written.longest, MILLISECOND * 100..=DAY);
    let time = or_default(&written.time, defaults::EJECTION_TIME);
    let longest = or_default(&written.longest, defaults::EJECTION_LONGEST);
    no_longer_than(report, ("time", &written.time, time), ("longest", &written.longest, longest));
    let max_share = number(report, "max_share", &written.max_share, 1..=100_u8, defaults::EJECTION_SHARE);
    Some(Ejection { consecutive_errors, time, longest, max_share })
}

/// The most requests in flight to a backend.
pub(super) fn check_max_requests(report: &Report<'_>, written: &Written<u64>) -> Option<u32> {
    const MOST: u32 = 1_000_000;
    let most = written.as_ref()?;
    if *most.get_ref() == 0 {
        let complaint = Complaint::new("`max_requests` can't be 0");
        report
            .add(&most.span(), complaint.help("leave it out for no limit; weight = 0 gives no new sessions"));
        return None;
    }
    Some(number(report, "max_requests", written, 1..=MOST, MOST))
}
