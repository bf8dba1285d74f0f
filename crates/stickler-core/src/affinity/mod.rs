//! How a session is recognised (design section 5): what a request carries, what a response reveals, and
//! the keys and sealed tokens made of it.
//!
//! A request goes through [`recognise::recognise`], a response through [`learn::learn`]; a session that
//! nothing identifies gets an identifier from [`mint`]. Everything is pure: random bytes, the time of day
//! and the keys come in as parameters, and nothing in here knows which bindings exist.

pub mod bearer;
pub mod cacheable;
pub mod claim;
mod cookie_date;
pub mod cookie_header;
mod cookie_pair;
pub mod ignore;
pub mod key;
pub mod learn;
pub mod mint;
pub mod path_parameter;
pub mod pattern;
pub mod query;
pub mod recognise;
pub mod sealing;
pub mod set_cookie;
pub mod set_cookie_writer;
pub mod source;
pub mod token;
