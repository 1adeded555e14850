//! What many fields of one request ask for, read once for all of them: one query per type, however
//! long the list.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::anyhow;
use async_graphql::{
    ID, SimpleObject,
    dataloader::{DataLoader, Loader},
};
use events_schema::{AccountId, RoleId, account, role};
use tokio::sync::OnceCell;

use crate::{
    State,
    backend::views::Scoped,
    error::Error,
    identity::caller::{Caller, Membership},
};

/// Somebody with an account, as those see them who share a tenant with them.
#[derive(Clone, SimpleObject)]
pub(super) struct Person {
    id: ID,
    firstname: String,
    lastname: String,
}

/// One for each request.
pub(crate) struct Loaders {
    people: DataLoader<People>,
    roles: OnceCell<BTreeMap<RoleId, role::Role>>,
}

struct People(Scoped);

impl Loader<AccountId> for People {
    type Value = Person;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AccountId]) -> Result<HashMap<AccountId, Person>, Arc<Error>> {
        let found = self
            .0
            .get_all::<account::View>(keys.iter().map(|key| key.0))
            .await
            .map_err(Arc::new)?;
        let person = |found: crate::backend::views::Found<account::View>| {
            let (firstname, lastname) = (
                found.view.firstname.as_str().to_owned(),
                found.view.lastname.as_str().to_owned(),
            );
            (
                AccountId(found.id),
                Person {
                    id: found.id.to_string().into(),
                    firstname,
                    lastname,
                },
            )
        };
        Ok(found.into_iter().map(person).collect())
    }
}

impl Loaders {
    /// Those of a request.
    pub(crate) fn of(state: &State, _caller: &Caller) -> Self {
        Self {
            people: DataLoader::new(People(state.views.platform()), tokio::spawn),
            roles: OnceCell::new(),
        }
    }

    /// Somebody; none if their account is gone.
    pub(super) async fn person(&self, account: AccountId) -> Result<Option<Person>, Error> {
        self.people
            .load_one(account)
            .await
            .map_err(|error| anyhow!("reading accounts: {error:?}").into())
    }

    /// The tenant's custom roles.
    pub(super) async fn roles(
        &self,
        membership: &Membership,
    ) -> Result<&BTreeMap<RoleId, role::Role>, Error> {
        let read = || async {
            let found = membership
                .views
                .get::<role::View>(membership.tenant.id)
                .await?;
            Ok(found.map(|found| found.view.roles).unwrap_or_default())
        };
        self.roles.get_or_try_init(read).await
    }
}
