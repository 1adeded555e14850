//! Fills the log directly with commits of projects.

use std::time::SystemTime;

use events_schema::{
    AccountId, Actor, Area, CommandId, Commit, Description, Id, Name, TenantId, project,
};

use crate::support::World;

/// Writes commits of a tenant's projects to the log, each with a name that only it has.
pub async fn write_to_log(world: &World, tenant: TenantId, projects: &[Id], revision: u64) {
    // The client waits when 5,000 are not acknowledged yet.
    for some in projects.chunks(1_000) {
        write_some(world, tenant, some, revision).await;
    }
}

async fn write_some(world: &World, tenant: TenantId, projects: &[Id], revision: u64) {
    let mut stored = Vec::new();
    for id in projects {
        let (name, description) = (Name::parse(&name_of(*id, revision)), Description::default());
        let (name, status) = (name.unwrap(), project::Status::Active);
        let event = match revision {
            1 => project::Event::Created {
                name,
                description,
                status,
                creator: AccountId(*id),
            },
            _ => project::Event::Updated {
                name,
                description,
                status,
            },
        };
        let commit = Commit::<project::Area> {
            tenant,
            area: project::Area::NAME,
            id: (*id).into(),
            revision,
            command: CommandId(*id),
            actor: Actor::System,
            time: SystemTime::now().into(),
            origin: None,
            events: vec![event],
        };
        let payload = serde_json::to_vec(&commit).unwrap();
        let subject = commit.subject().to_string();
        let published = world.operator.publish(subject, payload.into());
        stored.push(published.await.unwrap());
    }
    for stored in stored {
        stored.await.unwrap();
    }
}

pub fn name_of(project: Id, revision: u64) -> String {
    format!("{project} {revision}")
}
