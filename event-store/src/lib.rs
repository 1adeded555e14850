//! The base of both programs: NATS with the event log, MongoDB with the views, and the start of a
//! program.

mod event_log;
mod mongo;
mod nats;
mod options;
pub mod program;
mod random;

pub use event_log::{Append, Appended, EventLog, Page, Stored};
pub use mongo::{Location, Mongo};
pub use nats::{Role, connect};
pub use options::{MongoOptions, NatsOptions};
pub use random::{random_bytes, random_id};
