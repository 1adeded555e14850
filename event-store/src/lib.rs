//! The base of both programs: NATS with the event log, MongoDB with the views, telemetry, the
//! monitor, connections to other servers, and the start of a program.

mod command_sender;
mod direct_get;
mod event_log;
mod group_commit;
mod mongo;
mod monitor;
mod nats;
mod options;
pub mod outbound;
mod page;
mod posture;
pub mod program;
mod random;
mod replay;
mod search;
pub mod telemetry;
mod trace;

pub use command_sender::{CommandSender, NoOutcome};
pub use direct_get::{first_and_count, read_stream, sequence_of};
pub use event_log::{Append, Appended, EventLog, Unavailable, last_sequence};
pub use group_commit::GroupCommit;
pub use mongo::{Database, Location, Mongo};
pub use monitor::{Monitor, Ready};
pub use nats::{connect, has_majority, leave_isolated_server, reconnects};
pub use options::{MongoOptions, MonitorOptions, NatsOptions, SecretOptions, WebhookOptions};
pub use page::{Page, Stored};
pub use posture::{Exception, Mode, PostureOptions};
pub use random::{random_bytes, random_id};
pub use replay::Replay;
pub use telemetry::{Handling, Telemetry};
pub use trace::Trace;
