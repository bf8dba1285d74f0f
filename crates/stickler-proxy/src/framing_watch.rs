//! Follows the raw bytes of a client's connection and finds what the HTTP parser mends without a word: a
//! Content-Length beside Transfer-Encoding, a repeated Content-Length, lines that end without a carriage
//! return. Two servers that mend such a head differently disagree where the next request begins, which is
//! how requests are smuggled; so a head that needs mending is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::framing::Rejection;

/// Of a line only this much is kept when it comes in pieces: enough for the names and numbers looked at.
const KEPT_OF_A_LINE: usize = 64;

/// What the watch found, readable by the connection's service. Requests are counted from 1.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// 0, or the number of the first faulty request in the upper bits and the fault's index below.
    first: Arc<AtomicU64>,
}

const FAULTS: [Rejection; 4] = [
    Rejection::LengthBesideTransferEncoding,
    Rejection::SeveralLengths,
    Rejection::BareLineFeed,
    Rejection::UnreadableBody,
];

impl Findings {
    /// The fault of the `number`-th request, or of one before it.
    #[must_use]
    pub fn of_request(&self, number: u64) -> Option<Rejection> {
        let found = self.first.load(Ordering::Acquire);
        (found != 0 && number >= found >> 8).then(|| FAULTS[(found & 0xff) as usize])
    }

    fn set(&self, number: u64, fault: Rejection) {
        let index = FAULTS.iter().position(|known| *known == fault).unwrap_or(0);
        self.first.store(number << 8 | index as u64, Ordering::Release);
    }
}

/// The watch over one connection.
#[derive(Debug)]
pub struct FramingWatch {
    state: State,
    line: Line,
    head: Head,
    /// The number of the request whose head or body is being read; the first is 1.
    number: u64,
    findings: Findings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two requests, where empty lines are skipped.
    Between,
    /// In a line of a head; the request line looks like a header that nobody knows.
    Head,
    /// In a body or a chunk with so many bytes left.
    Skip { left: u64, then: After },
    /// In the line with a chunk's size.
    ChunkSize,
    /// In the lines after the last chunk.
    Trailers,
    /// A fault was found: nothing after it is read as a request.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Request,
    Chunk,
}

/// What the head being read has said about its body.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    lengths: u32,
    chunked: bool,
}

/// The beginning of a line that has not ended yet.
#[derive(Debug, Default)]
struct Line {
    kept: Vec<u8>,
    length: usize,
    last: u8,
}

impl FramingWatch {
    /// A watch at the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Between,
            line: Line::default(),
            head: Head::default(),
            number: 1,
            findings: Findings::default(),
        }
    }

    /// What it finds, as long as the connection lives.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.findings.clone()
    }

    /// Whether every request that began has been read to its end, so that nothing of the client's is lost
    /// when the connection is closed now.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        self.state == State::Between
    }

    /// Reads on. The bytes must be all that came, in order.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Stopped => return,
                State::Between => self.between(bytes),
                State::Skip { left, then } => self.skip(bytes, left, then),
                State::Head | State::ChunkSize | State::Trailers => self.lines(bytes),
            };
        }
    }

    fn between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) {
            None => &[],
            Some(start) => {
                self.state = State::Head;
                self.head = Head::default();
                &bytes[start..]
            }
        }
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, then: After) -> &'a [u8] {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - taken as u64;
        if left > 0 {
            self.state = State::Skip { left, then };
        } else {
            match then {
                After::Request => self.end_request(),
                After::Chunk => self.state = State::ChunkSize,
            }
        }
        &bytes[taken..]
    }

    /// Takes one line, or the piece of it that is here.
    fn lines<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.line.keep(bytes);
            return &[];
        };
        let (piece, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.line.length == 0 {
            match piece.split_last() {
                Some((b'\r', line)) => self.end_line(line),
                _ => self.fault(Rejection::BareLineFeed),
            }
        } else {
            self.line.keep(piece);
            let mut line = std::mem::take(&mut self.line);
            if line.last == b'\r' {
                line.kept.truncate(line.length - 1);
                self.end_line(&line.kept);
            } else {
                self.fault(Rejection::BareLineFeed);
            }
        }
        rest
    }

    fn end_line(&mut self, line: &[u8]) {
        match self.state {
            State::Head if line.is_empty() => self.end_head(),
            State::Head => self.head_line(line),
            State::ChunkSize => match chunk_size(line) {
                Some(0) => self.state = State::Trailers,
                // A chunk's own line ending is skipped with it.
                Some(size) => self.state = State::Skip { left: size.saturating_add(2), then: After::Chunk },
                None => self.fault_in_next(Rejection::UnreadableBody),
            },
            State::Trailers if line.is_empty() => self.end_request(),
            State::Trailers | State::Between | State::Skip { .. } | State::Stopped => {}
        }
    }

    fn head_line(&mut self, line: &[u8]) {
        // Both names have a first letter that few other headers share; look no closer at the rest.
        if !matches!(line[0] | 0x20, b'c' | b't') {
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.head.lengths += 1;
            self.head.length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.chunked = true;
        }
    }

    fn end_head(&mut self) {
        match self.head {
            Head { lengths: 1.., chunked: true, .. } => self.fault(Rejection::LengthBesideTransferEncoding),
            Head { lengths: 2.., .. } => self.fault(Rejection::SeveralLengths),
            Head { chunked: true, .. } => self.state = State::ChunkSize,
            Head { length: Some(left @ 1..), .. } => self.state = State::Skip { left, then: After::Request },
            // A length that is no number is refused by the parser, which reads the same line.
            Head { .. } => self.end_request(),
        }
    }

    fn end_request(&mut self) {
        self.number += 1;
        self.state = State::Between;
    }

    fn fault(&mut self, fault: Rejection) {
        if self.state == State::Head {
            self.findings.set(self.number, fault);
            self.state = State::Stopped;
        } else {
            self.fault_in_next(fault);
        }
    }

    /// A fault in a body: its request is on its way already, so the next one is where the line is drawn.
    fn fault_in_next(&mut self, fault: Rejection) {
        self.findings.set(self.number + 1, fault);
        self.state = State::Stopped;
    }
}

