//! The webhooks of a tenant, as one aggregate: their number, settings, keys and state.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use events_schema::{
    EmailAddress, Reject, RejectionKind, Time, WebhookId,
    webhook::{
        Area, Command, DisabledReason, Event, MAX_CONCURRENCY, MAX_EVENT_FILTERS, MAX_HEADERS,
        MAX_KEYS, MAX_OVERLAP_HOURS, MAX_RATE, MAX_RUNNING_REPLAYS, MAX_WEBHOOKS, NewKey, Settings,
        Webhook, apply,
    },
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

const HOUR_MS: i64 = 60 * 60 * 1000;
/// A tenant sends at most so many tests, redeliveries and replays in an hour. Each is a commit that
/// the log keeps.
const MAX_REQUESTS_AN_HOUR: usize = 120;
/// The owners get at most one mail a day that a webhook was disabled: somebody may enable it again and
/// again.
const MAIL_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes of all webhooks of a tenant, which are one document.
const MAX_BYTES: usize = 512 * 1024;

/// The webhooks of a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Webhooks {
    webhooks: BTreeMap<WebhookId, Webhook>,
    /// When people have asked for something to be sent, within the last hour.
    asked: VecDeque<Time>,
    /// When the owners last got a mail that each webhook was disabled.
    mailed: BTreeMap<WebhookId, Time>,
}

/// Why a command to a tenant's webhooks is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The webhook does not exist, or it is deleted.
    #[error("There is no such webhook.")]
    NotFound,
    /// The tenant would have more than [`MAX_WEBHOOKS`] webhooks.
    #[error("A tenant has at most {MAX_WEBHOOKS} webhooks. Delete one first.")]
    TooManyWebhooks,
    /// The webhook would have more than [`MAX_EVENT_FILTERS`] filters, or none.
    #[error("Name 1 to {MAX_EVENT_FILTERS} types of events.")]
    EventTypes,
    /// The webhook would send more than [`MAX_HEADERS`] headers.
    #[error("A webhook sends at most {MAX_HEADERS} headers of its own. Remove some.")]
    TooManyHeaders,
    /// The rate limit is higher than [`MAX_RATE`].
    #[error("The rate limit must be 0 to {MAX_RATE} requests a second; 0 means none.")]
    RateLimit,
    /// The concurrency is 0 or higher than [`MAX_CONCURRENCY`].
    #[error("The concurrency must be 1 to {MAX_CONCURRENCY} requests at once.")]
    Concurrency,
    /// The overlap is longer than [`MAX_OVERLAP_HOURS`].
    #[error("Former secrets stay valid for 0 to {MAX_OVERLAP_HOURS} hours.")]
    Overlap,
    /// The webhook would have more than [`MAX_KEYS`] valid secrets.
    #[error(
        "The webhook has {MAX_KEYS} valid secrets. Rotate with `overlapHours` 0, or wait until \
         some expire."
    )]
    TooManySecrets,
    /// There is no such replay, or it has ended.
    #[error("There is no such replay, or it has ended.")]
    NoReplay,
    /// The end of the replay is not after its beginning.
    #[error("The end must be after the beginning, and not in the future.")]
    ReplayTime,
    /// The webhook has [`MAX_RUNNING_REPLAYS`] running replays.
    #[error(
        "{MAX_RUNNING_REPLAYS} replays of the webhook are running. Wait for the end of one, or \
         cancel one."
    )]
    TooManyReplays,
    /// The tenant's webhooks would have more than [`MAX_BYTES`].
    #[error(
        "All webhooks of a tenant have at most 512 KiB together. Shorten descriptions and headers."
    )]
    TooLarge,
    /// The tenant has asked for [`MAX_REQUESTS_AN_HOUR`] things to be sent within an hour.
    #[error(
        "A tenant has at most {MAX_REQUESTS_AN_HOUR} tests, redeliveries and replays an hour. Try \
         again later."
    )]
    TooManyRequests,
    /// The webhook would send its credentials to another server.
    #[error(
        "This URL leads to another server, which must not get the present credentials. Give `auth` \
         or `headers`, too; an empty list of headers sends none."
    )]
    CredentialsOfAnotherServer,
    /// The webhook would get events of areas that the actor may not read.
    #[error("You cannot subscribe to events that you may not read.")]
    BeyondOwnPermissions,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound | Self::NoReplay => RejectionKind::NotFound,
            Self::TooManyWebhooks
            | Self::TooManySecrets
            | Self::TooManyReplays
            | Self::TooLarge
            | Self::TooManyRequests => RejectionKind::Limit,
            Self::ReplayTime => RejectionKind::invalid("until"),
            Self::CredentialsOfAnotherServer => RejectionKind::invalid("url"),
            Self::EventTypes => RejectionKind::invalid("event_types"),
            Self::TooManyHeaders => RejectionKind::invalid("headers"),
            Self::RateLimit => RejectionKind::invalid("rate_limit"),
            Self::Concurrency => RejectionKind::invalid("concurrency"),
            Self::Overlap => RejectionKind::invalid("overlap_hours"),
            Self::BeyondOwnPermissions => RejectionKind::Forbidden,
        }
    }
}

