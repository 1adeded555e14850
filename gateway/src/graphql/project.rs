//! Projects: the example area. What belongs to a tenant looks like this.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use events_schema::{Description, Name, project, project::Status};
use mongodb::bson::{Document as Filter, doc};

use super::{
    DateTime, Field, Success,
    connection::{Connection, Listing, Page, one_of, page},
    id_of,
    loaders::Person,
    tenant::Tenant,
};
use crate::{backend::views::Found, error::Error};

/// How a project stands.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
#[graphql(remote = "Status")]
enum ProjectStatus {
    /// Under way.
    Active,
    /// Resting.
    OnHold,
    /// Done.
    Completed,
    /// Out of sight.
    Archived,
}

/// Something that the tenant works on.
struct Project(Found<project::View>);

#[Object]
impl Project {
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn name(&self) -> &str {
        self.0.view.name.as_str()
    }

    async fn description(&self) -> &str {
        self.0.view.description.as_str()
    }

    async fn status(&self) -> ProjectStatus {
        self.0.view.status.into()
    }

    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        Field::of(ctx).loaders().person(self.0.view.creator).await
    }

    /// Whose it is.
    async fn tenant(&self, ctx: &Context<'_>) -> Result<Option<Tenant>, Error> {
        Ok(Some(Tenant(
            Field::of(ctx).caller.membership()?.tenant.clone(),
        )))
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Counts the changes.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

/// Which projects; what is absent does not matter.
#[derive(Default, InputObject)]
struct ProjectFilter {
    status: Option<Vec<ProjectStatus>>,
    /// The whole name, as it is written.
    name: Option<String>,
}

/// In which order.
#[derive(Clone, Copy, Default, Enum, Eq, PartialEq)]
enum ProjectOrder {
    #[default]
    CreatedAtAsc,
    CreatedAtDesc,
    NameAsc,
    NameDesc,
}

#[derive(Default)]
pub(crate) struct ProjectQueries;

#[Object]
impl ProjectQueries {
    /// The tenant's projects.
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
        let ProjectFilter { status, name } = filter.unwrap_or_default();
        let mut filter = Filter::new();
        one_of(
            &mut filter,
            "view.status",
            status.map(|all| {
                all.into_iter()
                    .map(|one| Status::from(one).as_str().to_owned())
                    .collect()
            }),
        );
        if let Some(name) = name {
            filter.insert(
                "view.name",
                Name::parse(&name).map_err(Error::invalid("name"))?.as_str(),
            );
        }
        let (order, descending) = match order_by.unwrap_or_default() {
            ProjectOrder::CreatedAtAsc => ("created_at", false),
            ProjectOrder::CreatedAtDesc => ("created_at", true),
            ProjectOrder::NameAsc => ("name", false),
            ProjectOrder::NameDesc => ("name", true),
        };
        let views = &Field::of(ctx).caller.membership()?.views;
        let wanted = Page {
            first,
            after,
            last,
            before,
        };
        Ok(Some(
            page(
                ctx,
                views,
                wanted,
                Listing {
                    filter,
                    order,
                    descending,
                },
                Project,
            )
            .await?,
        ))
    }

    /// One project.
    async fn project(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Project>, Error> {
        let views = &Field::of(ctx).caller.membership()?.views;
        Ok(Some(Project(
            views.get(id_of(&id)?).await?.ok_or(Error::NotFound)?,
        )))
    }
}

#[derive(InputObject)]
struct CreateProjectInput {
    name: String,
    description: Option<String>,
    /// Active by default.
    status: Option<ProjectStatus>,
}

/// What to change; what is absent stays.
#[derive(InputObject)]
struct UpdateProjectInput {
    id: ID,
    name: Option<String>,
    description: Option<String>,
    status: Option<ProjectStatus>,
    /// The revision that was read; at any other, nothing is changed and the answer is CONFLICT.
    revision: Option<i64>,
}

#[derive(InputObject)]
struct DeleteProjectInput {
    id: ID,
    /// The revision that was read; at any other, nothing is ended and the answer is CONFLICT.
    revision: Option<i64>,
}

/// Projects.
pub(crate) struct ProjectMutation;

#[Object(serial)]
impl ProjectMutation {
    /// Begins a project.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateProjectInput,
    ) -> Result<Option<Project>, Error> {
        let field = Field::of(ctx);
        let views = &field.caller.membership()?.views;
        let create = project::Command::Create {
            name: Name::parse(&input.name).map_err(Error::invalid("name"))?,
            description: Description::parse(&input.description.unwrap_or_default())
                .map_err(Error::invalid("description"))?,
            status: input.status.map_or(Status::Active, Status::from),
            creator: field.caller.identity()?.account_id(),
        };
        let id = field.command_id()?.0;
        field.send::<project::View>(views, id, create).await?;
        Ok(Some(Project(views.get(id).await?.ok_or(Error::NotFound)?)))
    }

    /// Changes a project.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateProjectInput,
    ) -> Result<Option<Project>, Error> {
        let field = Field::of(ctx);
        let views = &field.caller.membership()?.views;
        let update = project::Command::Update {
            name: input
                .name
                .as_deref()
                .map(Name::parse)
                .transpose()
                .map_err(Error::invalid("name"))?,
            description: input
                .description
                .as_deref()
                .map(Description::parse)
                .transpose()
                .map_err(Error::invalid("description"))?,
            status: input.status.map(Status::from),
        };
        let id = id_of(&input.id)?;
        field
            .send_at::<project::View>(views, id, input.revision, update)
            .await?;
        Ok(Some(Project(views.get(id).await?.ok_or(Error::NotFound)?)))
    }

    /// Ends a project.
    async fn delete(
        &self,
        ctx: &Context<'_>,
        input: DeleteProjectInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let views = &field.caller.membership()?.views;
        field
            .send_at::<project::View>(
                views,
                id_of(&input.id)?,
                input.revision,
                project::Command::Delete,
            )
            .await?;
        Success::yes()
    }
}
