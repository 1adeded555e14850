//! Tenants: founded, renamed, moved and ended. Who is their owner is a member's business, and
//! follows by `reaction/founder.rs`.
//!
//! A slug is a claim: taken with the commit that gives it, free again with the one that gives it
//! up.

use events_schema::{
    Area, Claim, Name, Place, Rejected, Slug, Time,
    tenant::{Command, Event, MOST_SETTINGS, Settings},
};

use super::is_taken;
use crate::aggregate::{Aggregate, Decision, Facts};

/// One tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tenant {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// An organisation's.
    Open(Open),
    /// Ended for ever.
    Deleted,
}

/// A tenant proper.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    name: Name,
    slug: Slug,
    settings: Settings,
    place: Place,
    moving_to: Option<Place>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is none, or no more.
    #[error("There is no such tenant.")]
    NotFound,
    /// Its id is taken.
    #[error("This tenant already exists.")]
    AlreadyExists,
    /// Another tenant has this slug.
    #[error("This name in addresses is taken; choose another.")]
    SlugTaken,
    /// Whoever would end it named another.
    #[error("This is not the tenant's name in addresses.")]
    SlugDiffers,
    /// More settings than [`MOST_SETTINGS`].
    #[error("A tenant has at most {MOST_SETTINGS} settings.")]
    TooManySettings,
    /// Its views are on their way to another place.
    #[error("The tenant is being moved elsewhere; wait until that is finished, or abandon it.")]
    Moving,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
            Rejection::AlreadyExists => "already_exists",
            Rejection::SlugTaken => "slug_taken",
            Rejection::SlugDiffers => "slug_differs",
            Rejection::TooManySettings => "too_many_settings",
            Rejection::Moving => "moving",
        };
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Aggregate for Tenant {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Tenant;

    fn claims(&self, command: &Command, _facts: &Facts) -> Vec<Claim> {
        match command {
            Command::Create { slug, .. }
            | Command::Update {
                slug: Some(slug), ..
            } => vec![Claim::slug(slug)],
            Command::Update { slug: None, .. }
            | Command::Delete { .. }
            | Command::BeginMove { .. }
            | Command::FinishMove
            | Command::AbandonMove => Vec::new(),
        }
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        match (self, command) {
            (
                Self::Absent,
                Command::Create {
                    name,
                    slug,
                    owner,
                    email,
                    plan,
                    place,
                },
            ) => {
                let take = vec![free(slug, facts)?];
                let created = Event::Created {
                    name: name.clone(),
                    slug: slug.clone(),
                    owner: *owner,
                    email: email.clone(),
                    plan: *plan,
                    place: place.clone(),
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
                    name, slug, place, ..
                },
            ) => {
                *self = Self::Open(Open {
                    name: name.clone(),
                    slug: slug.clone(),
                    settings: Settings::new(),
                    place: place.clone(),
                    moving_to: None,
                });
            }
            (_, Event::Deleted) => *self = Self::Deleted,
            (Self::Open(open), event) => open.evolve(event),
            (Self::Absent | Self::Deleted, _) => {}
        }
    }
}

/// The claim to a slug that nobody else holds.
fn free(slug: &Slug, facts: &Facts) -> Result<Claim, Rejection> {
    let claim = Claim::slug(slug);
    if is_taken(&claim, facts) {
        Err(Rejection::SlugTaken)
    } else {
        Ok(claim)
    }
}

impl Open {
    fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision<Event>, Rejection> {
        Ok(match command {
            Command::Create { .. } => return Err(Rejection::AlreadyExists),
            Command::Update {
                name,
                slug,
                settings,
            } => self.update(name.as_ref(), slug.as_ref(), settings.as_ref(), facts)?,
            Command::Delete { slug } if *slug != self.slug => return Err(Rejection::SlugDiffers),
            Command::Delete { slug } => Decision {
                release: vec![Claim::slug(slug)],
                ..Decision::events(vec![Event::Deleted])
            },
            Command::BeginMove { to } => match &self.moving_to {
                Some(place) if place != to => return Err(Rejection::Moving),
                Some(_) => Decision::unchanged(),
                None if self.place == *to => Decision::unchanged(),
                None => Decision::events(vec![Event::MoveBegun { to: to.clone() }]),
            },
            Command::FinishMove | Command::AbandonMove if self.moving_to.is_none() => {
                Decision::unchanged()
            }
            Command::FinishMove => Decision::events(vec![Event::MoveFinished]),
            Command::AbandonMove => Decision::events(vec![Event::MoveAbandoned]),
        })
    }

