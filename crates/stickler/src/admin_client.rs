//! Asks nodes, one after the other until one answers, and knows what a missing answer means.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use stickler_proto::admin::admin_client::AdminClient as Stub;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::failure::Failure;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for an answer: a node itself gives up earlier.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest answer, in bytes.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Largest error, in bytes: it travels in a header, and names every problem of a document.
const LARGEST_ERROR: u32 = 1024 * 1024;

/// Where a node's admin service is: `unix:` and a path, or a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress(String);

impl FromStr for NodeAddress {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let is_host = |host: &str| !host.is_empty() && !host.contains('/');
        let fits = match written.strip_prefix("unix:") {
            Some(path) => !path.is_empty(),
            None => written
                .rsplit_once(':')
                .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok()),
        };
        if fits {
            Ok(Self(written.to_owned()))
        } else {
            Err("write \"unix:\" and a path, or a host and a port such as \"127.0.0.1:7601\"".to_owned())
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NodeAddress {
    fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let uri = if self.0.starts_with("unix:") { self.0.clone() } else { format!("http://{}", self.0) };
        let endpoint = Endpoint::from_shared(uri)?;
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).http2_max_header_list_size(LARGEST_ERROR))
    }

    /// Connects to the node there.
    ///
    /// # Errors
    /// A message that names what stands in the way.
    pub async fn connect(&self) -> Result<Stub<Channel>, String> {
        let endpoint = self.endpoint().map_err(|error| causes(&error))?;
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
        let channel = connecting
            .map_err(|_| format!("no connection within {CONNECT_TIMEOUT:?}"))?
            .map_err(|error| causes(&error))?;
        Ok(Stub::new(channel).max_decoding_message_size(LARGEST_ANSWER))
    }
}

/// An error with what caused it, since the first alone often says only that there was one.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// What a call does, which decides what it means when no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It only looks: another node can be asked.
    Look,
    /// It changes something: after it was sent, no answer means that nobody knows.
    Change,
}

/// What to make of an error.
enum Verdict {
    /// Nothing has happened; another node may do better.
    Elsewhere(String),
    /// This is the answer.
    Final(Failure),
}

fn judge(status: &Status, purpose: Purpose) -> Verdict {
    // What tonic itself says of a broken connection has a source; what a node says has none.
    let from_node = std::error::Error::source(status).is_none();
    let message = || status.message().to_owned();
    match (status.code(), purpose) {
        (Code::Unavailable | Code::ResourceExhausted, _) if from_node => Verdict::Elsewhere(message()),
        (Code::InvalidArgument | Code::OutOfRange, _) if from_node => {
            Verdict::Final(Failure::Usage(message()))
        }
        (
            Code::FailedPrecondition
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Aborted
            | Code::Unimplemented,
            _,
        ) if from_node => Verdict::Final(Failure::Refused(message())),
        (_, Purpose::Look) => Verdict::Elsewhere(causes(status)),
        (_, Purpose::Change) if from_node => Verdict::Final(Failure::Unknown(message())),
        (_, Purpose::Change) => Verdict::Final(unknown(&causes(status))),
    }
}

fn unknown(reason: &str) -> Failure {
    Failure::Unknown(format!("no answer ({reason}): it may have happened, or may still"))
}

/// The nodes that may be asked, in order.
#[derive(Clone, Debug)]
pub struct Nodes(pub Vec<NodeAddress>);

impl Nodes {
    /// Asks the first node that answers.
    ///
    /// # Errors
    /// [`Failure`], by what the nodes said or did not say.
    pub async fn ask<T>(
        &self,
        purpose: Purpose,
        call: impl AsyncFn(Stub<Channel>) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let mut failed = Vec::new();
        for address in &self.0 {
            let stub = match address.connect().await {
                Ok(stub) => stub,
                Err(reason) => {
                    failed.push(format!("{address}: {reason}"));
                    continue;
                }
            };
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, call(stub)).await;
            let reason = match (answered, purpose) {
                (Ok(Ok(answer)), _) => return Ok(answer),
                (Ok(Err(status)), purpose) => match judge(&status, purpose) {
                    Verdict::Final(failure) => return Err(failure),
                    Verdict::Elsewhere(reason) => reason,
                },
                (Err(_), Purpose::Look) => format!("no answer within {ANSWER_TIMEOUT:?}"),
                (Err(_), Purpose::Change) => {
                    return Err(unknown(&format!("{address} gave none within {ANSWER_TIMEOUT:?}")));
                }
            };
            failed.push(format!("{address}: {reason}"));
        }
        Err(Failure::Unreachable(format!("no node could do it\n  {}", failed.join("\n  "))))
    }
}

/// The next message of a list; `None` at its end.
///
/// # Errors
/// [`Failure::Unreachable`] when the list ends before its end, or stalls.
pub async fn next_of<T>(list: &mut Streaming<T>) -> Result<Option<T>, Failure> {
    let incomplete = |reason: String| Failure::Unreachable(format!("the list is incomplete: {reason}"));
    match tokio::time::timeout(ANSWER_TIMEOUT, list.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(incomplete(causes(&status))),
        Err(_) => Err(incomplete(format!("nothing came within {ANSWER_TIMEOUT:?}"))),
    }
}

/// The next report on a change that is under way; `None` at its end.
///
/// # Errors
/// [`Failure`], by what the node said or did not say.
pub async fn next_report<T>(reports: &mut Streaming<T>) -> Result<Option<T>, Failure> {
    match tokio::time::timeout(ANSWER_TIMEOUT, reports.message()).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(status)) => Err(match judge(&status, Purpose::Change) {
            Verdict::Final(failure) => failure,
            Verdict::Elsewhere(reason) => Failure::Unreachable(reason),
        }),
        Err(_) => Err(unknown(&format!("none came within {ANSWER_TIMEOUT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_host_with_a_port() {
        for good in ["unix:/run/stickler/admin.sock", "127.0.0.1:7601", "[::1]:7601", "localhost:7601"] {
            assert!(good.parse::<NodeAddress>().is_ok(), "{good}");
        }
        for bad in ["", "unix:", "/run/stickler/admin.sock", "127.0.0.1", "http://127.0.0.1:1", "a:99999"] {
            assert!(bad.parse::<NodeAddress>().is_err(), "{bad}");
        }
    }

    fn failure(code: Code, purpose: Purpose) -> Option<Failure> {
        match judge(&Status::new(code, "said"), purpose) {
            Verdict::Elsewhere(_) => None,
            Verdict::Final(failure) => Some(failure),
        }
    }

    #[test]
    fn a_change_that_may_have_happened_is_never_tried_on_another_node() {
        for code in [Code::Unknown, Code::Internal, Code::DeadlineExceeded, Code::Cancelled] {
            assert!(matches!(failure(code, Purpose::Change), Some(Failure::Unknown(_))), "{code:?}");
        }
        assert!(failure(Code::Unavailable, Purpose::Change).is_none());
    }

    #[test]
    fn a_broken_connection_is_not_taken_for_a_nodes_word_that_nothing_happened() {
        let mut broken = Status::new(Code::Unavailable, "transport error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        assert!(matches!(judge(&broken, Purpose::Change), Verdict::Final(Failure::Unknown(_))));
        assert!(matches!(judge(&broken, Purpose::Look), Verdict::Elsewhere(_)));
    }
}
