//! `Forwarded` (RFC 7239): a list with one element for each proxy, whose parameter `for` says who was connected
//! to it.
//!
//! A list is read from its end, quotation marks included. So what a stranger wrote into the header before
//! the first trusted proxy added its own element, such as a quotation mark that nothing closes, can't change
//! how that element is read.

use std::net::IpAddr;

use super::node_name;

/// The hops of one header line, beginning with the last; `None` stands for an element that names no
/// address: without `for`, with `unknown` or a name of somebody's own (`_hidden`), or against the grammar.
/// Empty places of the list are nothing.
pub fn hops_from_the_end(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let mut left = Some(line);
    std::iter::from_fn(move || {
        let list = left?;
        let start = start_of_last(list);
        left = start.checked_sub(1).map(|comma| &list[..comma]);
        Some(list[start..].trim_ascii())
    })
    .filter(|element| !element.is_empty())
    .map(address)
}

/// Where the last element of a list starts: behind the last comma that stands in no quotation marks.
fn start_of_last(list: &[u8]) -> usize {
    let mut quoted = false;
    for (at, byte) in list.iter().enumerate().rev() {
        match byte {
            // From the end, the mark that is met first closes; the one that opens has no backslash before it.
            b'"' if !quoted || !is_escaped(&list[..at]) => quoted = !quoted,
            b',' if !quoted => return at + 1,
            _ => {}
        }
    }
    0
}

/// Whether what follows `before` has a backslash of its own.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in the parameter `for` of an element: `name=value`, separated by semicolons.
fn address(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        rest = rest.trim_ascii_start();
        // Between two semicolons there may be nothing.
        if rest.first().is_some_and(|byte| *byte != b';') {
            let (name, value);
            (name, rest) = token(rest)?;
            (value, rest) = value_of(rest.strip_prefix(b"=")?)?;
            if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
                return None;
            }
        }
        match rest.trim_ascii_start().split_first() {
            Some((b';', behind)) => rest = behind,
            Some(_) => return None,
            None => break,
        }
    }
    let (address, port) = node_name::parse(std::str::from_utf8(found?).ok()?)?;
    port.is_none_or(|port| node_name::is_port(port) || is_hidden_port(port)).then_some(address)
}

fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token, or what stands between quotation marks. Backslashes stay in it: no address needs one.
fn value_of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(inside) = text.strip_prefix(b"\"") else { return token(text) };
    let mut at = 0;
    loop {
        match inside.get(at)? {
            b'"' => return Some((&inside[..at], &inside[at + 1..])),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A port that its proxy would not tell (RFC 7239, section 6.3).
fn is_hidden_port(port: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    port.strip_prefix('_').is_some_and(|name| !name.is_empty() && name.bytes().all(is_part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hops(line: &str) -> Vec<Option<IpAddr>> {
        hops_from_the_end(line.as_bytes()).collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (line, expected) in [
            ("for=\"_gazonk\"", &[None][..]),
            ("For=\"[2001:db8:cafe::17]:4711\"", &[Some("2001:db8:cafe::17")]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &[Some("192.0.2.60")]),
            ("for=192.0.2.43, for=198.51.100.17", &[Some("198.51.100.17"), Some("192.0.2.43")]),
            ("for=192.0.2.43, for=\"[2001:db8:cafe::17]\"", &[Some("2001:db8:cafe::17"), Some("192.0.2.43")]),
            ("for=_hidden, for=_SEVKISEK", &[None, None]),
            ("for=\"192.0.2.43:47011\"", &[Some("192.0.2.43")]),
            ("for=\"192.0.2.43:_port\"", &[Some("192.0.2.43")]),
            ("for=unknown", &[None]),
        ] {
            let expected: Vec<Option<IpAddr>> =
                expected.iter().map(|hop| hop.map(|hop| hop.parse().unwrap())).collect();
            assert_eq!(hops(line), expected, "{line}");
        }
    }

    #[test]
    fn commas_and_semicolons_in_quotation_marks_separate_nothing() {
        let line = "for=192.0.2.1;host=\"a,b;for=192.0.2.9\\\",\", for=192.0.2.2 ; host=\"\\\\\" , ,;FOR=192.0.2.3;;";
        let expected = ["192.0.2.3", "192.0.2.2", "192.0.2.1"];
        assert_eq!(hops(line), expected.map(|hop| Some(hop.parse().unwrap())));
        assert_eq!(hops(" , ,"), []);
    }

    #[test]
    fn what_is_against_the_grammar_is_none() {
        for element in [
            "192.0.2.1",
            "for",
            "for=",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "by=192.0.2.1",
            ";",
            "=192.0.2.1",
            "for=192.0.2.1:80",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=\"192.0.2.1\"x",
            "for=\"192.0.2.1:\"",
            "for=\"192.0.2.1:_\"",
            "for=\"192.0.2.1:99999\"",
            "for=\"\\192.0.2.1\"",
            "for=192.0.2.1;for=192.0.2.1",
            "for=192.0.2.1 by=x",
            "for=\"fe80::1%1\"",
        ] {
            assert_eq!(hops(element), [None], "{element}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_hops_or_not(line: Vec<u8>, pieces in "[for=\",;\\\\\\[\\]:.1_ ]{0,60}") {
            prop_assert!(hops_from_the_end(&line).count() <= line.len() + 1);
            prop_assert!(hops(&pieces).len() <= pieces.len());
        }

        #[test]
        fn what_a_stranger_wrote_before_changes_nothing_of_what_was_added(
            before in "[for=\",;\\\\\\[\\]:.1_ ]{0,60}", address: u128, host in "([ -~&&[^\"\\\\]]|\\\\[ -~]){0,12}",
        ) {
            let added = std::net::Ipv6Addr::from_bits(address);
            let line = format!("{before}, for=\"[{added}]:80\";host=\"{host}\"");
            prop_assert_eq!(hops(&line)[0], Some(added.into()));
        }
    }
}
