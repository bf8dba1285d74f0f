//! The values that a key can hold, from their written to their typed form. A complaint's message goes on
//! after the key's name: "`timeout` must be ...".

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::cluster::Rate;
use super::report::{Complaint, did_you_mean, quoted};
use crate::client_address::network::{NotANetwork, parse_network};

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A string.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, Complaint> {
    string(value, "a string")
        .map(str::to_owned)
        .map_err(|complaint| complaint.help("put it in double quotes"))
}

/// A list of strings.
pub(super) fn texts(value: &DeValue<'_>) -> Result<Vec<String>, Complaint> {
    const HELP: &str = "write a list of strings, such as [\"/static\", \"*.css\"]";
    let list = value.as_array().ok_or_else(|| wrong_kind("a list of strings", value).help(HELP))?;
    let read = |item: &toml::Spanned<DeValue<'_>>| {
        string(item.get_ref(), "a list of strings")
            .map(str::to_owned)
            .map_err(|complaint| complaint.help(HELP))
    };
    list.iter().map(read).collect()
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Complaint> {
    value
        .as_bool()
        .ok_or_else(|| wrong_kind("true or false", value).help("write true or false, without quotes"))
}

/// A whole number from 0.
pub(super) fn integer(value: &DeValue<'_>) -> Result<u64, Complaint> {
    let Some(integer) = value.as_integer() else {
        return Err(wrong_kind("a whole number", value).help("write digits, without quotes"));
    };
    u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| {
        Complaint::new(format!("can't be {integer}")).help("write a whole number from 0 that fits 64 bits")
    })
}

/// A duration with its unit, to the millisecond.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, Complaint> {
    const HELP: &str = "write a whole number and one of ms, s, m, h, d, such as \"30s\"";
    let written = string(value, "a duration").map_err(|complaint| complaint.help(HELP))?;
    with_unit(written, &DURATION_UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| Complaint::new(format!("is not a duration: {}", quoted(written))).help(HELP))
}

/// So many in so long a time.
pub(super) fn rate(value: &DeValue<'_>) -> Result<Rate, Complaint> {
    const HELP: &str = "write a number and a time, such as \"100/1m\" for 100 in each minute";
    let written = string(value, "a rate").map_err(|complaint| complaint.help(HELP))?;
    let not_one = || Complaint::new(format!("is not a rate: {}", quoted(written))).help(HELP);
    let (most, period) = written.split_once('/').ok_or_else(not_one)?;
    let most = Some(most).filter(|most| most.bytes().all(|byte| byte.is_ascii_digit()));
    let most = most.and_then(|most| most.parse().ok()).filter(|most| *most > 0).ok_or_else(not_one)?;
    let period = with_unit(period, &DURATION_UNITS).map(Duration::from_millis).ok_or_else(not_one)?;
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&period) {
        return Err(Complaint::new("must be a rate in 1s to 1h").help(HELP));
    }
    Ok(Rate { most, period })
}

/// A number of bytes, with a unit or as a plain number.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Complaint> {
    const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    const HELP: &str = "write a number of bytes, or a size such as \"32KiB\" or \"1MiB\"";
    if value.is_integer() {
        return integer(value);
    }
    let written = string(value, "a size").map_err(|complaint| complaint.help(HELP))?;
    with_unit(written, &UNITS)
        .ok_or_else(|| Complaint::new(format!("is not a size: {}", quoted(written))).help(HELP))
}

/// An IP address with a port. Names are refused: what they lead to can change under a running cluster.
pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, Complaint> {
    let written = string(value, "an address")
        .map_err(|complaint| complaint.help("write an IP address and a port, such as \"10.0.0.11:8080\""))?;
    address_text(written)
}

/// As [`address`], of a string that is known to be one.
pub(super) fn address_text(written: &str) -> Result<SocketAddr, Complaint> {
    if let Ok(address) = written.parse() {
        return Ok(address);
    }
    let help = if let Ok(ip) = written.parse::<std::net::IpAddr>() {
        format!("add a port: \"{}\"", SocketAddr::new(ip, 8080))
    } else if written.starts_with(|first: char| first.is_ascii_alphabetic()) && !written.contains("::") {
        "names are not looked up here: write the IP address, such as \"10.0.0.11:8080\"".to_owned()
    } else {
        "write an IP address and a port, such as \"10.0.0.11:8080\" or \"[2001:db8::11]:8080\"".to_owned()
    };
    Err(Complaint::new(format!("is not an IP address with a port: {}", quoted(written))).help(help))
}

/// A network of IP addresses, or one address.
pub(super) fn network(value: &DeValue<'_>) -> Result<IpNet, Complaint> {
    const HELP: &str = "write a network such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\"";
    let written = string(value, "a network").map_err(|complaint| complaint.help(HELP))?;
    parse_network(written).map_err(|problem| match problem {
        NotANetwork::Malformed => {
            Complaint::new(format!("is not a network of IP addresses: {}", quoted(written))).help(HELP)
        }
        NotANetwork::WithinNetwork { network, address } => {
            Complaint::new(format!("is an address within a network: {}", quoted(written)))
                .help(format!("write \"{network}\" for the network, or \"{address}\" for the address alone"))
        }
        NotANetwork::MappedIpv4(network) => {
            Complaint::new(format!("is IPv4 in the clothes of IPv6: {}", quoted(written)))
                .help(format!("write \"{network}\""))
        }
    })
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl FnOnce(&DeValue<'_>) -> Result<T, Complaint> {
    move |value| {
        let list = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let written = string(value, "a string")
            .map_err(|complaint| complaint.help(format!("write one of {}", list())))?;
        let known = words.iter().find(|(word, _)| *word == written);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let complaint = Complaint::new(format!("can't be {}", quoted(written)));
            match did_you_mean(written, words.iter().map(|(word, _)| *word)) {
                Some(word) => complaint.help(format!("did you mean \"{word}\"?")),
                None => complaint.help(format!("write one of {}", list())),
            }
        })
    }
}

/// What a value is, as a message says it.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A duration as one would write it.
pub(super) fn show_duration(duration: &Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let millis = duration.as_millis();
    let (unit, name) = UNITS
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit))
        .unwrap_or((1_000, "s"));
    format!("{}{name}", millis / unit)
}

/// A size as one would write it.
pub(super) fn show_size(bytes: &u64) -> String {
    const UNITS: [(u64, &str); 2] = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = UNITS.into_iter().find(|(unit, _)| *bytes > 0 && bytes.is_multiple_of(*unit));
    fitting.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn string<'v>(value: &'v DeValue<'_>, wanted: &str) -> Result<&'v str, Complaint> {
    value.as_str().ok_or_else(|| wrong_kind(wanted, value))
}

fn wrong_kind(wanted: &str, found: &DeValue<'_>) -> Complaint {
    Complaint::new(format!("must be {wanted}, not {}", kind(found)))
}

/// A whole number and its unit, nothing between or around them.
fn with_unit(written: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = written.split_at(digits);
    let (_, unit) = units.iter().find(|(unit, _)| *unit == name)?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}
