//! A request, step by step. The numbers are those of ARCHITECTURE.md:
//! 1 route, 2 affinity key, 3 binding (local read), 4 bind if there is none, 5 rebind if its backend is
//! gone, 6 forward, 7 set or refresh the cookie, 8 log.

mod admission;
mod answers;
mod binder;
mod bindings;
mod chooser;
mod forward;
mod isolated;
mod learned;
mod load;
mod node;
mod observe;
mod observed;
mod own_cookie;
mod queue;
mod quiet;
mod response_times;
mod retries;
mod reveal;
mod signals;
mod source;
mod steps;
mod suspicions;
mod uses;
mod waiting;
mod weights;

pub use load::Load;
pub use node::{Proxy, ProxyCounters};
pub use observed::{Observations, Observed};
pub use steps::Router;
pub use weights::Weights;