    fn update(
        &self,
        name: Option<&Name>,
        slug: Option<&Slug>,
        settings: Option<&Settings>,
        facts: &Facts,
    ) -> Result<Decision<Event>, Rejection> {
        // What is there is not measured again: a limit that was lowered must not stop a new name.
        if settings.is_some_and(|settings| settings.len() > MOST_SETTINGS) {
            return Err(Rejection::TooManySettings);
        }
        let (name, slug, settings) = (
            name.unwrap_or(&self.name),
            slug.unwrap_or(&self.slug),
            settings.unwrap_or(&self.settings),
        );
        if (name, slug, settings) == (&self.name, &self.slug, &self.settings) {
            return Ok(Decision::unchanged());
        }
        let updated = Event::Updated {
            name: name.clone(),
            slug: slug.clone(),
            settings: settings.clone(),
        };
        let mut decision = Decision::events(vec![updated]);
        if *slug != self.slug {
            decision.take.push(free(slug, facts)?);
            decision.release.push(Claim::slug(&self.slug));
        }
        Ok(decision)
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
            Event::MoveBegun { to } => self.moving_to = Some(to.clone()),
            Event::MoveFinished => {
                if let Some(place) = self.moving_to.take() {
                    self.place = place;
                }
            }
            Event::MoveAbandoned => self.moving_to = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, EmailAddress, HostName, Id, SettingKey, SettingValue};

    use super::*;
    use crate::domain::testing::{OWN, decide, decide_with, facts, given};

