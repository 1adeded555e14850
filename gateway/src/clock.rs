//! The clock of this machine.

use std::time::SystemTime;

use events_schema::Time;

/// Returns the time by this machine's clock.
pub(crate) fn now() -> Time {
    Time::from(SystemTime::now())
}
