//! Tasks of a project: the example of an area with a parent and an author.

use async_graphql::{Context, ID, InputObject, Object};
use events_schema::{Name, task};

use super::{
    field::FieldContext,
    loaders::Person,
    page::{Connection, connection},
    scalars::{DateTime, Success, expected, id_of, optional, parsed, to_id},
};
use crate::{
    backend::views::ViewDocument,
    error::Error,
    use_cases::{
        child,
        list::{FilterBy, IndexCheck, List, OrderBy, Page, Selection},
        plain::Change,
    },
};

/// The tasks of one project, the oldest first.
const TASKS: List<task::View> = List::within(PROJECT, &[BY_CREATION]);
const PROJECT: FilterBy<task::View> = FilterBy::field("project");
const BY_CREATION: OrderBy<task::View> = OrderBy::field("created_at");
pub(super) const INDEX_CHECKS: &[IndexCheck] = &[|| TASKS.check_indexes()];

struct Task(ViewDocument<task::View>);

/// A task of a project.
#[Object]
impl Task {
    /// Id of the task: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// Id of the project that the task belongs to.
    async fn project(&self) -> ID {
        to_id(self.0.view.project)
    }

    /// What to do, 1 to 100 characters.
    async fn title(&self) -> &str {
        self.0.view.title.as_str()
    }

    /// Whether the task is done.
    async fn done(&self) -> bool {
        self.0.view.done
    }

    /// The person who created the task, in a session or through an access token. Null for a
    /// service, or if the account no longer exists.
    async fn author(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        let loaders = FieldContext::of(ctx).loaders();
        loaders.person(self.0.view.author).await
    }

    /// When the task was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// When the task was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Revision of the task: the number of its changes, the creation included. Pass it to `update`
    /// or `delete` to detect a change that another client has made in the meantime.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "TaskQueries")]
impl Queries {
    /// The tasks of a project, the oldest first, by pages: `first` and `after`, or `last` and
    /// `before`. A page has 50 tasks by default and at most 100. `NOT_FOUND` if the tenant has no
    /// such project.
    async fn tasks(
        &self,
        ctx: &Context<'_>,
        project: ID,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Task>>, Error> {
        let field = FieldContext::of(ctx);
        let (plain, project) = (&field.use_cases.plain, id_of(&project)?);
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let of_project = Selection::of(&TASKS).is(&PROJECT, Some(project))?;
        let listed = child::list(
            plain,
            field.caller,
            project,
            of_project,
            &page,
            field.wanted(),
        );
        Ok(Some(connection(listed.await?, Task)))
    }

    /// One task. `NOT_FOUND` if the tenant has no such task or its project is deleted.
    async fn task(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Task>, Error> {
        let field = FieldContext::of(ctx);
        let found = child::get(&field.use_cases.plain, field.caller, id_of(&id)?);
        Ok(Some(Task(found.await?)))
    }
}

/// The data of a new task.
#[derive(InputObject)]
struct CreateTaskInput {
    /// Id of the project that the task belongs to.
    project: ID,
    /// What to do, 1 to 100 characters.
    title: String,
}

/// The change of a task. An absent field keeps its value.
#[derive(InputObject)]
struct UpdateTaskInput {
    /// Id of the task.
    id: ID,
    /// New title, 1 to 100 characters.
    title: Option<String>,
    /// Whether the task is done.
    done: Option<bool>,
    /// The revision that the client has read. If the task has another one, nothing is changed and
    /// the error is `CONFLICT`.
    revision: Option<i64>,
}

/// The task to delete.
#[derive(InputObject)]
struct DeleteTaskInput {
    /// Id of the task.
    id: ID,
    /// The revision that the client has read. If the task has another one, nothing is deleted and
    /// the error is `CONFLICT`.
    revision: Option<i64>,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "TaskMutations")]
impl Mutations {
    /// Changes of tasks.
    async fn task(&self) -> Option<TaskMutation> {
        Some(TaskMutation)
    }
}

pub(super) struct TaskMutation;

/// Changes of tasks.
#[Object(serial)]
impl TaskMutation {
    /// Creates a task. The caller becomes its author. `NOT_FOUND` if the tenant has no such
    /// project.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateTaskInput,
    ) -> Result<Option<Task>, Error> {
        let field = FieldContext::of(ctx);
        let project = id_of(&input.project)?;
        let create = task::Command::Create {
            project,
            title: parsed("title", &input.title, Name::parse)?,
            author: field.caller.identity()?.account_id(),
        };
        let (plain, command) = (&field.use_cases.plain, field.command_id()?);
        let created = child::create(plain, field.caller, project, command, create);
        Ok(Some(Task(created.await?)))
    }

    /// Changes a task. `FORBIDDEN` unless the caller is its author or holds `update_task`;
    /// `NOT_FOUND` if the tenant has no such task or its project is deleted.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateTaskInput,
    ) -> Result<Option<Task>, Error> {
        let field = FieldContext::of(ctx);
        let update = task::Command::Update {
            title: optional("title", input.title, Name::parse)?,
            done: input.done,
        };
        let change = Change {
            command: field.command_id()?,
            id: id_of(&input.id)?,
            expected: expected(input.revision)?,
            payload: update,
        };
        let changed = child::change(&field.use_cases.plain, field.caller, change);
        Ok(Some(Task(changed.await?)))
    }

    /// Deletes a task permanently. `FORBIDDEN` unless the caller is its author or holds
    /// `delete_task`; `NOT_FOUND` if the tenant has no such task or its project is deleted.
    async fn delete(
        &self,
        ctx: &Context<'_>,
        input: DeleteTaskInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let change = Change {
            command: field.command_id()?,
            id: id_of(&input.id)?,
            expected: expected(input.revision)?,
            payload: task::Command::Delete,
        };
        child::delete::<task::View>(&field.use_cases.plain, field.caller, change).await?;
        Success::yes()
    }
}
