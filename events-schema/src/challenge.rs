//! Mails that ask for an answer.

use serde::{Deserialize, Serialize};

use crate::{ChallengeId, Time};

/// A mail that was sent and may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Challenge {
    /// Names it.
    pub id: ChallengeId,
    /// When it was asked for.
    pub requested_at: Time,
    /// Wrong answers so far.
    pub failures: u32,
}
