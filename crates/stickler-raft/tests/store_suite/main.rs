//! What the store promises to consensus and to operators.

#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod model;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod snapshots;
