//! The service as clients meet it: over HTTP, on a real socket.

mod failures;
mod journal;
mod objects;
mod refusals;
mod running;
mod subscriptions;
mod time;
mod usage;
mod webhooks;
