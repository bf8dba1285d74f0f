//! What operators, checks and the founder change.

use std::sync::Arc;
use std::time::Duration;

use super::State;
use super::catalog::{AdminState, Founded};
use super::command::{Admin, ApplyDocument, Found, Report, SetAdmin, Suspect};
use super::counts::Counts;
use super::idle::IdleOrder;
use super::outcome::{AdminOutcome, Outcome};
use super::verdict::ReportedHealth;
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
            let found =
                ReportedHealth { incarnation: report.incarnation, sequence: report.sequence, up: report.up };
            backend.health.report(report.node, found, &catalog.voters, now);
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
        backend.revision = Revision(backend.revision.0 + 1);
        AdminOutcome::Done(backend.revision)
    }

    pub(super) fn apply_document(&mut self, apply: &ApplyDocument) -> AdminOutcome {
        if self.catalog.revision != apply.expected {
            return AdminOutcome::Changed(self.catalog.revision);
        }
        Arc::make_mut(&mut self.catalog).replace_document(apply.document.clone(), self.time);
        self.counts = Arc::new(Counts::for_catalog(&self.catalog, &self.counts));
        let idle = std::mem::take(&mut self.idle);
        self.idle = IdleOrder::for_catalog(&self.catalog, &self.table, idle);
        AdminOutcome::Done(self.catalog.revision)
    }
}