impl Default for FramingWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT_OF_A_LINE.saturating_sub(self.kept.len()).min(piece.len());
        self.kept.extend_from_slice(&piece[..room]);
        self.length += piece.len();
        self.last = piece.last().copied().unwrap_or(self.last);
    }
}

/// The number at the start of a chunk's first line; extensions after it don't matter.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let digits = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watch(pieces: &[&[u8]]) -> FramingWatch {
        let mut watch = FramingWatch::new();
        for piece in pieces {
            watch.read(piece);
        }
        watch
    }

    const GOOD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\
        POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=\"y\"\r\nPOST \r\nA\r\n1:\r\n345678\r\n0\r\nContent-Length: 4\r\n\r\n";

    #[test]
    fn requests_of_every_framing_are_followed_to_their_ends() {
        let watch = watch(&[GOOD]);
        assert!(watch.is_between_requests());
        assert_eq!((watch.number, watch.findings.of_request(u64::MAX >> 8)), (4, None));
    }

    #[test]
    fn a_length_beside_chunked_is_found_in_any_order_and_case() {
        for head in [
            &b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            &b"POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\nContent-Length: 5\r\n\r\n"[..],
        ] {
            let findings = watch(&[GOOD, head]).findings();
            assert_eq!(findings.of_request(3), None);
            assert_eq!(findings.of_request(4), Some(Rejection::LengthBesideTransferEncoding));
            assert_eq!(findings.of_request(5), Some(Rejection::LengthBesideTransferEncoding));
        }
    }

    #[test]
    fn repeated_lengths_and_bare_line_feeds_are_found() {
        let twice = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(watch(&[twice]).findings().of_request(1), Some(Rejection::SeveralLengths));
        let bare = b"GET / HTTP/1.1\nHost: a\r\n\r\n";
        assert_eq!(watch(&[bare]).findings().of_request(1), Some(Rejection::BareLineFeed));
        let chunk = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
        assert_eq!(watch(&[chunk]).findings().of_request(1), None, "its request is on its way");
        assert_eq!(watch(&[chunk]).findings().of_request(2), Some(Rejection::UnreadableBody));
    }

    proptest! {
        #[test]
        fn where_reads_are_cut_makes_no_difference(
            cuts in proptest::collection::vec(0usize..400, 0..12), faulty: bool, long in 0usize..200,
        ) {
            let mut bytes = GOOD.to_vec();
            bytes.extend_from_slice(b"PUT / HTTP/1.1\r\nX-Long: ");
            bytes.extend(std::iter::repeat_n(b'x', long));
            bytes.extend_from_slice(b"\r\nContent-Length: 3\r\n");
            if faulty {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            bytes.extend_from_slice(b"\r\nabc");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            let watch = watch(&pieces);
            let found = watch.findings().of_request(4);
            prop_assert_eq!(found, faulty.then_some(Rejection::LengthBesideTransferEncoding));
            prop_assert_eq!(watch.is_between_requests(), !faulty);
        }
    }
}
