//! Tenants: creation, changes, moves and deletion. A tenant's owners are members;
//! `reaction/founder.rs` adds the first one.
//!
//! A slug is a claim. The commit that gives a tenant its slug also takes the claim, and the commit
//! that replaces the slug releases it. Then the slug rests. The places of an account for
//! tenants are claims, too, so that two tenants that are created at once do not take the same.

use std::mem;

use events_schema::{
    AccountId, Claim, Id, Name, Placement, Reject, RejectionKind, Slug, Time, has_link,
    tenant::{Area, Command, Event, MAX_SETTINGS, Settings},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// One tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tenant {
    /// Not created yet.
    #[default]
    Absent,
    /// The tenant exists.
    Open(Box<Open>),
    /// Deleted for ever.
    Deleted,
}

/// A tenant that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    name: Name,
    slug: Slug,
    settings: Settings,
    requires_second_factor: bool,
    placement: Placement,
    moving_to: Option<Placement>,
    moved_from: Option<Placement>,
    to_drop: Option<Placement>,
    led_by: Option<Id>,
    /// The place that the tenant takes among those of its founder.
    place: Option<Claim>,
}

/// Why a command to a tenant is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The tenant does not exist, or it is deleted.
    #[error("There is no such tenant.")]
    NotFound,
    /// The id is in use.
    #[error("This tenant already exists.")]
    AlreadyExists,
    /// Another tenant has the slug.
    #[error("This slug is taken, or was given up recently. Choose another one.")]
    SlugTaken,
    /// The founder has as many tenants as an account may have.
    #[error("You have founded as many tenants as an account may have. Delete one first.")]
    TooManyTenants,
    /// The name could be taken for a link in a mail.
    #[error("The name of a tenant must not contain a link or a host name.")]
    NameHasLink,
    /// The confirmation of a deletion names another slug.
    #[error("The slug does not match. Enter the tenant's slug to delete the tenant.")]
    SlugDiffers,
    /// The tenant would have more than [`MAX_SETTINGS`] settings.
    #[error("A tenant has at most {MAX_SETTINGS} settings. Remove some.")]
    TooManySettings,
    /// The tenant's views are moving to another place.
    #[error("The tenant is being moved. Finish that move first.")]
    Moving,
    /// Another run leads the move.
    #[error("Another run of `workers move-tenant` has taken over this move.")]
    OtherRun,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::AlreadyExists
            | Self::SlugTaken
            | Self::SlugDiffers
            | Self::Moving
            | Self::OtherRun => RejectionKind::Conflict,
            Self::TooManySettings | Self::TooManyTenants => RejectionKind::Limit,
            Self::NameHasLink => RejectionKind::invalid("name"),
        }
    }
}

impl Aggregate for Tenant {
    type Area = Area;
    type Rejection = Rejection;

    fn claims(&self, command: &Command, _facts: &Facts<Area>) -> Vec<Claim> {
        match command {
            Command::Create {
                slug,
                owner,
                places,
                ..
            } => {
                let places = 0..places.unwrap_or_default();
                let places = places.map(|number| Claim::tenant_place(*owner, number));
                places.chain([Claim::slug(slug)]).collect()
            }
            Command::Update { slug, .. } => slug.iter().map(Claim::slug).collect(),
            Command::RequireSecondFactor { .. }
            | Command::Delete { .. }
            | Command::BeginMove { .. }
            | Command::LeadMove { .. }
            | Command::SwitchMove { .. }
            | Command::FinishMove { .. }
            | Command::AbandonMove { .. }
            | Command::RecordPlaceDropped { .. } => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (
                Self::Absent,
                Command::Create {
                    name,
                    slug,
                    owner,
                    email,
                    plan,
                    placement,
                    places,
                },
            ) => {
                check_name(name)?;
                let mut take = vec![free(slug, facts)?];
                let number = places.map(|places| free_place(*owner, places, facts));
                let number = number.transpose()?;
                take.extend(number.map(|number| Claim::tenant_place(*owner, number)));
                let created = Event::Created {
                    name: name.clone(),
                    slug: slug.clone(),
                    owner: *owner,
                    email: email.clone(),
                    plan: *plan,
                    placement: placement.clone(),
                    number,
                };
                Ok(Decision {
                    take,
                    ..Decision::events(vec![created])
                })
            }
            (Self::Absent | Self::Deleted, _) => Err(Rejection::NotFound),
            (Self::Open(open), command) => open.decide(command, facts),
        }
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        match (&mut *self, event) {
            (
                _,
                Event::Created {
                    name,
                    slug,
                    owner,
                    placement,
                    number,
                    ..
                },
            ) => {
                *self = Self::Open(Box::new(Open {
                    name: name.clone(),
                    slug: slug.clone(),
                    settings: Settings::new(),
                    requires_second_factor: false,
                    placement: placement.clone(),
                    moving_to: None,
                    moved_from: None,
                    to_drop: None,
                    led_by: None,
                    place: number.map(|number| Claim::tenant_place(*owner, number)),
                }));
            }
            (_, Event::Deleted) => *self = Self::Deleted,
            (Self::Open(open), event) => open.evolve(event),
            (Self::Absent | Self::Deleted, _) => {}
        }
    }
}

/// Returns the event if it changes anything.
fn when(is_change: bool, event: Event) -> Decision<Event> {
    if is_change {
        Decision::events(vec![event])
    } else {
        Decision::unchanged()
    }
}

/// Returns the claim to a slug that no other tenant has.
fn free(slug: &Slug, facts: &Facts<Area>) -> Result<Claim, Rejection> {
    let claim = Claim::slug(slug);
    if facts.is_taken(&claim) {
        Err(Rejection::SlugTaken)
    } else {
        Ok(claim)
    }
}

