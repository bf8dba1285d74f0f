//! The header of the PROXY protocol, version 1 (a line of text) and 2 (binary): what a proxy says about a
//! connection before the client's own bytes.

use std::net::SocketAddr;

use ppp::{PartialResult, v1, v2};

/// The longest header that is read, in bytes. A line of version 1 has at most 107; version 2 could have 64 KiB
/// of notes about the connection, and the largest of them in use, a client's certificate, fits here.
pub const LONGEST: usize = 4096;

/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;

/// Bytes of version 2 before its addresses; the last two are the length of what follows.
const FIXED_PART: usize = 16;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes; what follows is the client's.
    pub length: usize,
    /// The client's end of the connection. `None` when the proxy connects on its own behalf (`LOCAL`) or does
    /// not say for whom (`UNKNOWN`, a socket that is not of the internet): then it is the proxy itself.
    pub source: Option<SocketAddr>,
}

/// The bytes don't begin with a header, whatever may follow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol")]
pub struct NoProxyHeader;

/// Reads the header at the start of `bytes`, the first of a connection; `None` when it goes on behind them.
/// There is an answer for [`LONGEST`] bytes at the latest.
///
/// # Errors
/// [`NoProxyHeader`].
pub fn read(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let begins = |prefix: &[u8]| {
        let both = prefix.len().min(bytes.len());
        prefix[..both] == bytes[..both]
    };
    if begins(v2::PROTOCOL_PREFIX) {
        binary(bytes)
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        Err(NoProxyHeader)
    }
}

fn line(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let room = &bytes[..bytes.len().min(LONGEST_LINE)];
    // The parser takes some lines that are cut off for wrong ones, so it gets whole ones alone.
    let Some(end) = room.windows(2).position(|pair| pair == b"\r\n") else {
        return if room.len() == LONGEST_LINE { Err(NoProxyHeader) } else { Ok(None) };
    };
    let line = &room[..end + 2];
    // Behind UNKNOWN the specification lets anything stand. No proxy writes anything but text, and a line feed is where
    // somebody else would see the end.
    if !room[..end].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Err(NoProxyHeader);
    }
    let header = v1::Header::try_from(line).map_err(|_| NoProxyHeader)?;
    let source = match header.addresses {
        v1::Addresses::Unknown => None,
        // It reads ports as numbers are read, with a sign.
        _ if line.contains(&b'+') => return Err(NoProxyHeader),
        v1::Addresses::Tcp4(addresses) => Some((addresses.source_address, addresses.source_port).into()),
        v1::Addresses::Tcp6(addresses) => Some((addresses.source_address, addresses.source_port).into()),
    };
    Ok(Some(ProxyHeader { length: line.len(), source }))
}

