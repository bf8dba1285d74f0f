//! Receipts: what operators are told once a session has ended or moved, and how long they want to wait for whom.

use std::time::Duration;

use stickler_proto::admin::{AwaitReceiptRequest, Receipt};
use stickler_rt::Clock;

use super::backends::duration;
use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;

/// Longest wait for one answer; then a node is asked again.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What is waited for, and how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WaitOptions {
    /// For whom to wait: for every node that holds a lease, or for all members, also those that are away
    #[arg(long, value_enum, default_value_t)]
    wait: Wait,
    /// How long to wait for them; the change has happened by then in any case
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    timeout: u64,
}

/// For whom to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    /// Every node that holds a lease has applied the change
    #[default]
    Leased,
    /// Every member holds a lease and has applied the change
    All,
}

impl Wait {
    const fn name(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::All => "all",
        }
    }
}

impl WaitOptions {
    /// Waits, after the first receipt, for what it has not waited for.
    ///
    /// # Errors
    /// [`Failure`], when no node can be asked. When the time is over, the receipt says what is missing.
    pub async fn complete(self, nodes: &Nodes, first: Receipt) -> Result<Receipt, Failure> {
        let timeout = Duration::from_millis(self.timeout);
        let clock = Clock::start();
        let began = clock.now();
        let mut receipt = first;
        while !self.is_complete(&receipt) {
            let left = timeout.saturating_sub(clock.now().since(began));
            if left.is_zero() {
                return Ok(receipt);
            }
            let milliseconds = u64::try_from(left.min(AT_ONCE).as_millis()).unwrap_or(u64::MAX);
            let request = AwaitReceiptRequest {
                index: receipt.index,
                wait: self.wait.name().to_owned(),
                timeout_milliseconds: milliseconds.max(1),
            };
            // The change is known to have happened: whichever node answers may be asked.
            let asked = nodes.ask(Purpose::Look, async |mut node| {
                node.await_receipt(request.clone()).await.map(tonic::Response::into_inner)
            });
            receipt = asked.await.map_err(|failure| not_asked(&receipt, &failure))?;
        }
        Ok(receipt)
    }

    fn is_complete(self, receipt: &Receipt) -> bool {
        receipt.reached && (self.wait == Wait::Leased || receipt.without_lease.is_empty())
    }

    /// Whether what was waited for has come, or who is missing.
    ///
    /// # Errors
    /// [`Failure::NotEverywhere`].
    pub fn verdict(self, receipt: &Receipt) -> Result<(), Failure> {
        if self.is_complete(receipt) {
            return Ok(());
        }
        let missing = missing(receipt);
        let missing = if missing.is_empty() { "nobody could be asked who".to_owned() } else { missing };
        Err(Failure::NotEverywhere(format!(
            "it has happened, at index {}, but not all nodes that were waited for have said so: {missing}",
            receipt.index
        )))
    }
}

fn not_asked(receipt: &Receipt, failure: &Failure) -> Failure {
    Failure::NotEverywhere(format!("it has happened, at index {}, but {failure}", receipt.index))
}

fn missing(receipt: &Receipt) -> String {
    let without = receipt.without_lease.iter().map(|node| format!("node {node} holds no lease"));
    let behind = receipt.behind.iter().map(|node| format!("node {node} has a lease and is behind"));
    without.chain(behind).collect::<Vec<_>>().join(", ")
}

/// What a receipt adds to a line that says what was done.
#[must_use]
pub fn told(receipt: &Receipt) -> String {
    let nodes: Vec<String> = receipt.without_lease.iter().map(u64::to_string).collect();
    match (nodes.as_slice(), receipt.reached) {
        ([], true) => ", known to all nodes".to_owned(),
        ([], false) => String::new(),
        (nodes, _) => format!(
            "; without a lease, so that they may go on with sessions they knew: node {}",
            nodes.join(", node ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: WaitOptions = WaitOptions { wait: Wait::All, timeout: 1000 };
    const LEASED: WaitOptions = WaitOptions { wait: Wait::Leased, timeout: 1000 };

    fn receipt(without_lease: &[u64], behind: &[u64], reached: bool) -> Receipt {
        Receipt { index: 7, without_lease: without_lease.to_vec(), reached, behind: behind.to_vec() }
    }

    #[test]
    fn who_is_missing_is_named_and_that_it_has_happened() {
        assert!(LEASED.verdict(&receipt(&[3], &[], true)).is_ok());
        let Err(Failure::NotEverywhere(said)) = ALL.verdict(&receipt(&[3], &[2], false)) else {
            panic!("node 3 is missing")
        };
        assert!(said.contains("it has happened, at index 7"), "{said}");
        assert!(said.contains("node 3 holds no lease") && said.contains("node 2 has a lease"), "{said}");
        assert!(matches!(ALL.verdict(&receipt(&[3], &[], true)), Err(Failure::NotEverywhere(_))));
        assert!(ALL.verdict(&receipt(&[], &[], true)).is_ok());
    }

    #[test]
    fn a_line_names_the_nodes_that_hold_no_lease() {
        assert!(told(&receipt(&[2, 3], &[], true)).ends_with("node 2, node 3"));
        assert_eq!(told(&receipt(&[], &[], true)), ", known to all nodes");
        assert_eq!(told(&receipt(&[], &[], false)), "");
    }
}
