//! Replays of a webhook: requested, cancelled, finished.

use events_schema::{
    Time, WebhookId,
    webhook::{Area, Command, Event, MAX_RUNNING_REPLAYS, Only, ReplayId},
};

use super::{Rejection, Webhooks};
use crate::aggregate::Facts;

impl Webhooks {
    /// Decides a command about a replay.
    pub(super) fn replay(
        &self,
        command: &Command,
        facts: &Facts<Area>,
    ) -> Result<Option<Event>, Rejection> {
        match command {
            Command::Replay {
                webhook,
                since,
                until,
                only,
            } => {
                let replay = ReplayId(facts.command.0);
                let requested = self.request(*webhook, replay, (*since, *until), *only, facts.now);
                requested.map(Some)
            }
            Command::CancelReplay {
                webhook,
                replay,
                counts,
            } => {
                let is_running = self.runs(*webhook, *replay)?;
                let cancelled = Event::ReplayCancelled {
                    webhook: *webhook,
                    replay: *replay,
                    counts: *counts,
                };
                is_running
                    .then_some(Some(cancelled))
                    .ok_or(Rejection::NoReplay)
            }
            Command::FinishReplay {
                webhook,
                replay,
                sent,
                failed,
            } => {
                let is_running = self.runs(*webhook, *replay)?;
                Ok(is_running.then_some(Event::ReplayFinished {
                    webhook: *webhook,
                    replay: *replay,
                    sent: *sent,
                    failed: *failed,
                }))
            }
            Command::Create { .. }
            | Command::Update { .. }
            | Command::Delete { .. }
            | Command::Enable { .. }
            | Command::Disable { .. }
            | Command::RotateSecret { .. }
            | Command::Test { .. }
            | Command::Redeliver { .. }
            | Command::GiveUp { .. }
            | Command::Reseal { .. }
            | Command::Warn { .. } => Ok(None),
        }
    }

    fn request(
        &self,
        webhook: WebhookId,
        replay: ReplayId,
        (since, until): (Time, Time),
        only: Only,
        now: Time,
    ) -> Result<Event, Rejection> {
        let replays = self.find(webhook)?.replays.values();
        let running = replays.filter(|replay| replay.end.is_none()).count();
        if running >= MAX_RUNNING_REPLAYS {
            return Err(Rejection::TooManyReplays);
        }
        if since >= until || until > now {
            return Err(Rejection::ReplayTime);
        }
        Ok(Event::ReplayRequested {
            webhook,
            replay,
            since,
            until,
            only,
        })
    }

    fn runs(&self, webhook: WebhookId, replay: ReplayId) -> Result<bool, Rejection> {
        let replay = self.find(webhook)?.replays.get(&replay);
        Ok(replay.is_some_and(|replay| replay.end.is_none()))
    }
}
