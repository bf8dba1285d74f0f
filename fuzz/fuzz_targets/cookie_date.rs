//! The date at which a cookie ends, seen through `Set-Cookie`: it is one moment, within the years that dates
//! have, and the same moment written in HTTP's own format is read as itself.
#![no_main]

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use libfuzzer_sys::fuzz_target;
use stickler_core::affinity::set_cookie::{Learned, find_application_cookie};

/// 1601-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const FIRST: i64 = -11_644_473_600;
const LAST: i64 = 253_402_300_799;

fuzz_target!(|date: &[u8]| {
    if date.contains(&b';') {
        return;
    }
    let Some(found) = end_of(date) else { return };
    assert!((FIRST..=LAST).contains(&found), "{found}");
    let canonical = http_date(found);
    assert_eq!(end_of(canonical.as_bytes()), Some(found), "{canonical}");
});

/// The moment from which on a cookie with this date has ended; `None` when it never does.
fn end_of(date: &[u8]) -> Option<i64> {
    let value = HeaderValue::from_bytes(&[b"s=1; Expires=", date].concat()).ok()?;
    let response = HeaderMap::from_iter([(SET_COOKIE, value)]);
    let ended = |now| find_application_cookie(&response, "s", now) == Some(Learned::Deleted);
    assert!(!ended(i64::MIN), "no date is so early");
    if !ended(i64::MAX) {
        return None;
    }
    // It is alive before, and ended from here on.
    let (mut alive, mut over) = (i128::from(i64::MIN), i128::from(i64::MAX));
    while over - alive > 1 {
        let middle = (alive + over) / 2;
        if ended(i64::try_from(middle).expect("it lies between two of them")) {
            over = middle;
        } else {
            alive = middle;
        }
    }
    i64::try_from(over).ok()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`. Days are counted one by one from year to year, slowly and plainly.
fn http_date(moment: i64) -> String {
    let (mut days, second) = (moment.div_euclid(86_400), moment.rem_euclid(86_400));
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        [usize::try_from(days.rem_euclid(7)).expect("0 to 6")];
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += if leap(year) { 366 } else { 365 };
    }
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", days + 1, names[month])
}