/// Returns the number of a place that no tenant of the founder takes.
fn free_place(founder: AccountId, places: u16, facts: &Facts<Area>) -> Result<u16, Rejection> {
    let is_free = |number: &u16| !facts.is_taken(&Claim::tenant_place(founder, *number));
    (0..places).find(is_free).ok_or(Rejection::TooManyTenants)
}

/// Invitations show the name to people who do not know the tenant.
fn check_name(name: &Name) -> Result<(), Rejection> {
    if has_link(name.as_str()) {
        Err(Rejection::NameHasLink)
    } else {
        Ok(())
    }
}

impl Open {
    fn decide(&self, command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        match command {
            Command::Create { .. } => Err(Rejection::AlreadyExists),
            Command::Update {
                name,
                slug,
                settings,
            } => self.update(name.as_ref(), slug.as_ref(), settings.as_ref(), facts),
            Command::RequireSecondFactor { required } => {
                let required = *required;
                let changed = Event::SecondFactorRequirementChanged { required };
                Ok(when(self.requires_second_factor != required, changed))
            }
            Command::Delete { slug } => self.delete(slug),
            Command::BeginMove { to, run } => self.begin_move(to, *run),
            Command::LeadMove { run } => {
                let is_new = self.is_moving() && self.led_by != Some(*run);
                Ok(when(is_new, Event::MoveLed { run: *run }))
            }
            Command::SwitchMove { run } => {
                self.step(*run, self.moving_to.is_some(), Event::MoveSwitched)
            }
            Command::FinishMove { run } => {
                self.step(*run, self.moved_from.is_some(), Event::MoveFinished)
            }
            Command::AbandonMove { run } => {
                self.step(*run, self.moving_to.is_some(), Event::MoveAbandoned)
            }
            Command::RecordPlaceDropped { run } => {
                self.step(*run, self.to_drop.is_some(), Event::PlaceDropped)
            }
        }
    }

    fn update(
        &self,
        name: Option<&Name>,
        slug: Option<&Slug>,
        settings: Option<&Settings>,
        facts: &Facts<Area>,
    ) -> Result<Decision<Event>, Rejection> {
        // Only new settings are counted: a limit that was lowered must not prevent a new name.
        if settings.is_some_and(|settings| settings.len() > MAX_SETTINGS) {
            return Err(Rejection::TooManySettings);
        }
        if let Some(name) = name.filter(|name| **name != self.name) {
            check_name(name)?;
        }
        let name = name.unwrap_or(&self.name);
        let slug = slug.unwrap_or(&self.slug);
        let settings = settings.unwrap_or(&self.settings);
        if (name, slug, settings) == (&self.name, &self.slug, &self.settings) {
            return Ok(Decision::unchanged());
        }
        let mut decision = Decision::events(vec![Event::Updated {
            name: name.clone(),
            slug: slug.clone(),
            settings: settings.clone(),
        }]);
        if *slug != self.slug {
            decision.take.push(free(slug, facts)?);
            decision.release.push(Claim::slug(&self.slug));
        }
        Ok(decision)
    }

    fn delete(&self, confirmation: &Slug) -> Result<Decision<Event>, Rejection> {
        if *confirmation != self.slug {
            return Err(Rejection::SlugDiffers);
        }
        Ok(Decision {
            release: [Claim::slug(&self.slug)]
                .into_iter()
                .chain(self.place)
                .collect(),
            ..Decision::events(vec![Event::Deleted])
        })
    }

    /// Whether a move has begun and has not ended. It ends when a place is dropped.
    fn is_moving(&self) -> bool {
        let places = [&self.moving_to, &self.moved_from, &self.to_drop];
        places.iter().any(|place| place.is_some())
    }

    fn begin_move(&self, to: &Placement, run: Id) -> Result<Decision<Event>, Rejection> {
        let begun = Event::MoveBegun {
            to: to.clone(),
            run: Some(run),
        };
        let is_repeated = self.moving_to.as_ref() == Some(to) && self.led_by == Some(run);
        if self.is_moving() && !is_repeated {
            return Err(Rejection::Moving);
        }
        Ok(when(!is_repeated && self.placement != *to, begun))
    }

    /// Decides a step of a move. Only the run that leads the move may do it.
    fn step(&self, run: Id, is_next: bool, event: Event) -> Result<Decision<Event>, Rejection> {
        if self.is_moving() && self.led_by != Some(run) {
            return Err(Rejection::OtherRun);
        }
        Ok(when(is_next, event))
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Created { .. } | Event::Deleted => {}
            Event::Updated {
                name,
                slug,
                settings,
            } => {
                self.name = name.clone();
                self.slug = slug.clone();
                self.settings = settings.clone();
            }
            Event::SecondFactorRequirementChanged { required } => {
                self.requires_second_factor = *required;
            }
            Event::MoveBegun { to, run } => {
                self.moving_to = Some(to.clone());
                self.to_drop = None;
                self.led_by = *run;
            }
            Event::MoveLed { run } => self.led_by = Some(*run),
            Event::MoveSwitched => {
                if let Some(placement) = self.moving_to.take() {
                    self.moved_from = Some(mem::replace(&mut self.placement, placement));
                }
            }
            Event::MoveFinished => {
                let mut left = self.moved_from.take();
                // Moves of earlier releases have no switch.
                if let Some(placement) = self.moving_to.take() {
                    left = Some(mem::replace(&mut self.placement, placement));
                }
                // Runs of earlier releases have dropped it without a record.
                self.to_drop = left.filter(|_| self.led_by.is_some());
            }
            Event::MoveAbandoned => {
                let left = self.moving_to.take();
                self.to_drop = left.filter(|_| self.led_by.is_some());
            }
            Event::PlaceDropped => {
                self.to_drop = None;
                self.led_by = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
