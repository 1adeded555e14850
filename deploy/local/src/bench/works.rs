//! The works, and the clients that do them.

use std::{net::SocketAddr, sync::Arc};

use anyhow::ensure;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::{
    http::{Connection, count, post},
    limits::Limit,
    load::Client,
    script::{READ, Script},
    world::{Project, World, project_id},
};

/// More logins at once only wait for each other: each keeps a core busy.
pub(super) const MAX_LOGINS: usize = 4;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(super) enum Work {
    /// Create a project. Some are read back through another connection.
    Create,
    /// Rename a project. No two connections rename the same one.
    Rename,
    /// Read a project by id, with a session cookie.
    Read,
    /// Read a project by id, with an access token.
    ReadToken,
    /// List the first 20 projects of a state by name, with their creators.
    List,
    /// 80 % reads and 20 % renames. Half of the requests go to a tenth of the projects.
    Mixed,
    /// Log in with a password. At most 4 at once.
    Login,
}

impl Work {
    /// Returns the name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Read => "read",
            Self::ReadToken => "read_token",
            Self::List => "list",
            Self::Mixed => "mixed",
            Self::Login => "login",
        }
    }

    /// Returns the limit that this work is compared with.
    pub(super) const fn limit(self) -> Option<Limit> {
        match self {
            Self::Create | Self::Rename => Some(Limit::PublishEvent),
            Self::Read | Self::ReadToken => Some(Limit::AnswerFromMemory),
            Self::List => Some(Limit::FindPage),
            Self::Mixed | Self::Login => None,
        }
    }
}

/// A client over HTTP that does one work.
pub(super) struct Worker {
    connection: Option<Connection>,
    /// Where to connect to: the backend, or the server that answers from memory.
    address: SocketAddr,
    script: Script,
}

impl Worker {
    /// Makes the clients of a work.
    pub(super) fn all(
        work: Work,
        clients: usize,
        world: &Arc<World>,
        address: SocketAddr,
    ) -> Vec<Self> {
        let worker = |client| Self {
            connection: None,
            address,
            script: Script::new(work, client, clients, world.clone()),
        };
        (0..clients).map(worker).collect()
    }

    /// Returns some of the created projects, with their names.
    pub(super) fn created(&self) -> &[(Project, String)] {
        &self.script.created
    }
}

impl Client for Worker {
    async fn request(&mut self) -> anyhow::Result<()> {
        let asked = self.script.next();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answer = connection.send(&asked.request).await?;
        answer.ensure_success()?;
        ensure!(
            count(answer.body, &asked.expected) == asked.times,
            "expected {} {} times: {}",
            asked.expected,
            asked.times,
            answer.excerpt()
        );
        if let Some((tenant, name)) = asked.keep {
            let id = project_id(answer.body)?;
            self.script.created.push((Project { tenant, id }, name));
        }
        // After an error, the next request opens a new connection.
        self.connection = Some(connection);
        Ok(())
    }
}

/// Reads the kept projects of all clients through a new connection. Returns what went wrong.
///
/// # Errors
/// If there is no connection.
pub(super) async fn read_back(
    world: &World,
    clients: &[Worker],
) -> anyhow::Result<Vec<anyhow::Error>> {
    let mut connection = Connection::open(world.address).await?;
    let mut lost = Vec::new();
    for (project, name) in clients.iter().flat_map(Worker::created) {
        let headers = &world.tenants[project.tenant].by_session;
        let request = post(world.address, headers, READ, &json!({ "id": project.id }));
        let answer = connection.send(&request).await?;
        if count(answer.body, &format!("\"name\":\"{name}\"")) != 1 {
            let excerpt = answer.excerpt();
            lost.push(anyhow::anyhow!(
                "the created project {name} reads {excerpt}"
            ));
        }
    }
    Ok(lost)
}
