//! `bench`: measures the whole backend on this machine, as its clients see it, and what the servers
//! alone could do.

pub(crate) mod attack;
mod charts;
mod chosen;
mod feed;
mod fill;
pub(crate) mod from_memory;
mod growth;
mod http;
mod limits;
mod listeners;
mod load;
mod options;
pub(crate) mod parts;
mod payments;
mod percentiles;
mod point;
mod processes;
mod program;
mod rebuild;
mod report;
mod results;
mod run;
mod scenarios;
mod schedule;
mod script;
mod stage;
mod start;
mod webhooks;
mod works;
mod world;

pub(crate) use options::Options;
pub(crate) use run::run;
pub(crate) use webhooks::bare;
