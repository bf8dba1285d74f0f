//! A header of the PROXY protocol is read the same however it arrives, and what stands in it is what its proxy wrote.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use stickler_core::client_address::proxy_header::{LONGEST, NoProxyHeader, ProxyHeader, read};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|input: &[u8]| {
    let found = read(input);
    arrives_in_pieces(input, found);
    if let Ok(Some(header)) = found {
        assert!(header.length <= input.len() && header.length <= LONGEST);
        // What follows is the client's, and changes nothing.
        let followed = [&input[..header.length], b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(read(&followed), Ok(Some(header)));
        assert_eq!(header.source, plainly(&input[..header.length]), "another address than stands there");
    }
    if input.len() >= LONGEST {
        assert_ne!(found, Ok(None), "it would be waited for without end");
    }
});

/// Less of it is either nothing yet or the same; and nothing that was refused becomes good by what follows.
fn arrives_in_pieces(input: &[u8], found: Result<Option<ProxyHeader>, NoProxyHeader>) {
    for end in (0..input.len().min(LONGEST + 8)).step_by(7) {
        match (read(&input[..end]), found) {
            (Ok(None), _) | (Err(NoProxyHeader), Err(NoProxyHeader)) => {}
            (Ok(Some(early)), found) => assert_eq!(Ok(Some(early)), found),
            (Err(NoProxyHeader), found) => panic!("refused with {end} bytes, then {found:?}"),
        }
    }
}

/// The source as a plain reading of the specification has it.
fn plainly(header: &[u8]) -> Option<SocketAddr> {
    if let Some(binary) = header.strip_prefix(SIGNATURE) {
        let [command, family, _, _, addresses @ ..] = binary else { panic!("too short") };
        assert_eq!(command >> 4, 2);
        let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
        return match (command & 15, family) {
            (1, 0x11) => {
                let source: [u8; 4] = addresses[..4].try_into().expect("four bytes");
                Some((source, port(8)).into())
            }
            (1, 0x21) => {
                let source: [u8; 16] = addresses[..16].try_into().expect("sixteen bytes");
                Some((source, port(32)).into())
            }
            _ => None,
        };
    }
    let line = std::str::from_utf8(header).expect("a line of text").strip_suffix("\r\n").expect("whole");
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "TCP4" | "TCP6", source, _, port, _] => {
            Some(SocketAddr::new(source.parse().expect("an address"), port.parse().expect("a port")))
        }
        ["PROXY", "UNKNOWN", ..] => None,
        _ => panic!("no header: {line:?}"),
    }
}
