//! Who may use which operation.

pub(crate) mod operations;
pub(crate) mod rights;
