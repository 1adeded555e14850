//! The consumers of the loops that may create none: those of all loops but the one that decides
//! commands.

use anyhow::Context as _;
use async_nats::jetstream::Context;
use events_schema::{Area as _, AreaName, View};
use futures_util::future::try_join_all;

use crate::{
    areas::{Visitor, visit},
    effect::{AreaOf, Effect},
    loops::consumers::Consumer,
    reaction::Reaction,
};

/// Creates or updates them, also those of effects that are not configured here.
///
/// # Errors
/// If the server does not answer, or runs one of them with other settings.
pub(super) async fn keep_consumers(context: &Context) -> anyhow::Result<()> {
    let all = all();
    let kept = all.iter().map(|consumer| consumer.ensure(context));
    let kept = try_join_all(kept).await;
    kept.context("the consumers of the loops").map(drop)
}

fn all() -> Vec<Consumer> {
    let mut kept = Kept(vec![
        Consumer::wake_ups_of_webhooks(),
        Consumer::deliveries_to_webhooks(),
        Consumer::inbound_hooks(),
        Consumer::inbound_replays(),
        Consumer::stripe_hooks(),
        Consumer::seats(),
        Consumer::billing_mail(),
        Consumer::connection_notices(),
        Consumer::account_members(),
        Consumer::member_accounts(),
    ]);
    for area in AreaName::ALL {
        visit(*area, &mut kept);
    }
    kept.0
}

struct Kept(Vec<Consumer>);

impl Visitor for Kept {
    fn view<V: View>(&mut self) {
        self.0.push(Consumer::views(V::NAME, V::Area::NAME));
    }

    fn reaction<R: Reaction>(&mut self) {
        self.0.push(Consumer::reactions(R::NAME, R::Source::NAME));
    }

    fn effect<E: Effect>(&mut self) {
        self.0.push(Consumer::effects(E::NAME, AreaOf::<E>::NAME));
    }
}
