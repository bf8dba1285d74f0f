//! What the faults and operators of a run justify.

use std::collections::{BTreeMap, HashMap};

use super::span::{Span, any_meets, covered_by, stretched};
use crate::history::History;
use crate::history::event::{Effect, OperationResult, Phase, Wish};

/// So long after a fault is over the nodes' reports on a backend may still be those of the fault, in
/// microseconds: it takes two passed checks and a commit.
const REPORTS: u64 = 5_000_000;

/// So long what a node has proposed for an operator may be on its way, in microseconds.
const PROPOSALS: u64 = 6_000_000;

/// So long a node that can reach the cluster again may still count as isolated, in microseconds: a lease and the
/// time between two looks at it.
const LEASE: u64 = 1_500_000;

/// What may happen when, for a reason that the history names.
#[derive(Debug, Default)]
pub(crate) struct Circumstances {
    /// When a session may leave a backend.
    leavable: HashMap<String, Vec<Span>>,
    /// When a node may be isolated.
    isolated: HashMap<u64, Vec<Span>>,
    /// Unbinds of a session's key: the epoch, and from when on.
    unbound: HashMap<String, Vec<(u64, u64)>>,
    /// Moves of a session's key by operators, likewise.
    moved: HashMap<String, Vec<(u64, u64)>>,
    /// When sessions on a backend may be ended by a rule.
    ruled: HashMap<String, Vec<Span>>,
}

impl Circumstances {
    /// Of a whole run.
    pub(crate) fn of(history: &History) -> Self {
        let mut circumstances = Self::default();
        let harm = Harm::of(history);
        for backend in &history.run.backends {
            let mut spans = harm.doubted(backend, &history.run.nodes);
            spans.extend(maintained(history, backend));
            circumstances.ruled.insert(backend.clone(), ended_by_rule(history, backend));
            circumstances.leavable.insert(backend.clone(), spans);
        }
        for node in &history.run.nodes {
            circumstances.isolated.insert(*node, harm.isolated(*node, history));
        }
        for operation in &history.operations {
            let (asked, key, epoch) = match &operation.wish {
                Wish::Unbind { key, epoch } => (&mut circumstances.unbound, key, epoch),
                Wish::Move { key, epoch, .. } => (&mut circumstances.moved, key, epoch),
                Wish::SetBackend { .. } | Wish::UnbindByRule { .. } | Wish::Look { .. } => continue,
            };
            if operation.result != OperationResult::Refused {
                asked.entry(key.clone()).or_default().push((*epoch, operation.began));
            }
        }
        circumstances
    }

    /// Whether a session may leave this backend at some moment of this span.
    pub(crate) fn may_leave(&self, backend: &str, span: Span) -> bool {
        self.leavable.get(backend).is_some_and(|spans| any_meets(spans, span))
    }

    /// Whether this node may not reach the cluster at some moment of this span.
    pub(crate) fn may_be_isolated(&self, node: u64, span: Span) -> bool {
        self.isolated.get(&node).is_some_and(|spans| any_meets(spans, span))
    }

    /// Whether the session behind this key may have been moved by an operator in or after this epoch, before this
    /// moment.
    pub(crate) fn may_be_moved(&self, key: &str, epoch: u64, before: u64) -> bool {
        was_asked(&self.moved, key, epoch, before)
    }

    /// Whether an operator may have ended the session behind this key, which had this epoch on this backend at the
    /// beginning of this span: by its name, or by a rule, there or where it was by then.
    pub(crate) fn may_be_ended(&self, key: &str, epoch: u64, backend: &str, span: Span) -> bool {
        let ruled = |backend: &str| self.ruled.get(backend).is_some_and(|spans| any_meets(spans, span));
        let left = || self.may_be_moved(key, epoch, span.until) || self.may_leave(backend, span);
        was_asked(&self.unbound, key, epoch, span.until)
            || ruled(backend)
            || (left() && self.ruled.keys().any(|elsewhere| ruled(elsewhere)))
    }
}

fn was_asked(wishes: &HashMap<String, Vec<(u64, u64)>>, key: &str, epoch: u64, before: u64) -> bool {
    let wishes = wishes.get(key);
    wishes.is_some_and(|wishes| wishes.iter().any(|(of, began)| *of >= epoch && *began <= before))
}

/// When which effects may have been felt.
#[derive(Debug, Default)]
struct Harm {
    away: HashMap<u64, Vec<Span>>,
    cut_off: HashMap<u64, Vec<Span>>,
    blind: HashMap<(u64, String), Vec<Span>>,
    backends_away: HashMap<String, Vec<Span>>,
}

