//! Sessions ended or moved by a rule: what the rule says, whether it is meant, and how far it has come.

use std::io::{self, IsTerminal, Write};

use stickler_proto::admin::{MoveSessionsRequest, SessionRule, SessionsProgress, UnbindSessionsRequest};
use tonic::Streaming;

use super::Target;
use super::backends::{backend_name, duration, named};
use super::receipts::{WaitOptions, told};
use crate::admin_client::{Nodes, Purpose, next_of, next_report};
use crate::failure::Failure;
use crate::printer::{self, Format};

/// Which sessions; of several parts, those that all of them mean.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "rule", multiple = true)]
pub struct RuleOptions {
    /// All sessions of this affinity
    #[arg(long = "affinity", id = "of_affinity", value_name = "NAME")]
    affinity: Option<String>,
    /// All sessions on this backend
    #[arg(long, value_name = "POOL/NAME", value_parser = backend_name)]
    backend: Option<String>,
    /// All sessions that began longer ago than this, such as "2h"; units are ms, s, m, h, d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<u64>,
}

/// How a rule is carried out.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PaceOptions {
    /// Sessions in a second
    #[arg(
        long,
        value_name = "SESSIONS",
        default_value_t = 500,
        requires = "rule",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    rate: u32,
    /// Only count the sessions that the rule means
    #[arg(long, requires = "rule")]
    dry_run: bool,
    /// Don't ask whether this is meant
    #[arg(long, requires = "rule")]
    yes: bool,
}

/// What is done to the sessions.
enum Deed {
    Unbind,
    Move { to: u64, name: String },
}

impl RuleOptions {
    /// Whether there is a rule at all.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.affinity.is_some() || self.backend.is_some() || self.older_than.is_some()
    }

    async fn rule(&self, nodes: &Nodes) -> Result<SessionRule, Failure> {
        let backend = match &self.backend {
            Some(name) => named(nodes, name).await?.id,
            None => 0,
        };
        let affinity = self.affinity.clone().unwrap_or_default();
        Ok(SessionRule { affinity, backend, older_than_milliseconds: self.older_than })
    }

    /// The rule as people read it.
    fn described(&self) -> String {
        let parts = [
            self.affinity.as_ref().map(|name| format!("of {name}")),
            self.backend.as_ref().map(|name| format!("on {name}")),
            self.older_than.map(|age| format!("older than {}", printer::duration(age))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Ends the sessions that a rule means.
///
/// # Errors
/// [`Failure`].
pub async fn unbind(
    rule: &RuleOptions,
    pace: PaceOptions,
    wait: WaitOptions,
    target: &Target,
) -> Result<(), Failure> {
    carry_out(rule, &Deed::Unbind, pace, wait, target).await
}

/// Moves the sessions that a rule means.
///
/// # Errors
/// [`Failure`].
pub async fn move_away(
    rule: &RuleOptions,
    to: &str,
    pace: PaceOptions,
    wait: WaitOptions,
    target: &Target,
) -> Result<(), Failure> {
    if rule.backend.is_none() {
        return Err(Failure::Usage(
            "sessions are moved away from a backend: name it with --backend".to_owned(),
        ));
    }
    let deed = Deed::Move { to: named(&target.nodes(), to).await?.id, name: to.to_owned() };
    carry_out(rule, &deed, pace, wait, target).await
}

async fn carry_out(
    options: &RuleOptions,
    deed: &Deed,
    pace: PaceOptions,
    wait: WaitOptions,
    target: &Target,
) -> Result<(), Failure> {
    let nodes = target.nodes();
    let rule = options.rule(&nodes).await?;
    if pace.dry_run || !pace.yes {
        let mut counted = start(&nodes, &rule, deed, pace.rate, true).await?;
        let meant = next_of(&mut counted).await?.unwrap_or_default();
        if pace.dry_run {
            return dry_run(options, &meant, target.output);
        }
        confirm(options, deed, meant.meant)?;
    }
    let mut stream = start(&nodes, &rule, deed, pace.rate, false).await?;
    let last = follow(&mut stream, deed).await?;
    let first = last.receipt.clone().unwrap_or_default();
    let receipt = wait.complete(&nodes, first).await?;
    let last = SessionsProgress { receipt: Some(receipt.clone()), ..last };
    match target.output {
        Format::Json => printer::json(&last)?,
        Format::Table => printer::line(&format!("{}{}", summary(deed, &last), told(&receipt)))?,
    }
    wait.verdict(&receipt)
}

async fn start(
    nodes: &Nodes,
    rule: &SessionRule,
    deed: &Deed,
    rate: u32,
    dry_run: bool,
) -> Result<Streaming<SessionsProgress>, Failure> {
    let purpose = if dry_run { Purpose::Look } else { Purpose::Change };
    let rule = Some(rule.clone());
    match deed {
        Deed::Unbind => {
            let request = UnbindSessionsRequest { rule, rate, dry_run };
            nodes
                .ask(purpose, async |mut node| {
                    node.unbind_sessions(request.clone()).await.map(tonic::Response::into_inner)
                })
                .await
        }
        Deed::Move { to, .. } => {
            let request = MoveSessionsRequest { rule, rate, dry_run, to: *to };
            nodes
                .ask(purpose, async |mut node| {
                    node.move_sessions(request.clone()).await.map(tonic::Response::into_inner)
                })
                .await
        }
    }
}

fn dry_run(options: &RuleOptions, meant: &SessionsProgress, output: Format) -> Result<(), Failure> {
    match output {
        Format::Json => printer::json(meant)?,
        Format::Table => printer::line(&format!("{} sessions {}", meant.meant, options.described()))?,
    }
    Ok(())
}

/// Asks whether this is meant, where there is somebody to ask.
fn confirm(options: &RuleOptions, deed: &Deed, meant: u64) -> Result<(), Failure> {
    let what = match deed {
        Deed::Unbind => format!("This ends {meant} sessions {}.", options.described()),
        Deed::Move { name, .. } => format!("This moves {meant} sessions {} to {name}.", options.described()),
    };
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{what} Say --yes if that is meant")));
    }
    let mut asked = io::stderr();
    write!(asked, "{what} Go on? [y/N] ")?;
    asked.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Refused("nothing was done".to_owned())),
    }
}

