//! The requests of each work, and what the right answers have.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    http::post,
    works::Work,
    world::{
        CREATE, EMAIL, FIRSTNAME, LOGIN, Project, STATES, Tenant, World, login_variables,
        project_input,
    },
};

pub(super) const UPDATE: &str = "mutation($input: UpdateProjectInput!) { \
     project { update(input: $input) { id name } } }";
pub(super) const READ: &str = "query($id: ID!) { project(id: $id) { id name description } }";
const LIST: &str = "query($status: [ProjectStatus!]) { \
     projects(where: { status: $status }, orderBy: NAME_ASC, first: 20) { \
     nodes { id name createdBy { firstname } } } }";
/// Projects on a page of a list.
pub(super) const PAGE: usize = 20;
/// Each connection keeps every so many-th created project, to read it back.
const KEEP_EVERY: usize = 50;
/// Most created projects that a connection keeps.
const MAX_KEPT: usize = 20;
/// A request, and what its answer must have.
pub(super) struct Asked {
    pub(super) request: Vec<u8>,
    pub(super) expected: String,
    /// How often the answer has it.
    pub(super) times: usize,
    /// Keep the created project: its tenant and name.
    pub(super) keep: Option<(usize, String)>,
}

/// The requests of one client.
pub(super) struct Script {
    work: Work,
    client: usize,
    clients: usize,
    world: Arc<World>,
    /// Requests made until now.
    made: usize,
    random: Random,
    /// Some of the created projects, with their names.
    pub(super) created: Vec<(Project, String)>,
}

impl Script {
    /// Makes the requests of one of several clients.
    pub(super) fn new(work: Work, client: usize, clients: usize, world: Arc<World>) -> Self {
        let random = Random::seeded(client as u64);
        Self {
            work,
            client,
            clients,
            world,
            made: 0,
            random,
            created: Vec::new(),
        }
    }

    /// Returns the next request.
    pub(super) fn next(&mut self) -> Asked {
        self.made += 1;
        match self.work {
            Work::Create => self.create(),
            Work::Rename => self.rename(self.own_project()),
            Work::Read => self.read(self.own_project(), |tenant| &tenant.by_session),
            Work::ReadToken => self.read(self.own_project(), |tenant| &tenant.by_token),
            Work::List => self.list(),
            Work::Mixed => {
                let project = self.random.skewed(self.world.projects.len());
                match self.random.below(5) {
                    0 => self.rename_any(project),
                    _ => self.read(project, |tenant| &tenant.by_session),
                }
            }
            Work::Login => self.asked(
                "",
                LOGIN,
                &login_variables(),
                format!("\"email\":\"{EMAIL}\""),
            ),
        }
    }

    /// Returns the next of the projects that belong to this client alone.
    fn own_project(&self) -> usize {
        let own = self.world.projects.len() / self.clients;
        self.client + self.clients * (self.made % own.max(1))
    }

    /// Returns a name that no other request has.
    fn name(&self) -> String {
        let work = self.work.name();
        format!("{work}-{}-{}-{}", self.clients, self.client, self.made)
    }

    fn create(&self) -> Asked {
        let tenant = (self.client + self.made) % self.world.tenants.len();
        let name = self.name();
        let headers = &self.world.tenants[tenant].by_session;
        let input = project_input(&name, STATES[0]);
        let asked = self.asked(headers, CREATE, &input, format!("\"name\":\"{name}\""));
        let is_kept = self.made.is_multiple_of(KEEP_EVERY) && self.created.len() < MAX_KEPT;
        let keep = (is_kept || self.made == 1).then_some((tenant, name));
        Asked { keep, ..asked }
    }

    fn rename(&self, project: usize) -> Asked {
        let project = &self.world.projects[project];
        let headers = &self.world.tenants[project.tenant].by_session;
        let name = self.name();
        let input = json!({ "input": { "id": project.id, "name": name } });
        self.asked(headers, UPDATE, &input, format!("\"name\":\"{name}\""))
    }

    /// Renames a project that others rename as well, so the answer may have the name of the next.
    fn rename_any(&self, project: usize) -> Asked {
        let expected = format!("\"id\":\"{}\"", self.world.projects[project].id);
        let asked = self.rename(project);
        Asked { expected, ..asked }
    }

    fn read(&self, project: usize, headers: impl Fn(&Tenant) -> &String) -> Asked {
        let project = &self.world.projects[project];
        let headers = headers(&self.world.tenants[project.tenant]);
        let input = json!({ "id": project.id });
        self.asked(headers, READ, &input, format!("\"id\":\"{}\"", project.id))
    }

    fn list(&self) -> Asked {
        let headers = &self.world.lister.by_session;
        let input = json!({ "status": [STATES[0]] });
        let creator = format!("\"firstname\":\"{FIRSTNAME}\"");
        let times = self.world.listed.div_ceil(STATES.len()).min(PAGE);
        let asked = self.asked(headers, LIST, &input, creator);
        Asked { times, ..asked }
    }

    fn asked(&self, headers: &str, query: &str, input: &Value, expected: String) -> Asked {
        Asked {
            request: post(self.world.address, headers, query, input),
            expected,
            times: 1,
            keep: None,
        }
    }
}

/// A small generator of random numbers (SplitMix64): each run makes the same ones.
pub(super) struct Random(u64);

impl Random {
    /// Makes a generator whose numbers depend on the seed alone.
    pub(super) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is above 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Returns a number below `end`; half of them are in the first tenth.
    fn skewed(&mut self, end: usize) -> usize {
        let hot = end.div_ceil(10);
        if self.below(2) == 0 || hot == end {
            self.below(hot)
        } else {
            hot + self.below(end - hot)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_requests_go_to_a_tenth_of_the_projects() {
        let mut random = Random(1);
        let drawn: Vec<usize> = (0..10_000).map(|_| random.skewed(1_000)).collect();
        let hot = drawn.iter().filter(|index| **index < 100).count();
        assert!((4_800..5_200).contains(&hot), "{hot}");
        assert!(drawn.iter().all(|index| *index < 1_000));
        assert_eq!(random.skewed(1), 0);
    }
}
