//! Reads related objects for all fields of one request, with one query per type, however long a
//! list is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use async_graphql::{
    ID, SimpleObject,
    dataloader::{DataLoader, Loader},
};
use events_schema::{AccountId, RoleId, account, role};
use tokio::sync::OnceCell;

use super::scalars::to_id;
use crate::{error::Error, identity::Membership, use_cases::UseCases};

/// A person with an account, as other members of a tenant see them.
#[derive(Clone, SimpleObject)]
pub(super) struct Person {
    /// Id of the account.
    id: ID,
    /// First name, 1 to 100 characters.
    firstname: String,
    /// Last name, 1 to 100 characters.
    lastname: String,
}

/// How long the people of a request gather, who are then read at once. Only those who are not in
/// memory wait for it.
const GATHER: Duration = Duration::from_millis(5);

/// The loaders of one request.
pub(super) struct Loaders {
    people: DataLoader<People>,
    roles: OnceCell<BTreeMap<RoleId, role::Role>>,
}

struct People(Arc<UseCases>);

impl Loader<AccountId> for People {
    type Value = Person;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AccountId]) -> Result<HashMap<AccountId, Person>, Arc<Error>> {
        let found = self.0.accounts.get_all(keys).await.map_err(Arc::new)?;
        let people = found.iter();
        Ok(people
            .map(|found| (found.id, person(found.id, &found.view)))
            .collect())
    }
}

fn person(id: AccountId, account: &account::View) -> Person {
    Person {
        id: to_id(id),
        firstname: account.firstname.as_str().to_owned(),
        lastname: account.lastname.as_str().to_owned(),
    }
}

impl Loaders {
    /// Makes the loaders of a request.
    pub(super) fn new(use_cases: Arc<UseCases>) -> Self {
        Self {
            people: DataLoader::new(People(use_cases), tokio::spawn).delay(GATHER),
            roles: OnceCell::new(),
        }
    }

    /// Reads a person; `None` if the account no longer exists.
    ///
    /// # Errors
    /// If the accounts cannot be read.
    pub(super) async fn person(&self, account: AccountId) -> Result<Option<Person>, Error> {
        let accounts = &self.people.loader().0.accounts;
        if let Some(kept) = accounts.kept(account, |view| person(account, view)) {
            return Ok(Some(kept));
        }
        let person = self.people.load_one(account).await;
        person.map_err(|error| anyhow!("reading accounts: {error:?}").into())
    }

    /// Reads the tenant's custom roles.
    ///
    /// # Errors
    /// If the roles cannot be read.
    pub(super) async fn roles(
        &self,
        membership: &Membership,
    ) -> Result<&BTreeMap<RoleId, role::Role>, Error> {
        let read = || async {
            let found = membership.views.get::<role::View>(membership.tenant.id);
            Ok(found
                .await?
                .map(|found| found.view.roles)
                .unwrap_or_default())
        };
        self.roles.get_or_try_init(read).await
    }
}
