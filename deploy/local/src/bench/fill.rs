//! Fills the log fast: commits as the workers would write them, published straight to EVENTS in
//! atomic batches.

use anyhow::Context as _;
use async_nats::{
    HeaderMap,
    header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE},
    jetstream::{self, publish::PublishAck, response::Response},
};
use events_schema::{
    AccountId, Actor, Address, Area as _, CommandId, Commit, Description, Device, Id, Name, Origin,
    ProjectId, TenantId, TenantKey, Time,
    project::{self, Event, Status},
};

use super::script::Random;

/// Commits of one batch. The server accepts 1,000, and syncs once for each batch.
const BATCH: usize = 1_000;
/// The creator of all projects, an account that nobody looks at.
const CREATOR: AccountId = AccountId(Id::from_bytes([9; 16]));

/// A project that was written to the log.
#[derive(Clone)]
pub(super) struct Filled {
    /// Index of its tenant.
    pub(super) tenant: usize,
    pub(super) id: ProjectId,
    /// Number of its commits.
    pub(super) revision: u64,
}

/// Writes commits of projects.
pub(super) struct Filler {
    client: async_nats::Client,
    tenants: Vec<TenantKey>,
    random: Random,
    /// Commits that are not published yet.
    waiting: Vec<(String, Vec<u8>)>,
    /// The projects of [`fill`](Self::fill), in the order of their creation.
    pub(super) projects: Vec<Filled>,
    /// Commits until now, of all projects.
    pub(super) commits: usize,
}

impl Filler {
    /// Fills the log with projects of these tenants.
    pub(super) fn new(jetstream: &jetstream::Context, tenants: Vec<TenantKey>) -> Self {
        Self {
            client: jetstream.client(),
            tenants,
            random: Random::seeded(1),
            waiting: Vec::new(),
            projects: Vec::new(),
            commits: 0,
        }
    }

    /// Fills the log until it has this many commits. Every second one creates a project, and the
    /// others update any of them.
    ///
    /// # Errors
    /// If the log refuses a batch.
    pub(super) async fn fill(&mut self, commits: usize) -> anyhow::Result<()> {
        while self.commits < commits {
            if self.commits.is_multiple_of(2) || self.projects.is_empty() {
                let project = self.new_project()?;
                self.projects.push(project.clone());
                self.commit(&project).await?;
            } else {
                let index = self.random.below(self.projects.len());
                self.projects[index].revision += 1;
                let project = self.projects[index].clone();
                self.commit(&project).await?;
            }
        }
        self.publish().await
    }

    /// Writes a project with this many commits, beside those of [`fill`](Self::fill).
    ///
    /// # Errors
    /// If the log refuses a batch.
    pub(super) async fn deep(&mut self, commits: u64) -> anyhow::Result<Filled> {
        let mut project = self.new_project()?;
        for revision in 1..=commits {
            project.revision = revision;
            self.commit(&project).await?;
        }
        self.publish().await?;
        Ok(project)
    }

    fn new_project(&self) -> anyhow::Result<Filled> {
        Ok(Filled {
            tenant: self.commits % self.tenants.len(),
            id: ProjectId(event_store::random_id()?),
            revision: 1,
        })
    }

    /// Adds the commit that brings a project to its revision.
    async fn commit(&mut self, project: &Filled) -> anyhow::Result<()> {
        let tenant = TenantId::Tenant(self.tenants[project.tenant]);
        let commit = commit(tenant, project, self.commits)?;
        let message = (commit.subject().to_string(), serde_json::to_vec(&commit)?);
        self.commits += 1;
        self.waiting.push(message);
        if self.waiting.len() == BATCH {
            self.publish().await?;
        }
        Ok(())
    }

    /// Publishes what waits as one batch.
    async fn publish(&mut self) -> anyhow::Result<()> {
        let Some((last, before)) = self.waiting.split_last() else {
            return Ok(());
        };
        let batch = event_store::random_id()?.to_string();
        for (position, (subject, payload)) in (1..).zip(before) {
            let (headers, payload) = (in_batch(&batch, position), payload.clone().into());
            let sent = self
                .client
                .publish_with_headers(subject.clone(), headers, payload);
            sent.await?;
        }
        let mut headers = in_batch(&batch, self.waiting.len());
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        let (subject, payload) = last.clone();
        let stored = self
            .client
            .request_with_headers(subject, headers, payload.into());
        let stored: Response<PublishAck> = serde_json::from_slice(&stored.await?.payload)?;
        match stored {
            Response::Ok(_) => self.waiting.clear(),
            Response::Err { error } => return Err(error).context("filling the log"),
        }
        Ok(())
    }
}

/// Returns the commit that brings a project to its revision. `number` counts all commits.
///
/// # Errors
/// If the number is out of range.
pub(super) fn commit(
    tenant: TenantId,
    project: &Filled,
    number: usize,
) -> anyhow::Result<Commit<project::Area>> {
    let name = Name::parse(&format!("Project {number}"))?;
    let description = Description::parse("made by the benchmark")?;
    let is_first = project.revision == 1;
    let event = if is_first {
        Event::Created {
            name,
            description,
            status: Status::Active,
            creator: CREATOR,
        }
    } else {
        Event::Updated {
            name,
            description,
            status: Status::OnHold,
        }
    };
    let command = if is_first {
        project.id.0
    } else {
        event_store::random_id()?
    };
    Ok(Commit {
        tenant,
        area: project::Area::NAME,
        id: project.id,
        revision: project.revision,
        command: CommandId(command),
        actor: Actor::Account(CREATOR),
        // Some time in 2023, and a millisecond more for each commit.
        time: Time(1_700_000_000_000 + i64::try_from(number)?),
        origin: Some(Origin {
            address: Some(Address::parse("127.0.0.1")?),
            device: Device::parse("bench")?,
        }),
        events: vec![event],
    })
}

fn in_batch(batch: &str, position: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_BATCH_ID, batch);
    headers.insert(NATS_BATCH_SEQUENCE, position.to_string());
    headers
}
