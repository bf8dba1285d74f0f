//! Whether a node let in no more than a rate allows. Pure.

use std::time::Duration;

use stickler_rt::Moment;

/// How many one source may begin at once.
const MOST: f64 = 20.0;
/// How long it takes until it may begin as many again.
const PERIOD: Duration = Duration::from_secs(10);
/// Clocks of two processes don't tick alike.
const SLACK: f64 = 1.0;

/// A request that began a session, at some moment between these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) began: Moment,
    pub(super) ended: Moment,
}

/// The most sessions that one source may begin on one node within so long.
pub(super) fn most_within(span: Duration) -> f64 {
    MOST + span.as_secs_f64() * MOST / PERIOD.as_secs_f64() + SLACK
}

/// A stretch of time in which a node let in more than it may: how many, and how long it is. Looks at every stretch.
pub(super) fn excess(admissions: &[Admission]) -> Option<(usize, Duration)> {
    let mut admissions = admissions.to_vec();
    admissions.sort_unstable_by_key(|admission| admission.ended);
    (0..admissions.len()).find_map(|first| {
        let mut began = admissions[first].began;
        admissions[first..].iter().zip(1..).find_map(|(last, count)| {
            began = began.min(last.began);
            let span = last.ended.since(began);
            (f64::from(count) > most_within(span)).then_some((count as usize, span))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: u64) -> Admission {
        let began = Moment(Duration::from_millis(millisecond));
        Admission { began, ended: began + Duration::from_millis(5) }
    }

    #[test]
    fn a_burst_and_what_follows_at_the_rate_is_no_excess_and_one_burst_more_is() {
        let mut admissions: Vec<Admission> = (0..20).map(at).collect();
        admissions.extend((1..40).map(|number| at(number * 500)));
        assert_eq!(excess(&admissions), None);
        // What is allowed over the whole time is not allowed within a second.
        let burst: Vec<Admission> = (0..21).map(at).collect();
        assert_eq!(excess(&burst), None);
        let burst: Vec<Admission> = (0..23).map(|number| at(60_000 + number)).chain([at(0)]).collect();
        assert_eq!(excess(&burst).map(|(count, _)| count), Some(22));
    }
}
