//! A deterministic simulation: three or five whole nodes with their data planes, shops, clients and
//! operators, on turmoil's network, driven from one seed.
//!
//! Everything that a run draws (the plan, delays, clients' choices, keys) comes from its seed. Nothing here
//! looks at a real clock, and libraries that do find one that stands still (standing_clock.c). A run has a
//! process of its own, and a thread of its own in that: tokio orders some things by numbers that it counts up
//! in the whole process.
//!
//! What goes wrong is data, drawn before the run begins: [`plan`]. Nodes are killed, lose power (one, all at
//! the worst moment; what was not synced is lost or torn), stand still with full buffers, are cut off (from
//! all, from the nodes, one way, again and again, as a bridge), are slow, run fast or slow clocks that
//! change their rate, have disks that fail, and get snapshots instead of the log. Shops die, vanish and
//! flap. Documents differ ([`pool_settings`]): in how shops are checked (by a page, the words on it, or a
//! connection), how they say that they drain, how one is chosen, whether they start slowly, and what becomes of
//! sessions whose shop is away. In half of the runs the document has nodes eject shops, queue requests for them
//! and try some again; there shops answer with errors, are slow and break off while their checks go well, and
//! crowds come who need no session. Operators drain, put into maint and back at once, exchange a shop in the
//! document, and move and end sessions by what they saw a while ago, one by one and by rule. Jobs of theirs empty
//! shops, even sessions out, and are ended and undone. Clients are browsers with cookies of the shop and of
//! Stickler, and callers of an API with a header; they log in and out, rest, race, and send what they must not.
//!
//! In six of ten runs anything may happen at any time. In the others little does, and that together ([`draw`]):
//! one node is far away; operators are busy while nodes and links are well, and there jobs have the application
//! told, too, are paused, and end what is left at their deadline; or shops go and come back, and crowds come.
//!
//! What is not there, because the product does not offer it: a change of membership. What is not there, because it can't be
//! simulated here: a process that is stopped while its clock goes on (what stands still is its network), a jump of the
//! monotonic clock (leases rest on its rate), and sled's own files, which `stickler-raft`'s tests of power cuts cover.
//!
//! What is promised is checked in these places:
//!
//! - [`observer`] and [`judge`] look at each node whenever its state changes: I1, I2, I3, I8 and I9, by the
//!   predicates of `stickler_core::invariants`, on whose word a shop is down, that ids are permanent, and by
//!   which epoch the node would route each session right then (I5, I7).
//! - [`wire`] sits on each connection to a shop and sees requests as their first byte leaves (I3, I5, I7). [`sent_requests`]
//!   judges what leaves by what the document says about it: how many at once, how often, and nothing new for a shop that
//!   is ejected, or takes none. [`slow_starts`] judges how a crowd is spread.
//! - [`shop_truths`] has how shops really are, which nodes must get to know, and [`leaving_rate`] how fast sessions leave one
//!   that is gone.
//! - [`refusals`] has who was refused since a shop was away, and was it.
//! - [`waiting_for_room`] judges for how long requests wait in queues, and who goes first.
//! - [`job_promises`] has what jobs were told: which are paused, and which sessions the application lets go.
//! - [`shop_host`] sees what a client must not be able to send, and what comes twice.
//! - [`oracle`] is each client's own record: what it was told is there, stays there (I4, I6). What it
//!   could not learn counts as neither done nor refused.
//! - [`world`] heals everything at the end, and wants leases, shops, binds and complete carts through every
//!   node, and that what nobody uses has expired.
//!
//! [`runner`] runs many seeds, [`shrink`] leaves out of a plan what a failure does not need, and [`mistakes`]
//! proves that the product's deliberate faults are found. `src/bin/simulation.rs` is the command.

pub mod clients;
pub mod crowd;
pub mod document;
pub mod draw;
pub mod evidence;
pub mod faults;
pub mod http;
pub mod job_promises;
pub mod judge;
pub mod leaving_rate;
pub mod ledger;
pub mod links;
pub mod mistakes;
pub mod new_sessions;
pub mod node_host;
pub mod observer;
pub mod operators;
pub mod oracle;
pub mod panics;
pub mod plan;
pub mod pool_changes;
pub mod pool_settings;
pub mod progress;
pub mod refusals;
pub mod response_end;
pub mod runner;
pub mod sent_requests;
pub mod session;
pub mod shop_host;
pub mod shop_truths;
pub mod shrink;
pub mod slow_starts;
pub mod waiting_for_room;
pub mod wire;
pub mod world;

pub use world::{Run, Setting, run};
