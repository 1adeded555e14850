//! The loops that run the rules: consume, decode, load, append, settle. They hold no rule of any
//! area.

pub mod command;
pub mod consumers;
pub mod delivery;
pub mod effect;
pub mod history;
pub mod reaction;
mod slots;
pub mod view;
