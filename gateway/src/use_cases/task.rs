//! Tasks of a project. A deleted project hides its tasks: each use case reads the project first.

use events_schema::{
    ProjectId, project,
    task::{self, Command, TaskId},
};

use crate::{
    backend::views::ViewDocument,
    error::Error,
    identity::Caller,
    use_cases::{
        list::{FilterBy, List, Listed, OrderBy, Page, Selection},
        plain::{Change, Plain},
    },
};

/// The tasks of one project, the oldest first.
pub(crate) const TASKS: List<task::View> = List::within(PROJECT, &[BY_CREATION]);
const PROJECT: FilterBy<task::View> = FilterBy::field("project");
const BY_CREATION: OrderBy<task::View> = OrderBy::field("created_at");

type Task = ViewDocument<task::View>;

/// Reads a task.
///
/// # Errors
/// `NotFound` if the tenant has no such task, or the task's project is deleted.
pub(crate) async fn get(plain: &Plain, caller: &Caller, id: TaskId) -> Result<Task, Error> {
    let task: Task = plain.get(caller, id).await?;
    ensure_project(plain, caller, task.view.project).await?;
    Ok(task)
}

/// Creates a task.
///
/// # Errors
/// `NotFound` if the tenant has no such project.
pub(crate) async fn create(
    plain: &Plain,
    caller: &Caller,
    change: Change<task::View>,
) -> Result<Task, Error> {
    if let Command::Create { project, .. } = &change.payload {
        ensure_project(plain, caller, *project).await?;
    }
    plain.change(caller, change).await
}

/// Changes a task.
///
/// # Errors
/// `NotFound` if the tenant has no such task, or the task's project is deleted; `Rejected` if the
/// caller is not its author and lacks the permission.
pub(crate) async fn change(
    plain: &Plain,
    caller: &Caller,
    change: Change<task::View>,
) -> Result<Task, Error> {
    get(plain, caller, change.id).await?;
    plain.change(caller, change).await
}

/// Deletes a task.
///
/// # Errors
/// `NotFound` if the tenant has no such task, or the task's project is deleted; `Rejected` if the
/// caller is not its author and lacks the permission.
pub(crate) async fn delete(
    plain: &Plain,
    caller: &Caller,
    change: Change<task::View>,
) -> Result<(), Error> {
    get(plain, caller, change.id).await?;
    plain.delete(caller, change).await
}

/// Lists the tasks of a project.
///
/// # Errors
/// `NotFound` if the tenant has no such project; `BadUserInput` if there is no such page.
pub(crate) async fn list(
    plain: &Plain,
    caller: &Caller,
    project: ProjectId,
    page: &Page,
    count: bool,
) -> Result<Listed<task::View>, Error> {
    ensure_project(plain, caller, project).await?;
    let selection = Selection::of(&TASKS).is(&PROJECT, Some(project))?;
    plain.list(caller, selection, page, count).await
}

async fn ensure_project(plain: &Plain, caller: &Caller, id: ProjectId) -> Result<(), Error> {
    plain.get::<project::View>(caller, id).await?;
    Ok(())
}
