//! Whom a client's proxies name: nobody but trusted proxies is believed, whatever a client writes in front of what they
//! add, in both headers.
//!
//! The first line is an address that the nearest proxy adds; the others are lines that came with the request.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use stickler_core::client_address::{believe, client_address};
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::{ClientAddress, Listener};
use stickler_fuzz::{first_line, headers};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

static LISTENER: LazyLock<Listener> = LazyLock::new(|| {
    let text = "version = 1\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n\
                trusted_proxies = [\"10.0.0.0/8\"]\nclient_address = \"forwarded\"\n";
    check_cluster("fuzz.toml", text).expect("a document").listeners.remove(0)
});

fuzz_target!(|input: &[u8]| {
    let Some((added, rest)) = first_line(input) else { return };
    let by_forwarded = Listener { client_address: ClientAddress::Forwarded, ..LISTENER.clone() };
    let by_x = Listener { client_address: ClientAddress::XForwardedFor, ..LISTENER.clone() };
    for (listener, name) in [(&by_forwarded, FORWARDED), (&by_x, X_FORWARDED_FOR)] {
        let sent = headers(&name, rest);
        // A stranger is itself, and what it claims reaches nobody.
        let mut claimed = sent.clone();
        assert_eq!(client_address(listener, STRANGER, &sent), STRANGER);
        assert_eq!(believe(Some(listener), STRANGER, &mut claimed), STRANGER);
        assert!(!claimed.contains_key(&name));
        // Whoever is named without having been trusted ends the chain.
        let named = client_address(listener, PROXY, &sent);
        assert_eq!(client_address(listener, named, &HeaderMap::new()), named);
        if let Ok(added) = added.parse::<IpAddr>() {
            what_a_proxy_adds_counts(listener, &name, &sent, added);
        }
    }
});

/// With an address that a trusted proxy adds at the end, in a line of its own or at the end of the last one.
fn what_a_proxy_adds_counts(listener: &Listener, name: &HeaderName, sent: &HeaderMap, added: IpAddr) {
    let element = match (name == FORWARDED, added) {
        (true, IpAddr::V6(added)) => format!("for=\"[{added}]\""),
        (true, IpAddr::V4(added)) => format!("for={added}"),
        (false, added) => added.to_string(),
    };
    let is_proxy = matches!(added.to_canonical(), IpAddr::V4(added) if added.octets()[0] == 10);
    let mut apart = sent.clone();
    apart.append(name, HeaderValue::from_str(&element).expect("an address"));
    let found = client_address(listener, PROXY, &apart);
    if !is_proxy {
        assert_eq!(found, added, "what the client wrote was reached");
    }
}
