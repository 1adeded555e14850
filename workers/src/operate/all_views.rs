//! The views of areas, for operator commands that work on all of them.

use async_nats::Client;
use events_schema::{AreaName, View};

use crate::{
    areas::{self, Visitor},
    placements::Placements,
    views::{AnyView, Confirmations, Views},
};

/// Returns all views of these areas.
pub fn of(
    areas: impl IntoIterator<Item = AreaName>,
    client: &Client,
    placements: &Placements,
) -> Vec<Box<dyn AnyView>> {
    let mut collect = Collect {
        client,
        placements,
        views: Vec::new(),
    };
    for area in areas {
        areas::visit(area, &mut collect);
    }
    collect.views
}

struct Collect<'a> {
    client: &'a Client,
    placements: &'a Placements,
    views: Vec<Box<dyn AnyView>>,
}

impl Visitor for Collect<'_> {
    fn view<V: View>(&mut self) {
        let (client, placements) = (self.client.clone(), self.placements.clone());
        let confirmations = Confirmations::new(placements.clone());
        let views = Views::<V>::new(client, placements, confirmations);
        self.views.push(Box::new(views));
    }
}
