//! Effects: the few things that touch the outside world. `loops/effect.rs` runs them.

use std::future::Future;

use crate::{
    aggregate::{Aggregate, CommandOf, EventOf, IdOf},
    config::Config,
};

mod mail_text;
pub mod send_mail;

/// The area that records an effect.
pub type AreaOf<E> = <<E as Effect>::Record as Aggregate>::Area;

/// Acts on the outside world when an event requests it, and has the result recorded.
pub trait Effect: Sized + Send + Sync + 'static {
    /// The aggregate whose events request the effect and whose state records the result.
    type Record: Aggregate;
    /// Everything that is needed to act.
    type Task: Send;
    /// The name of the effect and of its consumer.
    const NAME: &'static str;

    /// Prepares the effect.
    ///
    /// # Errors
    /// If the configuration is wrong.
    fn new(config: &Config) -> anyhow::Result<Self>;

    /// Returns how often the effect is attempted before it is recorded as failed.
    fn attempts(&self) -> i64;

    /// Whether the event requests the effect.
    fn is_requested_by(event: &EventOf<Self::Record>) -> bool;

    /// Returns what is still to be done, according to the record.
    fn pending(record: &Self::Record) -> Option<Self::Task>;

    /// Acts. `id` is the key by which the destination recognizes a repetition.
    ///
    /// # Errors
    /// If it is not certain that the destination has accepted the effect.
    fn perform(
        &self,
        id: IdOf<Self::Record>,
        task: Self::Task,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Returns the command that records success.
    fn succeeded() -> CommandOf<Self::Record>;

    /// Returns the command that records that all attempts have failed.
    fn failed(reason: String) -> CommandOf<Self::Record>;
}
