//! What runs the rules: consume, load, append, settle. No rule of any area.

pub mod command;
pub mod consumers;
pub mod delivery;
pub mod history;
pub mod reaction;
pub mod view;
