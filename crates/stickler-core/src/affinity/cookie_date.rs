//! The `Expires` attribute of a cookie, read by the algorithm of RFC 6265 section 5.1.1: it takes every
//! format of date that servers write, because it looks for the parts in any order.

/// The moment that `text` names, in seconds since 1970-01-01T00:00:00Z; `None` when it names none.
pub(super) fn parse_cookie_date(text: &[u8]) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|&byte| is_delimiter(byte)).filter(|token| !token.is_empty()) {
        // Each part is taken once, and a token is at most one part, tried in this order.
        let _taken = take(&mut time, || time_of_day(token))
            || take(&mut day, || digits(token, 1, 2).map(|(day, _)| day))
            || take(&mut month, || month_of(token))
            || take(&mut year, || digits(token, 2, 4).map(|(year, _)| year));
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, full_year(year?));
    let valid = (1601..=9999).contains(&year)
        && (1..=days_in(month, year)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 59;
    valid.then(|| days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn take<Part>(part: &mut Option<Part>, read: impl FnOnce() -> Option<Part>) -> bool {
    if part.is_none() {
        *part = read();
        return part.is_some();
    }
    false
}

const fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// The number that `token` starts with and what follows it, when it has `least` to `most` digits.
fn digits(token: &[u8], least: usize, most: usize) -> Option<(i64, &[u8])> {
    let count = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(least..=most).contains(&count) {
        return None;
    }
    let number = token[..count].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Some((number, &token[count..]))
}

fn time_of_day(token: &[u8]) -> Option<(i64, i64, i64)> {
    let (hour, rest) = digits(token, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    let (second, _) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    Some((hour, minute, second))
}

/// 1 to 12.
fn month_of(token: &[u8]) -> Option<i64> {
    let name = token.get(..3)?.to_ascii_lowercase();
    let names: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    names.iter().zip(1..).find_map(|(known, month)| (name == *known).then_some(month))
}

const fn full_year(year: i64) -> i64 {
    match year {
        70..=99 => year + 1900,
        0..=69 => year + 2000,
        _ => year,
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; `year` is at least 1601.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400;
    let days_before_month: i64 = (1..month).map(|earlier| days_in(earlier, year)).sum();
    // 719,162 days lie between 0001-01-01 and 1970-01-01.
    days_before_year - 719_162 + days_before_month + day - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_formats_of_http_name_one_moment() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "06 nOVEMBER 1994 8:49:37",
        ] {
            assert_eq!(parse_cookie_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn moments_around_the_calendars_corners() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 01-Jan-70 00:00:01 GMT", 1),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
            ("Mon, 01 Jan 1601 00:00:00 GMT", -11_644_473_600),
            ("Tue, 19 Jan 2038 03:14:08 GMT", 2_147_483_648),
            ("01 Jan 69 00:00:00", 3_124_224_000),
        ] {
            assert_eq!(parse_cookie_date(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_none() {
        for text in [
            "",
            "0",
            "-1",
            "Thu, 01 Jan 1970",
            "00:00:00",
            "Wed, 30 Feb 2000 00:00:00 GMT",
            "Thu, 29 Feb 1900 00:00:00 GMT",
            "Fri, 00 Jan 2021 00:00:00 GMT",
            "Fri, 01 Foo 2021 00:00:00 GMT",
            "Fri, 01 Jan 2021 24:00:00 GMT",
            "Fri, 01 Jan 2021 00:60:00 GMT",
            "Fri, 01 Jan 2021 00:00:60 GMT",
            "Fri, 01 Jan 1600 00:00:00 GMT",
            "Fri, 01 Jan 20211 00:00:00 GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse_cookie_date(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse_cookie_date(&bytes);
        }

        #[test]
        fn days_count_up_one_by_one(year in 1601_i64..9999, month in 1_i64..=12, day in 1_i64..=31) {
            prop_assume!(day <= days_in(month, year));
            let next = if day < days_in(month, year) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            prop_assert_eq!(days_since_1970(next.0, next.1, next.2), days_since_1970(year, month, day) + 1);
        }
    }
}
