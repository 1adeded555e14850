//! Mails that ask for a proof.

use serde::{Deserialize, Serialize};

use crate::{ChallengeId, Time};

/// A mail that was sent and may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Challenge {
    pub id: ChallengeId,
    pub requested_at: Time,
    /// The number of wrong answers so far.
    pub failures: u32,
}
