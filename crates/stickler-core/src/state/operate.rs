//! What operators, checks and the founder change.

use std::sync::Arc;
use std::time::Duration;

use super::State;
use super::backends::AdminState;
use super::catalog::Founded;
use super::command::{Admin, ApplyDocument, Discover, Found, Report, Retire, SetAdmin, Suspect};
use super::counts::Counts;
use super::idle::IdleOrder;
use super::outcome::{AdminOutcome, Outcome};
use super::verdict::{Finding, Life, MAX_INSTANCE, ReportedHealth};
use crate::discovery::MOST_DISCOVERED;
use crate::ids::Revision;

impl State {
    pub(super) fn found(&mut self, found: &Found) -> Outcome {
        if self.catalog.found.is_none() {
            let catalog = Arc::make_mut(&mut self.catalog);
            catalog.found = Some(Founded { cluster: found.cluster, hash_key: found.hash_key.clone() });
            catalog.ring.add(found.sealing_secret.clone(), self.applied, self.time);
        }
        Outcome::Noted
    }

    pub(super) fn report(&mut self, report: &Report) -> Outcome {
        let now = self.time;
        let catalog = Arc::make_mut(&mut self.catalog);
        if let Some(backend) = catalog.backends.get_mut(&report.backend) {
            let finding =
                Finding { instance: report.finding.instance.as_deref().map(shortened), ..report.finding };
            let found =
                ReportedHealth { incarnation: report.incarnation, sequence: report.sequence, finding };
            if backend.health.report(report.node, found, &catalog.voters, now) == Life::Another {
                backend.health.forgets(self.epoch, self.counts.of_backend(report.backend));
            }
        }
        Outcome::Noted
    }

    pub(super) fn suspect(&mut self, suspect: &Suspect) -> Outcome {
        let now = self.time;
        if let Some(backend) = Arc::make_mut(&mut self.catalog).backends.get_mut(&suspect.backend) {
            backend.health.suspect(now);
        }
        Outcome::Noted
    }

    pub(super) fn set_admin(&mut self, set: &SetAdmin) -> AdminOutcome {
        let now = self.time;
        let Some(backend) = Arc::make_mut(&mut self.catalog).backends.get_mut(&set.backend) else {
            return AdminOutcome::Unknown;
        };
        if backend.revision != set.expected {
            return AdminOutcome::Changed(backend.revision);
        }
        backend.admin = match set.admin {
            Admin::Ready => AdminState::Ready,
            Admin::Maint => AdminState::Maint,
            Admin::Drain { deadline } => {
                AdminState::Drain { deadline: deadline.map(|after| now + Duration::from_millis(after)) }
            }
        };
        backend.admin_since = now;
        backend.revision = Revision(backend.revision.0 + 1);
        AdminOutcome::Done(backend.revision)
    }

    pub(super) fn apply_document(&mut self, apply: &ApplyDocument) -> AdminOutcome {
        if self.catalog.revision != apply.expected {
            return AdminOutcome::Changed(self.catalog.revision);
        }
        let catalog = Arc::make_mut(&mut self.catalog);
        catalog.replace_document(apply.document.clone(), apply.removal, self.time);
        self.counts = Arc::new(Counts::for_catalog(&self.catalog, &self.counts));
        let idle = std::mem::take(&mut self.idle);
        self.idle = IdleOrder::for_catalog(&self.catalog, &self.table, idle);
        AdminOutcome::Done(self.catalog.revision)
    }

    pub(super) fn discover(&mut self, discover: &Discover) -> Outcome {
        let (found, now) = (&discover.backends, self.time);
        let found = &found[..found.len().min(MOST_DISCOVERED)];
        if Arc::make_mut(&mut self.catalog).discover((discover.pool, discover.expected), found, now) {
            self.counts = Arc::new(Counts::for_catalog(&self.catalog, &self.counts));
        }
        Outcome::Noted
    }

    pub(super) fn retire(&mut self, retire: &Retire) -> Outcome {
        let over = self.catalog.have_left(&self.counts, self.time);
        let gone: Vec<_> = over.intersection(&retire.backends).collect();
        if !gone.is_empty() {
            let catalog = Arc::make_mut(&mut self.catalog);
            catalog.backends.retain(|id, _| !gone.contains(&id));
            self.counts = Arc::new(Counts::for_catalog(&self.catalog, &self.counts));
        }
        Outcome::Noted
    }
}

/// What is kept of the name of a backend's life.
fn shortened(instance: &str) -> String {
    instance
        .chars()
        .scan(0, |length, character| {
            *length += character.len_utf8();
            (*length <= MAX_INSTANCE).then_some(character)
        })
        .collect()
}
