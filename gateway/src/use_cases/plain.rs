//! Use cases of plain areas: send a command and read the view back. An area whose
//! objects have no parent needs no other code in this room.

use events_schema::{Area, CommandId, View};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        views::ViewDocument,
    },
    error::Error,
    identity::Caller,
    use_cases::list::{Listed, Page, Selection, Wanted, read},
};

/// The id of an object of a view's area.
pub(crate) type IdOf<V> = <<V as View>::Area as Area>::Id;
/// A command of a view's area.
pub(crate) type CommandOf<V> = <<V as View>::Area as Area>::Command;

/// A change of one object.
pub(crate) struct Change<V: View> {
    /// The id of the command.
    pub(crate) command: CommandId,
    /// The id of the object.
    pub(crate) id: IdOf<V>,
    /// The revision that the client has seen, if it named one.
    pub(crate) expected: Option<u64>,
    pub(crate) payload: CommandOf<V>,
}

/// Creates, changes and reads the objects of the caller's tenant.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    commands: Commands,
}

impl Plain {
    /// Makes the use cases of all plain areas.
    pub(crate) fn new(commands: Commands) -> Self {
        Self { commands }
    }

    /// Creates an object and reads it back. Its id is that of the command.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(crate) async fn create<V: View>(
        &self,
        caller: &Caller,
        command: CommandId,
        payload: CommandOf<V>,
    ) -> Result<ViewDocument<V>, Error> {
        let change = Change {
            command,
            id: command.0.into(),
            expected: None,
            payload,
        };
        self.change(caller, change).await
    }

    /// Changes an object and reads it back.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(crate) async fn change<V: View>(
        &self,
        caller: &Caller,
        change: Change<V>,
    ) -> Result<ViewDocument<V>, Error> {
        let id = change.id;
        self.delete(caller, change).await?;
        self.get(caller, id).await
    }

    /// Deletes an object, or changes it without reading it back.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(crate) async fn delete<V: View>(
        &self,
        caller: &Caller,
        change: Change<V>,
    ) -> Result<(), Error> {
        let membership = caller.membership()?;
        let Change {
            command,
            id,
            expected,
            payload,
        } = change;
        let request = CommandRequest::new(membership.tenant_id(), id, command, payload);
        let request = request.expecting(expected);
        let (sender, views) = (caller.sender(), &membership.views);
        let sent = self.commands.send::<V>(&sender, views, request);
        sent.await.map(|_revision| ())
    }

    /// Reads an object.
    ///
    /// # Errors
    /// `NotFound` if it does not exist in the caller's tenant.
    pub(crate) async fn get<V: View>(
        &self,
        caller: &Caller,
        id: IdOf<V>,
    ) -> Result<ViewDocument<V>, Error> {
        let views = &caller.membership()?.views;
        views.get(id).await?.ok_or(Error::NotFound)
    }

    /// Reads one page of a list, and counts the whole list if asked to.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such page.
    pub(crate) async fn list<V: View>(
        &self,
        caller: &Caller,
        selection: Selection<V>,
        page: &Page,
        wanted: Wanted,
    ) -> Result<Listed<V>, Error> {
        read(&caller.membership()?.views, selection, page, wanted).await
    }
}
