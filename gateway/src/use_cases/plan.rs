//! Plans: the platform's administrators create and change them, and everybody reads them.

use std::sync::Arc;

use events_schema::{
    CommandId, Document, PlanId, TenantId,
    plan::{self, CATALOGUE, Command},
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        plans::Plans,
        views::Views,
    },
    error::Error,
    identity::Caller,
};

/// Changes and reads the catalogue of plans.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) plans: Plans,
}

/// All plans at some revision. They are shared with memory, and not copied.
#[derive(Clone, Debug)]
pub(crate) struct AllPlans(Option<Arc<Document<plan::View>>>);

impl AllPlans {
    /// Returns the view; `None` if there has never been a plan.
    pub(crate) fn view(&self) -> Option<&plan::View> {
        self.0.as_ref()?.view.as_ref()
    }

    /// Returns the view, in which a plan must be.
    ///
    /// # Errors
    /// `NotFound` if it is not.
    pub(crate) fn with(&self, plan: PlanId) -> Result<&plan::View, Error> {
        let view = self.view().filter(|view| view.plans.contains_key(&plan));
        view.ok_or(Error::NotFound)
    }
}

impl Catalogue {
    /// Reads all plans.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn read(&self) -> Result<AllPlans, Error> {
        Ok(AllPlans(self.plans.catalogue().await?))
    }

    /// Changes the plans, and reads all of them back.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the change.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        id: CommandId,
        payload: Command,
    ) -> Result<AllPlans, Error> {
        let request = CommandRequest::new(TenantId::Platform, CATALOGUE, id, payload);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self
            .commands
            .send::<plan::View>(&sender, &platform, request);
        sent.await?;
        self.read().await
    }
}
