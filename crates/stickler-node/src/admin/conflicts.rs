//! Conflicts: what nodes that were cut off served by epochs that had ended.

use stickler_core::ids::BackendId;
use stickler_core::state::View;
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{Conflict, ListConflictsReply};

use super::replies::milliseconds;
use super::sessions::backend_called;

pub(super) fn list(view: &View, now: ClusterTime) -> ListConflictsReply {
    let called =
        |backend: BackendId| backend_called(view, backend).unwrap_or_else(|| format!("#{}", backend.0));
    let conflicts = view.catalog.conflicts.newest.iter().map(|conflict| {
        let affinity = view.catalog.affinity(conflict.session.affinity);
        Conflict {
            affinity: affinity
                .map_or_else(|| format!("#{}", conflict.session.affinity), |policy| policy.name.clone()),
            key: conflict.session.key.to_string(),
            node: conflict.node.0,
            epoch: conflict.epoch.0,
            backend_name: called(conflict.backend),
            requests: conflict.requests,
            instead_epoch: conflict.instead.map_or(0, |(epoch, _)| epoch.0),
            instead_backend_name: conflict.instead.map(|(_, backend)| called(backend)).unwrap_or_default(),
            age_milliseconds: milliseconds(now.since(conflict.reported_at)),
        }
    });
    ListConflictsReply { total: view.catalog.conflicts.total, conflicts: conflicts.collect() }
}
