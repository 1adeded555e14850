//! Effects: the actions on the outside world. `loops/effect.rs` runs them.

use std::future::Future;

use crate::{
    aggregate::{Aggregate, CommandOf, EventOf, IdOf},
    config::Config,
};

mod mail_text;
pub mod send_mail;

/// The area that records an effect.
pub type AreaOf<E> = <<E as Effect>::Record as Aggregate>::Area;

/// Acts on the outside world when an event requests it. A command records the result.
pub trait Effect: Sized + Send + Sync + 'static {
    /// The aggregate whose events request the effect and whose state records the result.
    type Record: Aggregate;
    /// The input of [`perform`](Self::perform).
    type Task: Send;
    /// The name of the effect and of its consumer.
    const NAME: &'static str;

    /// Prepares the effect.
    ///
    /// # Errors
    /// If the configuration is wrong.
    fn new(config: &Config) -> anyhow::Result<Self>;

    /// Returns the number of attempts after which the effect is recorded as failed.
    fn attempts(&self) -> i64;

    /// Whether the event requests the effect.
    fn is_requested_by(event: &EventOf<Self::Record>) -> bool;

    /// Returns the task that the record shows as not done yet; `None` if there is none.
    fn pending(record: &Self::Record) -> Option<Self::Task>;

    /// Performs the task. `id` is the key by which the destination recognizes a repetition.
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