fn binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    if let Some([.., high, low]) = bytes.first_chunk::<FIXED_PART>()
        && FIXED_PART + usize::from(u16::from_be_bytes([*high, *low])) > LONGEST
    {
        return Err(NoProxyHeader);
    }
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(error) if error.is_incomplete() => return Ok(None),
        Err(_) => return Err(NoProxyHeader),
    };
    let source = match (header.command, header.protocol, &header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        _ => None,
    };
    Ok(Some(ProxyHeader { length: header.header.len(), source }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(bytes: &[u8]) -> Option<SocketAddr> {
        let header = read(bytes).unwrap().unwrap();
        assert_eq!(header.length, bytes.len());
        header.source
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    const IPV4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0, 80];

    #[test]
    fn a_line_names_the_client() {
        let whole: [(&[u8], _); 5] = [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n", Some("192.0.2.7:4660")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", Some("[2001:db8::7]:0")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
            (b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", None),
        ];
        assert_eq!(whole[4].0.len(), LONGEST_LINE);
        for (line, expected) in whole {
            assert_eq!(source(line), expected.map(|address| address.parse().unwrap()));
        }
    }

    #[test]
    fn version_2_names_the_client_and_may_have_notes() {
        let client = Some("192.0.2.7:4660".parse().unwrap());
        assert_eq!(source(&version_2(0x21, 0x11, IPV4)), client);
        assert_eq!(source(&version_2(0x21, 0x11, &[IPV4, &[4, 0, 1, 0]].concat())), client);
        let ipv6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0, 9, 0, 80]]
            .concat();
        assert_eq!(source(&version_2(0x21, 0x21, &ipv6)), Some("[2001:db8::7]:9".parse().unwrap()));
    }

    #[test]
    fn a_proxy_that_speaks_for_nobody_is_itself() {
        assert_eq!(source(&version_2(0x20, 0x11, IPV4)), None, "LOCAL");
        assert_eq!(source(&version_2(0x20, 0x00, b"")), None, "LOCAL");
        assert_eq!(source(&version_2(0x21, 0x00, b"")), None, "of no known family");
        assert_eq!(source(&version_2(0x21, 0x12, IPV4)), None, "no stream");
        assert_eq!(source(&version_2(0x21, 0x31, &[0; 216])), None, "a socket of one machine");
    }

    #[test]
    fn anything_else_is_no_header() {
        let lines: [&[u8]; 16] = [
            b"PROXY UNKNOWN \xff\xfe\r\n",
            b"PROXY UNKNOWN x\nGET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\n",
            b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY\r\n",
            b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\rX\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\nGET / HTTP/1.1\r\n",
        ];
        for line in lines {
            assert_eq!(read(line), Err(NoProxyHeader), "{}", String::from_utf8_lossy(line));
        }
        let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat();
        assert_eq!(longest.len(), LONGEST_LINE + 1);
        assert_eq!(read(&longest), Err(NoProxyHeader));
        for (command, family, rest) in [
            (0x11, 0x11, IPV4),
            (0x22, 0x11, IPV4),
            (0x21, 0x41, IPV4),
            (0x21, 0x13, IPV4),
            (0x21, 0x11, &IPV4[1..]),
        ] {
            assert_eq!(read(&version_2(command, family, rest)), Err(NoProxyHeader), "{command:x} {family:x}");
        }
        let mut notes = vec![0; LONGEST - FIXED_PART];
        assert_eq!(source(&version_2(0x20, 0x00, &notes)), None);
        notes.push(0);
        assert_eq!(
            read(&version_2(0x20, 0x00, &notes)[..FIXED_PART]),
            Err(NoProxyHeader),
            "seen before it comes"
        );
    }

    fn header() -> impl Strategy<Value = Vec<u8>> {
        let line = any::<(u32, u128, u16, bool)>().prop_map(|(v4, v6, port, is_v4)| {
            let (v4, v6) = (std::net::Ipv4Addr::from_bits(v4), std::net::Ipv6Addr::from_bits(v6));
            let line = if is_v4 { format!("TCP4 {v4} {v4}") } else { format!("TCP6 {v6} {v6}") };
            format!("PROXY {line} {port} {port}\r\n").into_bytes()
        });
        let binary = prop::collection::vec(any::<u8>(), 36..90).prop_map(|rest| version_2(0x21, 0x21, &rest));
        prop_oneof![line, binary, Just(b"PROXY UNKNOWN\r\n".to_vec())]
    }

    proptest! {
        #[test]
        fn any_bytes_begin_with_a_header_or_not(start in 0..3, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let start = [&b""[..], b"PROXY TCP4 ", v2::PROTOCOL_PREFIX][start as usize];
            let bytes = [start, &bytes].concat();
            if let Ok(Some(header)) = read(&bytes) {
                prop_assert!((15..=bytes.len()).contains(&header.length));
            }
        }

        #[test]
        fn where_reads_are_cut_makes_no_difference(header in header(), behind: Vec<u8>) {
            for cut in 0..header.len() {
                prop_assert_eq!(read(&header[..cut]), Ok(None), "cut at {}", cut);
            }
            let whole = read(&header).unwrap().unwrap();
            prop_assert_eq!(whole.length, header.len());
            prop_assert!(whole.source.is_some() || header.len() == 15);
            prop_assert_eq!(read(&[&header[..], &behind].concat()), Ok(Some(whole)));
        }

        #[test]
        fn there_is_an_answer_for_as_many_bytes_as_the_longest_header(length: u16, fill: u8) {
            let mut bytes = [v2::PROTOCOL_PREFIX, &[0x21, 0x11], &length.to_be_bytes()].concat();
            bytes.resize(LONGEST, fill);
            prop_assert_ne!(read(&bytes), Ok(None));
            let line = [&b"PROXY "[..], &[fill; LONGEST_LINE - 6]].concat();
            prop_assert_ne!(read(&line), Ok(None));
        }
    }
}