impl Aggregate for Webhooks {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        self.check_rate(command, facts.now)?;
        let event = match command {
            Command::Create { settings, key } => Some(self.create(settings, key, facts)?),
            Command::Update { webhook, changes } => {
                let present = &self.find(*webhook)?.settings;
                credentials::check_origin(present, changes)?;
                let settings = present.changed(changes);
                self.update(*webhook, settings, facts)?
            }
            Command::Delete { webhook } => {
                self.find(*webhook)?;
                Some(Event::Deleted { webhook: *webhook })
            }
            Command::Enable { webhook, from } => {
                let is_disabled = self.find(*webhook)?.disabled.is_some();
                is_disabled.then_some(Event::Enabled {
                    webhook: *webhook,
                    from: *from,
                })
            }
            Command::Disable { webhook } => {
                self.disable(*webhook, DisabledReason::Requested, &[])?
            }
            Command::GiveUp {
                webhook,
                reason,
                owners,
            } => self.disable(
                *webhook,
                *reason,
                self.recipients(*webhook, owners, facts.now),
            )?,
            Command::RotateSecret {
                webhook,
                key,
                overlap_hours,
            } => Some(self.rotate(*webhook, key, *overlap_hours, facts.now)?),
            Command::Test {
                webhook,
                event_type,
            } => {
                self.find(*webhook)?;
                Some(Event::TestRequested {
                    webhook: *webhook,
                    event_type: event_type.clone(),
                })
            }
            Command::Redeliver { webhook, event } => {
                self.find(*webhook)?;
                Some(Event::RedeliveryRequested {
                    webhook: *webhook,
                    event: *event,
                })
            }
            Command::Replay { .. }
            | Command::CancelReplay { .. }
            | Command::FinishReplay { .. } => self.replay(command, facts)?,
            Command::Reseal { webhook, values } => {
                self.find(*webhook)?;
                Some(Event::Resealed {
                    webhook: *webhook,
                    values: values.clone(),
                })
            }
            Command::Warn {
                webhook,
                failing_since,
                owners,
            } => {
                let found = self.find(*webhook)?;
                found.disabled.is_none().then(|| Event::FailureWarned {
                    webhook: *webhook,
                    url: found.settings.url.clone(),
                    failing_since: *failing_since,
                    owners: owners.clone(),
                })
            }
        };
        Ok(Decision::events(event.into_iter().collect()))
    }

    fn evolve(&mut self, event: &Event, at: Time) {
        apply(&mut self.webhooks, event, at);
        if is_request(event) {
            let is_old = |asked: &Time| asked.0 <= at.0 - HOUR_MS;
            while self.asked.front().is_some_and(is_old) {
                self.asked.pop_front();
            }
            self.asked.push_back(at);
        }
        match event {
            Event::Disabled {
                webhook, owners, ..
            } if !owners.is_empty() => {
                self.mailed.insert(*webhook, at);
            }
            Event::Deleted { webhook } => {
                self.mailed.remove(webhook);
            }
            Event::Disabled { .. }
            | Event::FailureWarned { .. }
            | Event::Created { .. }
            | Event::Updated { .. }
            | Event::Enabled { .. }
            | Event::SecretRotated { .. }
            | Event::TestRequested { .. }
            | Event::RedeliveryRequested { .. }
            | Event::ReplayRequested { .. }
            | Event::ReplayCancelled { .. }
            | Event::ReplayFinished { .. }
            | Event::Resealed { .. } => {}
        }
    }

    fn objects(&self) -> Option<u64> {
        self.webhooks.len().try_into().ok()
    }
}

/// Whether a person has asked for something to be sent.
const fn is_request(event: &Event) -> bool {
    match event {
        Event::TestRequested { .. }
        | Event::RedeliveryRequested { .. }
        | Event::ReplayRequested { .. } => true,
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::Deleted { .. }
        | Event::Enabled { .. }
        | Event::Disabled { .. }
        | Event::SecretRotated { .. }
        | Event::ReplayCancelled { .. }
        | Event::ReplayFinished { .. }
        | Event::Resealed { .. }
        | Event::FailureWarned { .. } => false,
    }
}

impl Webhooks {
    fn check_rate(&self, command: &Command, now: Time) -> Result<(), Rejection> {
        let is_request = matches!(
            command,
            Command::Test { .. } | Command::Redeliver { .. } | Command::Replay { .. }
        );
        let recent = self.asked.iter().filter(|at| at.0 > now.0 - HOUR_MS);
        if is_request && recent.count() >= MAX_REQUESTS_AN_HOUR {
            return Err(Rejection::TooManyRequests);
        }
        Ok(())
    }

