use ipnet::IpNet;
use toml::Spanned;

use super::{Unique, or_default};
use crate::document::cluster::ClientAddress;
use crate::document::defaults;
use crate::document::report::{Complaint, Report};
use crate::document::written::cluster::Listener;

/// Checks a listener's trusted proxies, and that they are there exactly when something goes by them.
pub(super) fn check_trusted_proxies(report: &Report<'_>, written: &Listener) -> Vec<IpNet> {
    let list = written.trusted_proxies.as_ref().map_or(&[][..], |list| list.get_ref());
    let mut networks = Unique::new("the network");
    for network in list.iter().flatten() {
        networks.add(report, &network.span(), *network.get_ref(), &network.get_ref().to_string());
    }
    // What could not be read may be the very thing that would be missed.
    if !written.unread {
        if list.is_empty() {
            nobody_is_believed(report, written);
        } else {
            somebody_is_asked(report, written);
        }
    }
    list.iter().flatten().map(|network| *network.get_ref()).collect()
}

/// Without trusted proxies nothing may go by what they say.
fn nobody_is_believed(report: &Report<'_>, written: &Listener) {
    let header = written.client_address.as_ref().filter(|from| *from.get_ref() != ClientAddress::Connection);
    let greeting = written.proxy_protocol.as_ref().filter(|wanted| *wanted.get_ref());
    let uses =
        [("client_address", header.map(Spanned::span)), ("proxy_protocol", greeting.map(Spanned::span))];
    for (key, place) in uses {
        let Some(place) = place else { continue };
        let complaint =
            Complaint::new(format!("`{key}` without `trusted_proxies`: anyone could say who they are"));
        let help = "add trusted_proxies with the networks of the proxies in front, such as [\"10.0.0.0/8\"]";
        report.add(&place, complaint.help(help));
    }
}

/// Trusted proxies that nobody asks are a mistake: whoever wrote them expects clients to be told apart.
fn somebody_is_asked(report: &Report<'_>, written: &Listener) {
    let from = or_default(&written.client_address, defaults::CLIENT_ADDRESS);
    let greeting = or_default(&written.proxy_protocol, defaults::PROXY_PROTOCOL);
    if let Some(list) =
        written.trusted_proxies.as_ref().filter(|_| from == ClientAddress::Connection && !greeting)
    {
        let complaint = Complaint::new("`trusted_proxies` is used by nothing");
        let help = "add client_address = \"x-forwarded-for\" or \"forwarded\", or proxy_protocol = true";
        report.add(&list.span(), complaint.help(help));
    }
}
