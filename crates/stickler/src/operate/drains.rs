//! `stickler backend drain` and `stickler backend watch`: how far a backend is from having no sessions.

use std::collections::VecDeque;
use std::time::Duration;

use stickler_proto::admin::Backend;

use super::Target;
use super::backends::{ChangeOptions, called, change, duration, listed, named, note_unheard};
use crate::failure::Failure;
use crate::printer::{self, Format};

/// How often a backend that is watched is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks that an estimate goes by.
const LOOKS: usize = 60;

/// Which backend to drain, and how long.
#[derive(Debug, clap::Args)]
pub struct DrainOptions {
    #[command(flatten)]
    change: ChangeOptions,
    /// From then on the sessions that are left move to other backends, such as "5m"; units are ms, s, m, h, d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    deadline: Option<u64>,
    /// Show how many sessions are left, until none is
    #[arg(long)]
    watch: bool,
}

/// Drains a backend.
pub(super) async fn drain(options: &DrainOptions) -> Result<(), Failure> {
    change(&options.change, "drain", options.deadline).await?;
    if options.watch { watch(&options.change.target, &options.change.backend).await } else { Ok(()) }
}

/// Tells once a second what is left on a backend that drains or leaves, until nothing is.
pub(super) async fn watch(target: &Target, name: &str) -> Result<(), Failure> {
    let watched = named(&target.nodes(), name).await?.id;
    watch_id(target, name, watched).await
}

/// The same for one whose id is known, and which may have gone since.
pub(super) async fn watch_id(target: &Target, name: &str, watched: u64) -> Result<(), Failure> {
    let nodes = target.nodes();
    let mut seen = VecDeque::new();
    loop {
        let mut reply = listed(&nodes, true).await?;
        let place = reply.backends.iter().position(|backend| backend.id == watched);
        let Some(backend) = place.map(|place| reply.backends.swap_remove(place)) else {
            return tell(target, &format!("{name}: removed"), None);
        };
        if backend.admin == "ready" && backend.leave_milliseconds.is_none() {
            return tell(target, &format!("{name}: ready again"), None);
        }
        if seen.len() == LOOKS {
            seen.pop_front();
        }
        seen.push_back(backend.sessions);
        let left = Left { estimate: estimate(&backend, &seen), backend };
        tell(target, &left.told(name), Some(&left))?;
        // One that was removed goes by itself, as soon as nothing may bring a session back. What a node that was not
        // heard has in flight is not known.
        if left.backend.sessions + left.backend.in_flight + left.backend.waiting == 0
            && left.backend.leave_milliseconds.is_none()
            && reply.unheard.is_empty()
        {
            return Ok(());
        }
        note_unheard(&reply);
        tokio::time::sleep(LOOK).await;
    }
}

/// What is left on a backend.
struct Left {
    backend: Backend,
    /// In how many milliseconds nothing is, if sessions go on ending as they did.
    estimate: Option<u64>,
}

impl Left {
    fn told(&self, name: &str) -> String {
        let Self { backend, estimate } = self;
        let mut text =
            format!("{name}: {} sessions left, {} requests in flight", backend.sessions, backend.in_flight);
        if backend.waiting > 0 {
            text.push_str(&format!(", {} waiting", backend.waiting));
        }
        if let Some(estimate) = estimate {
            text.push_str(&format!(", about {} to go", printer::duration(*estimate)));
        }
        if let Some(deadline) = deadline(backend) {
            text.push_str(&format!("; the deadline is in {}", printer::duration(deadline)));
        }
        text
    }
}

fn tell(target: &Target, text: &str, left: Option<&Left>) -> Result<(), Failure> {
    match (target.output, left) {
        (Format::Table, _) => printer::line(text)?,
        (Format::Json, None) => printer::line(&serde_json::json!({ "over": text }).to_string())?,
        (Format::Json, Some(Left { backend, estimate })) => printer::line(
            &serde_json::json!({
                "backend": called(backend),
                "sessions": backend.sessions,
                "in_flight": backend.in_flight,
                "waiting": backend.waiting,
                "estimate_milliseconds": estimate,
                "deadline_milliseconds": deadline(backend),
            })
            .to_string(),
        )?,
    }
    Ok(())
}

/// When the sessions that are left move.
fn deadline(backend: &Backend) -> Option<u64> {
    match (backend.drain_milliseconds, backend.leave_milliseconds) {
        (Some(drain), Some(leave)) => Some(drain.min(leave)),
        (drain, leave) => drain.or(leave),
    }
}

/// When no session is left, by how many ended over the looks so far, and at the deadline in any case; `None` while none has
/// ended and there is no deadline.
fn estimate(backend: &Backend, seen: &VecDeque<u64>) -> Option<u64> {
    let (first, last) = (*seen.front()?, *seen.back()?);
    let time = u64::try_from(LOOK.as_millis()).unwrap_or(u64::MAX) * (seen.len() as u64 - 1);
    let by_pace = last.saturating_mul(time).checked_div(first.saturating_sub(last));
    match (by_pace, deadline(backend)) {
        (Some(by_pace), Some(deadline)) => Some(by_pace.min(deadline)),
        (by_pace, deadline) => by_pace.or(deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_goes_by_the_pace_so_far_and_ends_with_the_deadline() {
        let free = Backend { sessions: 80, ..Backend::default() };
        assert_eq!(estimate(&free, &VecDeque::from([100, 90, 80])), Some(8000));
        assert_eq!(estimate(&free, &VecDeque::from([80, 80])), None, "nothing has ended yet");
        let bound = Backend { drain_milliseconds: Some(5000), ..free };
        assert_eq!(estimate(&bound, &VecDeque::from([100, 90, 80])), Some(5000));
        assert_eq!(estimate(&bound, &VecDeque::from([80])), Some(5000));
    }
}