    const OTHER: Id = Id::from_bytes([5; 16]);

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }
    fn slug(text: &str) -> Slug {
        Slug::parse(text).unwrap()
    }
    fn place(host: &str) -> Place {
        Place::Database {
            host: Some(HostName::parse(host).unwrap()),
        }
    }
    fn settings(count: usize) -> Settings {
        (0..count)
            .map(|at| {
                (
                    SettingKey::parse(&at.to_string()).unwrap(),
                    SettingValue::parse("x").unwrap(),
                )
            })
            .collect()
    }
    fn create() -> Command {
        let (owner, email) = (
            AccountId(OTHER),
            EmailAddress::parse("ada@example.com").unwrap(),
        );
        Command::Create {
            name: name("Acme"),
            slug: slug("acme"),
            owner,
            email,
            plan: Some(OTHER),
            place: Place::Shared,
        }
    }
    fn created() -> Event {
        let (owner, email) = (
            AccountId(OTHER),
            EmailAddress::parse("ada@example.com").unwrap(),
        );
        Event::Created {
            name: name("Acme"),
            slug: slug("acme"),
            owner,
            email,
            plan: Some(OTHER),
            place: Place::Shared,
        }
    }
    fn update(name: Option<&str>, slug: Option<&str>, settings: Option<Settings>) -> Command {
        let slug = slug.map(|slug| Slug::parse(slug).unwrap());
        Command::Update {
            name: name.map(|name| Name::parse(name).unwrap()),
            slug,
            settings,
        }
    }
    fn updated(to: &str, to_slug: &str, settings: Settings) -> Event {
        Event::Updated {
            name: name(to),
            slug: slug(to_slug),
            settings,
        }
    }
    fn delete(text: &str) -> Command {
        Command::Delete { slug: slug(text) }
    }
    fn begin(to: Place) -> Command {
        Command::BeginMove { to }
    }
    fn begun(to: Place) -> Event {
        Event::MoveBegun { to }
    }
    fn tenant(more: impl IntoIterator<Item = Event>) -> Tenant {
        given([created()].into_iter().chain(more))
    }

    #[test]
    fn a_tenant_is_founded_once_and_takes_its_slug() {
        let decision = decide_with(&Tenant::Absent, &create(), &facts(0, [])).unwrap();
        assert_eq!(
            decision,
            Decision {
                take: vec![Claim::slug(&slug("acme"))],
                ..Decision::events(vec![created()])
            }
        );
        assert_eq!(
            decide(&tenant([]), &create(), 0),
            Err(Rejection::AlreadyExists)
        );
    }

    #[test]
    fn a_slug_that_another_holds_is_taken() {
        let held = |text| facts(0, [(Claim::slug(&slug(text)), OTHER)]);
        assert_eq!(
            decide_with(&Tenant::Absent, &create(), &held("acme")),
            Err(Rejection::SlugTaken)
        );
        assert_eq!(
            decide_with(
                &tenant([]),
                &update(None, Some("apex"), None),
                &held("apex")
            ),
            Err(Rejection::SlugTaken)
        );
    }

    #[test]
    fn a_new_slug_is_taken_and_the_old_one_given_up_at_once() {
        let decision = decide_with(
            &tenant([]),
            &update(Some("Apex"), Some("apex"), None),
            &facts(0, []),
        )
        .unwrap();
        assert_eq!(decision.events, [updated("Apex", "apex", settings(0))]);
        assert_eq!(
            (decision.take, decision.release),
            (
                vec![Claim::slug(&slug("apex"))],
                vec![Claim::slug(&slug("acme"))]
            )
        );
    }

    #[test]
    fn what_is_not_said_stays_and_the_same_slug_is_no_new_one() {
        let own = facts(0, [(Claim::slug(&slug("acme")), OWN)]);
        let decision = decide_with(
            &tenant([]),
            &update(None, Some("acme"), Some(settings(2))),
            &own,
        )
        .unwrap();
        assert_eq!(
            decision,
            Decision::events(vec![updated("Acme", "acme", settings(2))])
        );
        let settled = tenant([updated("Acme", "acme", settings(2))]);
        assert_eq!(
            decide(&settled, &update(Some("Apex"), None, None), 0),
            Ok(vec![updated("Apex", "acme", settings(2))])
        );
    }

    #[test]
    fn an_update_that_differs_in_nothing_changes_nothing() {
        let own = facts(0, [(Claim::slug(&slug("acme")), OWN)]);
        for command in [
            update(None, None, None),
            update(Some("Acme"), Some("acme"), Some(settings(0))),
        ] {
            assert_eq!(
                decide_with(&tenant([]), &command, &own),
                Ok(Decision::unchanged()),
                "{command:?}"
            );
        }
    }

    #[test]
    fn settings_are_bounded() {
        assert!(
            decide(
                &tenant([]),
                &update(None, None, Some(settings(MOST_SETTINGS))),
                0
            )
            .is_ok()
        );
        let more = settings(MOST_SETTINGS + 1);
        assert_eq!(
            decide(&tenant([]), &update(None, None, Some(more.clone())), 0),
            Err(Rejection::TooManySettings)
        );
        let full = tenant([updated("Acme", "acme", more.clone())]);
        assert_eq!(
            decide(&full, &update(Some("Apex"), None, None), 0),
            Ok(vec![updated("Apex", "acme", more)]),
            "a limit was lowered"
        );
    }

    #[test]
    fn a_tenant_is_ended_by_its_present_slug_which_is_free_then() {
        let renamed = tenant([updated("Acme", "apex", settings(0))]);
        let decision = decide_with(&renamed, &delete("apex"), &facts(0, [])).unwrap();
        assert_eq!(
            decision,
            Decision {
                release: vec![Claim::slug(&slug("apex"))],
                ..Decision::events(vec![Event::Deleted])
            }
        );
        assert_eq!(
            decide(&renamed, &delete("acme"), 0),
            Err(Rejection::SlugDiffers)
        );
    }

    #[test]
    fn nothing_is_done_to_a_tenant_that_is_not_there() {
        let others = [
            update(Some("Apex"), None, None),
            delete("acme"),
            begin(place("eu")),
            Command::FinishMove,
            Command::AbandonMove,
        ];
        for command in &others {
            assert_eq!(
                decide(&Tenant::Absent, command, 0),
                Err(Rejection::NotFound),
                "{command:?}"
            );
        }
        for command in others.iter().chain([&create()]) {
            assert_eq!(
                decide(&tenant([Event::Deleted]), command, 0),
                Err(Rejection::NotFound),
                "{command:?}"
            );
        }
    }

    #[test]
    fn a_move_is_begun_once_and_then_finished_or_abandoned() {
        assert_eq!(
            decide(&tenant([]), &begin(place("eu")), 0),
            Ok(vec![begun(place("eu"))])
        );
        let moving = tenant([begun(place("eu"))]);
        assert_eq!(decide(&moving, &begin(place("eu")), 0), Ok(vec![]));
        assert_eq!(
            decide(&moving, &Command::FinishMove, 0),
            Ok(vec![Event::MoveFinished])
        );
        assert_eq!(
            decide(&moving, &Command::AbandonMove, 0),
            Ok(vec![Event::MoveAbandoned])
        );
    }

    #[test]
    fn a_tenant_on_its_way_goes_nowhere_else_meanwhile() {
        let moving = tenant([begun(place("eu"))]);
        for to in [place("us"), Place::Shared] {
            assert_eq!(decide(&moving, &begin(to), 0), Err(Rejection::Moving));
        }
    }

    #[test]
    fn a_tenant_that_is_there_already_does_not_move() {
        let moved = tenant([begun(place("eu")), Event::MoveFinished]);
        let stayed = tenant([begun(place("eu")), Event::MoveAbandoned]);
        for (tenant, to) in [(moved, place("eu")), (stayed, Place::Shared)] {
            for command in [begin(to), Command::FinishMove, Command::AbandonMove] {
                assert_eq!(decide(&tenant, &command, 0), Ok(vec![]), "{command:?}");
            }
        }
    }

    #[test]
    fn what_happened_is_taken_in_whatever_was_before() {
        let events = [
            updated("Apex", "apex", settings(1)),
            begun(place("eu")),
            Event::MoveFinished,
            Event::MoveAbandoned,
        ];
        assert_eq!(given::<Tenant>(events.clone()), Tenant::Absent);
        assert_eq!(
            tenant([Event::Deleted].into_iter().chain(events)),
            Tenant::Deleted
        );
        assert_eq!(
            tenant([Event::MoveFinished]),
            tenant([]),
            "no move was under way"
        );
    }
}
