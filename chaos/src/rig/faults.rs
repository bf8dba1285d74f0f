//! What can be done to a cluster under test. Each of these returns at once; how long it lasts, and what it is
//! mixed with, is decided elsewhere.

use std::time::Duration;

use rustix::process::Signal;

use super::admin::Admin;
use super::backend::Pace;
use super::network::{Condition, End, Network};
use super::occupancy::Occupancy;
use super::preload::Control;
use super::{Rig, RigError};

impl Rig {
    /// Stops a node's process: it does nothing, and keeps all that it has.
    pub(crate) fn pause(&self, index: usize) -> Result<(), RigError> {
        Ok(self.nodes[index].signal(Signal::STOP)?)
    }

    /// Whether a node's process stands still: the signal takes a moment to reach all of its threads.
    pub(crate) fn is_paused(&self, index: usize) -> bool {
        self.nodes[index].stands_still()
    }

    /// Lets a stopped process go on.
    pub(crate) fn resume(&self, index: usize) -> Result<(), RigError> {
        Ok(self.nodes[index].signal(Signal::CONT)?)
    }

    /// Tells a node to stop by itself, as an operator does.
    pub(crate) fn terminate(&self, index: usize) -> Result<(), RigError> {
        Ok(self.nodes[index].signal(Signal::TERM)?)
    }

    /// Whether a node's process has ended by itself; if so, it counts as killed from now on.
    pub(crate) async fn take_ended(&mut self, index: usize) -> Result<bool, RigError> {
        let ended = self.nodes[index].ended()?.is_some();
        if ended {
            self.nodes[index].forget();
            self.network.shut(End::Node(self.nodes[index].plan.id)).await;
        }
        Ok(ended)
    }

    /// Whether a node is meant to run.
    pub(crate) fn is_meant_to_run(&self, index: usize) -> bool {
        self.nodes[index].is_meant_to_run()
    }

    /// The power of a node that was killed is cut: of its disk only what was synced is left.
    pub(crate) fn lose_unsynced(&self, index: usize) -> Result<(), RigError> {
        match self.machines.get(index) {
            Some(machine) => Ok(machine.preload.cut_power()?),
            None => Ok(()),
        }
    }

    /// The faults of a node's disk and clock; `None` where the scenario did not ask for them.
    pub(crate) fn control(&mut self, index: usize) -> Option<&mut Control> {
        self.machines.get_mut(index).map(|machine| &mut machine.control)
    }

    /// Breaks or mends a way, both directions.
    pub(crate) fn set_both_ways(
        &mut self,
        one: End,
        other: End,
        condition: Condition,
    ) -> Result<(), RigError> {
        Ok(self.network.set_both(one, other, condition)?)
    }

    /// Breaks or mends one direction of a way.
    pub(crate) fn set_way(&mut self, from: End, to: End, condition: Condition) -> Result<(), RigError> {
        Ok(self.network.set(from, to, condition)?)
    }

    /// All that the other nodes send to this one arrives so much later: entries that are replicated, and answers.
    pub(crate) fn delay_replication(&mut self, index: usize, delay: Duration) -> Result<(), RigError> {
        let late = End::Node(self.nodes[index].plan.id);
        let others = self.nodes.iter().map(|node| End::Node(node.plan.id)).filter(|end| *end != late);
        for other in others.collect::<Vec<_>>() {
            self.network.set(other, late, Condition::Slow { delay, rate: None })?;
        }
        Ok(())
    }

    /// How the ways between nodes are that no other fault has broken.
    pub(crate) fn set_fair_weather(&mut self, condition: Condition) -> Result<(), RigError> {
        Ok(self.network.set_fair_weather(condition)?)
    }

    /// The admin APIs of all nodes.
    pub(crate) fn admins(&self) -> Vec<Admin> {
        self.admins.clone()
    }

    /// The admin APIs of the nodes that are meant to run.
    pub(crate) fn admins_meant_to_run(&self) -> Vec<Admin> {
        let nodes = self.nodes.iter().zip(&self.admins);
        nodes.filter(|(node, _)| node.is_meant_to_run()).map(|(_, admin)| admin.clone()).collect()
    }

    /// What connects the ends.
    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    /// A backend dies.
    pub(crate) async fn kill_backend(&mut self, index: usize) {
        self.network.shut(End::Backend(index)).await;
        self.backends[index].kill().await;
    }

    /// A backend that died is started again, at its place.
    pub(crate) async fn start_backend(&mut self, index: usize) -> Result<(), RigError> {
        self.backends[index].start(&self.outside).await?;
        self.network.open(End::Backend(index));
        Ok(())
    }

    /// What a backend has had to do so far.
    pub(crate) fn occupancy(&self, index: usize) -> &Occupancy {
        self.backends[index].occupancy()
    }

    /// How a backend goes about its work from now on.
    pub(crate) fn set_backend_pace(&self, index: usize, pace: Pace) {
        self.backends[index].set_pace(pace);
    }
}