    /// Returns who gets a mail that a webhook was disabled: nobody, if they got one within a day.
    fn recipients<'a>(
        &self,
        webhook: WebhookId,
        owners: &'a [EmailAddress],
        now: Time,
    ) -> &'a [EmailAddress] {
        let mailed = self.mailed.get(&webhook);
        if mailed.is_some_and(|at| now.since(*at) < MAIL_EVERY) {
            return &[];
        }
        owners
    }

    /// Checks the size of all webhooks when one of them has these settings.
    fn check_size(&self, webhook: WebhookId, settings: &Settings) -> Result<(), Rejection> {
        let others = self.webhooks.iter().filter(|(id, _)| **id != webhook);
        let others: usize = others.map(|(_, other)| size(other)).sum();
        if others + size(settings) > MAX_BYTES {
            return Err(Rejection::TooLarge);
        }
        Ok(())
    }

    fn find(&self, webhook: WebhookId) -> Result<&Webhook, Rejection> {
        self.webhooks.get(&webhook).ok_or(Rejection::NotFound)
    }

    fn create(
        &self,
        settings: &Settings,
        key: &NewKey,
        facts: &Facts<Area>,
    ) -> Result<Event, Rejection> {
        if self.webhooks.len() >= MAX_WEBHOOKS {
            return Err(Rejection::TooManyWebhooks);
        }
        let webhook = WebhookId(facts.command.0);
        check(settings)?;
        check_permissions(settings, facts)?;
        self.check_size(webhook, settings)?;
        Ok(Event::Created {
            webhook,
            settings: settings.clone(),
            key: key.clone(),
        })
    }

    /// The actor may read what the webhook gets now, too: a new address gets all of it.
    fn update(
        &self,
        webhook: WebhookId,
        settings: Settings,
        facts: &Facts<Area>,
    ) -> Result<Option<Event>, Rejection> {
        check_permissions(&self.find(webhook)?.settings, facts)?;
        check(&settings)?;
        check_permissions(&settings, facts)?;
        self.check_size(webhook, &settings)?;
        let is_changed = settings != self.find(webhook)?.settings;
        Ok(is_changed.then_some(Event::Updated { webhook, settings }))
    }

    fn disable(
        &self,
        webhook: WebhookId,
        reason: DisabledReason,
        owners: &[EmailAddress],
    ) -> Result<Option<Event>, Rejection> {
        let found = self.find(webhook)?;
        Ok(found.disabled.is_none().then(|| Event::Disabled {
            webhook,
            reason,
            url: found.settings.url.clone(),
            owners: owners.to_vec(),
        }))
    }

    fn rotate(
        &self,
        webhook: WebhookId,
        key: &NewKey,
        overlap_hours: u32,
        now: Time,
    ) -> Result<Event, Rejection> {
        if overlap_hours > MAX_OVERLAP_HOURS {
            return Err(Rejection::Overlap);
        }
        let keys = self.find(webhook)?.keys.iter();
        let kept = keys.filter(|key| overlap_hours > 0 && key.is_valid(now));
        if kept.count() >= MAX_KEYS {
            return Err(Rejection::TooManySecrets);
        }
        Ok(Event::SecretRotated {
            webhook,
            key: key.clone(),
            former_expire_at: Time(now.0 + i64::from(overlap_hours) * HOUR_MS),
        })
    }
}

/// Returns how many bytes a value has in the log and in the view.
fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

fn check(settings: &Settings) -> Result<(), Rejection> {
    let headers = settings.credentials.as_ref();
    let headers = headers.map_or(0, |credentials| credentials.header_names.len());
    if !(1..=MAX_EVENT_FILTERS).contains(&settings.event_types.len()) {
        Err(Rejection::EventTypes)
    } else if headers > MAX_HEADERS {
        Err(Rejection::TooManyHeaders)
    } else if settings.rate_limit > MAX_RATE {
        Err(Rejection::RateLimit)
    } else if !(1..=MAX_CONCURRENCY).contains(&settings.concurrency) {
        Err(Rejection::Concurrency)
    } else {
        Ok(())
    }
}

/// The actor may read every event that the webhook gets.
fn check_permissions(settings: &Settings, facts: &Facts<Area>) -> Result<(), Rejection> {
    let mut filters = settings.event_types.iter();
    if filters.all(|filter| filter.permissions().is_subset(&facts.held)) {
        Ok(())
    } else {
        Err(Rejection::BeyondOwnPermissions)
    }
}

mod credentials;
mod replays;
#[cfg(test)]
mod tests;
