//! Projects: the example of a plain area.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use events_schema::{Description, Name, project, project::Status};

use super::{
    field::FieldContext,
    loaders::Person,
    page::{Connection, connection},
    scalars::{DateTime, Success, expected, id_of, optional, parsed, to_id},
    tenant::Tenant,
};
use crate::{
    backend::views::ViewDocument,
    error::Error,
    use_cases::{
        list::{FilterBy, IndexCheck, List, OrderBy, Page, Selection},
        plain::Change,
    },
};

/// All projects of a tenant.
const PROJECTS: List<project::View> = List::new(&[STATUS, NAME], &[BY_CREATION, BY_NAME]);
const STATUS: FilterBy<project::View> = FilterBy::field("status");
const NAME: FilterBy<project::View> = FilterBy::selective("name");
const BY_CREATION: OrderBy<project::View> = OrderBy::field("created_at");
const BY_NAME: OrderBy<project::View> = OrderBy::field("name");
pub(super) const INDEX_CHECKS: &[IndexCheck] = &[|| PROJECTS.check_indexes()];

/// The state of work on a project.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Status")]
enum ProjectStatus {
    /// Work is under way.
    Active,
    /// Work is paused.
    OnHold,
    /// Work is done.
    Completed,
    /// The project is kept for reference only.
    Archived,
}

struct Project(ViewDocument<project::View>);

/// A project that the tenant works on.
#[Object]
impl Project {
    /// Id of the project: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// Name of the project, 1 to 100 characters. Several projects may have the same name.
    async fn name(&self) -> &str {
        self.0.view.name.as_str()
    }

    /// Description of the project, up to 10,000 characters. Empty if there is none.
    async fn description(&self) -> &str {
        self.0.view.description.as_str()
    }

    /// The state of work.
    async fn status(&self) -> ProjectStatus {
        self.0.view.status.into()
    }

    /// The person who created the project, in a session or through an access token. Null for a
    /// service, or if the account no longer exists.
    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        let loaders = FieldContext::of(ctx).loaders();
        loaders.person(self.0.view.creator).await
    }

    /// The tenant that the project belongs to.
    async fn tenant(&self, ctx: &Context<'_>) -> Result<Option<Tenant>, Error> {
        let membership = FieldContext::of(ctx).membership()?;
        Ok(Some(Tenant(membership.tenant.clone())))
    }

    /// When the project was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// When the project was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Revision of the project: the number of its changes, the creation included. Pass it to
    /// `update` or `delete` to detect a change that another client has made in the meantime.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

/// Which projects to list. A project must meet all conditions; an absent one is ignored.
#[derive(Default, InputObject)]
struct ProjectFilter {
    /// The project has one of these states.
    status: Option<Vec<ProjectStatus>>,
    /// The project has exactly this name.
    name: Option<String>,
}

/// The order of a list of projects.
#[derive(Clone, Copy, Default, Enum, Eq, PartialEq)]
enum ProjectOrder {
    /// By the time of creation, the oldest first.
    #[default]
    CreatedAtAsc,
    /// By the time of creation, the newest first.
    CreatedAtDesc,
    /// By name, in the order of character codes.
    NameAsc,
    /// By name, in the reverse order of character codes.
    NameDesc,
}

