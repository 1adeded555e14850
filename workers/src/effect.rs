//! The few that touch the outside world. Each looks at the record first, acts under a key that
//! names the wish, and records the result with a command; so a replay of the log does nothing
//! again.

pub mod mail_text;
pub mod send_mail;
