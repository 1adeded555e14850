//! Use cases of objects that belong to a parent, such as the tasks of a project. A deleted parent
//! hides its children: each use case reads the parent first.

use events_schema::{Area, Child, CommandId, View};

use crate::{
    backend::views::ViewDocument,
    error::Error,
    identity::Caller,
    use_cases::{
        list::{Listed, Page, Selection, Wanted},
        plain::{Change, CommandOf, IdOf, Plain},
    },
};

/// The id of a child's parent.
type ParentOf<V> = <<<V as Child>::Parent as View>::Area as Area>::Id;

/// Reads a child.
///
/// # Errors
/// `NotFound` if the tenant has no such child, or its parent is deleted.
pub(crate) async fn get<V: Child>(
    plain: &Plain,
    caller: &Caller,
    id: IdOf<V>,
) -> Result<ViewDocument<V>, Error> {
    let child: ViewDocument<V> = plain.get(caller, id).await?;
    ensure_parent::<V>(plain, caller, child.view.parent()).await?;
    Ok(child)
}

/// Creates a child of this parent. Its id is that of the command.
///
/// # Errors
/// `NotFound` if the tenant has no such parent; otherwise as [`Plain::create`].
pub(crate) async fn create<V: Child>(
    plain: &Plain,
    caller: &Caller,
    parent: ParentOf<V>,
    command: CommandId,
    payload: CommandOf<V>,
) -> Result<ViewDocument<V>, Error> {
    ensure_parent::<V>(plain, caller, parent).await?;
    plain.create(caller, command, payload).await
}

/// Changes a child.
///
/// # Errors
/// `NotFound` if the tenant has no such child, or its parent is deleted; otherwise as
/// [`Plain::change`].
pub(crate) async fn change<V: Child>(
    plain: &Plain,
    caller: &Caller,
    change: Change<V>,
) -> Result<ViewDocument<V>, Error> {
    get::<V>(plain, caller, change.id).await?;
    plain.change(caller, change).await
}

/// Deletes a child.
///
/// # Errors
/// `NotFound` if the tenant has no such child, or its parent is deleted; otherwise as
/// [`Plain::delete`].
pub(crate) async fn delete<V: Child>(
    plain: &Plain,
    caller: &Caller,
    change: Change<V>,
) -> Result<(), Error> {
    get::<V>(plain, caller, change.id).await?;
    plain.delete(caller, change).await
}

/// Reads one page of the children of this parent, and counts them all if asked to. `selection` has
/// the children of this parent only.
///
/// # Errors
/// `NotFound` if the tenant has no such parent; `BadUserInput` if there is no such page.
pub(crate) async fn list<V: Child>(
    plain: &Plain,
    caller: &Caller,
    parent: ParentOf<V>,
    selection: Selection<V>,
    page: &Page,
    wanted: Wanted,
) -> Result<Listed<V>, Error> {
    ensure_parent::<V>(plain, caller, parent).await?;
    plain.list(caller, selection, page, wanted).await
}

async fn ensure_parent<V: Child>(
    plain: &Plain,
    caller: &Caller,
    id: ParentOf<V>,
) -> Result<(), Error> {
    plain.get::<V::Parent>(caller, id).await?;
    Ok(())
}
