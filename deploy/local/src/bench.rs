//! `bench`: measures the whole backend on this machine, as its clients see it, and what the servers
//! alone could do.

mod charts;
pub(crate) mod from_memory;
mod http;
mod limits;
mod load;
mod options;
mod percentiles;
mod point;
mod processes;
mod program;
mod report;
mod run;
mod schedule;
mod script;
mod works;
mod world;

pub(crate) use options::Options;
pub(crate) use run::run;