impl ProjectOrder {
    const fn field(self) -> (OrderBy<project::View>, bool) {
        match self {
            Self::CreatedAtAsc => (BY_CREATION, false),
            Self::CreatedAtDesc => (BY_CREATION, true),
            Self::NameAsc => (BY_NAME, false),
            Self::NameDesc => (BY_NAME, true),
        }
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "ProjectQueries")]
impl Queries {
    /// The tenant's projects, by pages: `first` and `after`, or `last` and `before`. A page has 50
    /// projects by default and at most 100. By default, the oldest project comes first.
    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of a Relay connection"
    )]
    async fn projects(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where")] filter: Option<ProjectFilter>,
        order_by: Option<ProjectOrder>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Project>>, Error> {
        let field = FieldContext::of(ctx);
        let filter = filter.unwrap_or_default();
        let status = filter
            .status
            .map(|all| all.into_iter().map(Status::from).collect());
        let name = optional("name", filter.name, Name::parse)?;
        let (order, descending) = order_by.unwrap_or_default().field();
        let selection = Selection::of(&PROJECTS)
            .one_of::<Status>(&STATUS, status)?
            .is(&NAME, name)?
            .sorted_by(&order, descending)?;
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let plain = &field.use_cases.plain;
        let listed = plain.list(field.caller, selection, &page, field.wanted());
        Ok(Some(connection(listed.await?, Project)))
    }

    /// One project. `NOT_FOUND` if the tenant has no such project.
    async fn project(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Project>, Error> {
        let field = FieldContext::of(ctx);
        let found = field.use_cases.plain.get(field.caller, id_of(&id)?);
        Ok(Some(Project(found.await?)))
    }
}

/// The data of a new project.
#[derive(InputObject)]
struct CreateProjectInput {
    /// Name of the project, 1 to 100 characters.
    name: String,
    /// Description of the project, up to 10,000 characters. Empty by default.
    description: Option<String>,
    /// The state of work, `ACTIVE` by default.
    status: Option<ProjectStatus>,
}

/// The change of a project. An absent field keeps its value.
#[derive(InputObject)]
struct UpdateProjectInput {
    /// Id of the project.
    id: ID,
    /// New name, 1 to 100 characters.
    name: Option<String>,
    /// New description, up to 10,000 characters. An empty text removes it.
    description: Option<String>,
    /// New state of work.
    status: Option<ProjectStatus>,
    /// The revision that the client has read. If the project has another one, nothing is changed
    /// and the error is `CONFLICT`.
    revision: Option<i64>,
}

/// The project to delete.
#[derive(InputObject)]
struct DeleteProjectInput {
    /// Id of the project.
    id: ID,
    /// The revision that the client has read. If the project has another one, nothing is deleted
    /// and the error is `CONFLICT`.
    revision: Option<i64>,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "ProjectMutations")]
impl Mutations {
    /// Changes of projects.
    async fn project(&self) -> Option<ProjectMutation> {
        Some(ProjectMutation)
    }
}

pub(super) struct ProjectMutation;

/// Changes of projects.
#[Object(serial)]
impl ProjectMutation {
    /// Creates a project.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateProjectInput,
    ) -> Result<Option<Project>, Error> {
        let field = FieldContext::of(ctx);
        let description = input.description.unwrap_or_default();
        let create = project::Command::Create {
            name: parsed("name", &input.name, Name::parse)?,
            description: parsed("description", &description, Description::parse)?,
            status: input.status.map_or(Status::Active, Status::from),
            creator: field.caller.identity()?.account_id(),
        };
        let plain = &field.use_cases.plain;
        let created = plain.create(field.caller, field.command_id()?, create);
        Ok(Some(Project(created.await?)))
    }

    /// Changes a project. `NOT_FOUND` if the tenant has no such project.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateProjectInput,
    ) -> Result<Option<Project>, Error> {
        let field = FieldContext::of(ctx);
        let update = project::Command::Update {
            name: optional("name", input.name, Name::parse)?,
            description: optional("description", input.description, Description::parse)?,
            status: input.status.map(Status::from),
        };
        let change = Change {
            command: field.command_id()?,
            id: id_of(&input.id)?,
            expected: expected(input.revision)?,
            payload: update,
        };
        let changed = field.use_cases.plain.change(field.caller, change);
        Ok(Some(Project(changed.await?)))
    }

    /// Deletes a project permanently. `NOT_FOUND` if the tenant has no such project.
    async fn delete(
        &self,
        ctx: &Context<'_>,
        input: DeleteProjectInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let change = Change::<project::View> {
            command: field.command_id()?,
            id: id_of(&input.id)?,
            expected: expected(input.revision)?,
            payload: project::Command::Delete,
        };
        field.use_cases.plain.delete(field.caller, change).await?;
        Success::yes()
    }
}