/// Says how far it has come until it has come to its end.
async fn follow(stream: &mut Streaming<SessionsProgress>, deed: &Deed) -> Result<SessionsProgress, Failure> {
    let terminal = io::stderr().is_terminal();
    let mut last = SessionsProgress::default();
    let ended = loop {
        match next_report(stream).await {
            Ok(Some(progress)) => last = progress,
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
        if terminal {
            let _ = write!(io::stderr(), "\r{} of {}", summary(deed, &last), last.meant);
        }
    };
    if terminal {
        printer::note("");
    }
    match (ended, &last.receipt) {
        (Err(failure), _) => Err(failure),
        (Ok(()), Some(_)) => Ok(last),
        (Ok(()), None) => Err(Failure::Unknown(format!(
            "the node has gone before the end, after at least: {}. The same again does the rest",
            summary(deed, &last)
        ))),
    }
}

fn summary(deed: &Deed, progress: &SessionsProgress) -> String {
    let SessionsProgress { done, superseded, gone, index, .. } = progress;
    let what = match deed {
        Deed::Unbind => format!("{done} sessions ended"),
        Deed::Move { name, .. } => format!("{done} sessions moved to {name}"),
    };
    let left = if *superseded > 0 {
        format!(", {superseded} left alone that have changed since")
    } else {
        String::new()
    };
    let gone = if *gone > 0 { format!(", {gone} had ended by themselves") } else { String::new() };
    format!("{what}{left}{gone}, last at index {index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_what_there_is_to_say() {
        let mut progress = SessionsProgress { done: 3, index: 9, ..SessionsProgress::default() };
        assert_eq!(summary(&Deed::Unbind, &progress), "3 sessions ended, last at index 9");
        (progress.superseded, progress.gone) = (2, 1);
        let to = Deed::Move { to: 1, name: "shop/web-2".to_owned() };
        assert_eq!(
            summary(&to, &progress),
            "3 sessions moved to shop/web-2, 2 left alone that have changed since, 1 had ended by themselves, \
             last at index 9"
        );
    }

    #[test]
    fn a_rule_is_described_by_its_parts() {
        let rule = RuleOptions {
            affinity: Some("cart".to_owned()),
            backend: Some("shop/web-1".to_owned()),
            older_than: Some(7_200_000),
        };
        assert_eq!(rule.described(), "of cart, on shop/web-1, older than 2h00m");
    }
}
