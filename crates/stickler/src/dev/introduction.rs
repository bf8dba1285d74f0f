//! What a person is told about a demo cluster. Pure.

use std::fmt::Write as _;
use std::process::ExitStatus;

use super::plan::Plan;

/// What to do with a cluster that serves: where it is, and what to try.
pub(super) fn text(plan: &Plan) -> String {
    let mut text =
        String::from("\nA cluster to try out. In a browser, it is the same cart on every node:\n\n");
    for node in &plan.nodes {
        // writing to a String can't fail
        let _ = writeln!(text, "  {}   http://{}/", node.name(), node.public);
    }
    text.push_str("\nThe demo shops behind them:\n\n");
    for backend in &plan.backends {
        let _ = writeln!(text, "  {}   http://{}/", backend.name, backend.address);
    }
    if let (Some(first), Some(last)) = (plan.nodes.first(), plan.nodes.last()) {
        let _ = write!(
            text,
            "\nA cart that is filled through one node and shown by another:\n\n  \
             curl -s -H 'X-Session: me' -d item=tea http://{}/api/cart && \
             curl -s -H 'X-Session: me' http://{}/api/cart\n",
            first.public, last.public,
        );
    }
    let program = program();
    let addresses: String = plan.nodes.iter().map(|node| format!(" --node {}", node.admin)).collect();
    let _ = write!(text, "\nHow the nodes are doing:\n\n  {program} status{addresses}\n");
    let _ = write!(
        text,
        "\nData, files and logs are in {}\nCtrl-C ends all of it. Kill a process to see what happens.\n",
        plan.directory.display()
    );
    text
}

/// What to say of a process that ended by itself or by somebody's hand.
pub(super) fn farewell(plan: &Plan, name: &str, status: ExitStatus) -> String {
    let ended = format!("{name} ended ({status})");
    let program = program();
    let again = |arguments: String| format!("{ended}. Start it again with\n\n  {program} {arguments}\n");
    if let Some(node) = plan.nodes.iter().find(|node| node.name() == name) {
        return again(format!("run --config {}", plan.node_file(node).display()));
    }
    match plan.backends.iter().find(|backend| backend.name == name) {
        Some(backend) => {
            let till = plan.till();
            again(format!("demo-shop --name {name} --listen {} --till {}", backend.address, till.display()))
        }
        None => ended,
    }
}

/// How a person calls this program, as far as it can be known.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "stickler".to_owned())
}