impl Harm {
    fn of(history: &History) -> Self {
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for fault in history.faults.iter().filter(|fault| fault.phase == Phase::Over) {
            ends.insert(fault.number, fault.at);
        }
        let mut harm = Self::default();
        for fault in history.faults.iter().filter(|fault| fault.phase == Phase::Begun) {
            let until = ends.get(&fault.number).copied().unwrap_or(history.end);
            let span = Span { from: fault.at, until };
            for effect in &fault.effects {
                harm.add(effect, span);
            }
        }
        harm
    }

    fn add(&mut self, effect: &Effect, span: Span) {
        let spans = match effect.clone() {
            Effect::NodeAway { node } => self.away.entry(node).or_default(),
            Effect::Isolated { node } => self.cut_off.entry(node).or_default(),
            Effect::Blind { node, backend } => self.blind.entry((node, backend)).or_default(),
            Effect::BackendAway { backend } => self.backends_away.entry(backend).or_default(),
        };
        spans.push(span);
    }

    /// When a majority of nodes may have reported the backend down. A report stands until its node makes
    /// another, so that of a node that is away or cut off stands as long as that.
    fn doubted(&self, backend: &str, nodes: &[u64]) -> Vec<Span> {
        let none = Vec::new();
        let lists: Vec<Vec<Span>> = nodes
            .iter()
            .map(|node| {
                let away = self.away.get(node).unwrap_or(&none);
                let cut_off = self.cut_off.get(node).unwrap_or(&none);
                let blind = self.blind.get(&(*node, backend.to_owned())).unwrap_or(&none);
                let gone = self.backends_away.get(backend).unwrap_or(&none);
                let doubts: Vec<Span> = gone.iter().chain(blind).chain(away).copied().collect();
                let holds: Vec<Span> = away.iter().chain(cut_off).copied().collect();
                stretched(&doubts, REPORTS, &holds)
            })
            .collect();
        covered_by(&lists, nodes.len() / 2 + 1)
    }

    /// When a node may not reach a leader: it is cut off, or most are away, or it says so.
    fn isolated(&self, node: u64, history: &History) -> Vec<Span> {
        let nodes = &history.run.nodes;
        let mut spans = self.cut_off.get(&node).cloned().unwrap_or_default();
        let away: Vec<Vec<Span>> =
            nodes.iter().map(|it| self.away.get(it).cloned().unwrap_or_default()).collect();
        spans.extend(covered_by(&away, nodes.len() / 2 + 1));
        let mut looks = history.standings.iter().filter(|standing| standing.node == node).peekable();
        let mut before = 0;
        while let Some(look) = looks.next() {
            if look.says.as_ref().is_none_or(|says| says.footing == "isolated") {
                let until = looks.peek().map_or(history.end, |next| next.at);
                spans.push(Span { from: before, until });
            }
            before = look.at;
        }
        let widened = |span: Span| Span { from: span.from, until: span.until.saturating_add(LEASE) };
        spans.into_iter().map(widened).collect()
    }
}

/// When sessions on a backend may have been ended by a rule. Without an answer, or when the operator hung up, what was
/// proposed may still come.
fn ended_by_rule(history: &History, backend: &str) -> Vec<Span> {
    let rules = history.operations.iter().filter(|operation| {
        let of = matches!(&operation.wish, Wish::UnbindByRule { backend: of, .. } if of == backend);
        of && operation.result != OperationResult::Refused
    });
    let later = |result| if result == OperationResult::Done { 0 } else { PROPOSALS };
    rules
        .map(|rule| Span { from: rule.began, until: rule.ended.saturating_add(later(rule.result)) })
        .collect()
}

/// When a backend may have been in maint: from the first wish for it until another state was acknowledged.
fn maintained(history: &History, backend: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut since = None;
    for operation in &history.operations {
        let Wish::SetBackend { backend: of, admin } = &operation.wish else { continue };
        if of != backend || operation.result == OperationResult::Refused {
            continue;
        }
        match (admin == "maint", since) {
            (true, None) => since = Some(operation.began),
            (false, Some(from)) if operation.result == OperationResult::Done => {
                // A rebind that was on its way is decided by what is in the log before it.
                spans.push(Span { from, until: operation.ended });
                since = None;
            }
            _ => {}
        }
    }
    spans.extend(since.map(|from| Span { from, until: history.end }));
    spans
}
