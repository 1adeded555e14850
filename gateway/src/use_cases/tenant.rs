//! Tenants: create, change, delete and find them.

use std::collections::HashMap;

use anyhow::Context as _;
use event_store::EventLog;
use events_schema::{
    AccountId, Claim, ClaimHolder, CommandId, HostName, Id, Name, Placement, Reject, RejectionKind,
    Slug, TenantId, TenantKey,
    member::{self, Membership},
    tenant::{self, Command, Settings, founder_id},
};
use serde::Serialize;

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::{Filter, Sort},
        views::{ViewDocument, Views},
    },
    clock::now,
    config::Strategy,
    error::Error,
    identity::{Caller, Callers},
    use_cases::list::{FilterBy, List, Listed, OrderBy, Page, Selection, Wanted, read},
};

/// Maximum memberships of an account that are counted.
const MAX_COUNTED: i64 = 1_000;

/// All tenants.
pub(crate) const TENANTS: List<tenant::View> = List::new(&[], &[BY_CREATION]);
const BY_CREATION: OrderBy<tenant::View> = OrderBy::field("created_at");

/// The tenants of one account.
pub(crate) const MEMBERSHIPS: List<Membership> = List::within(ACCOUNT, &[BY_START]);
const ACCOUNT: FilterBy<Membership> = FilterBy::field("account");
const BY_START: OrderBy<Membership> = OrderBy::field("since");

const EARLIEST_FIRST: Sort = Sort {
    field: "since",
    descending: false,
};

/// Creates, changes and finds tenants.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) callers: Callers,
    pub(crate) log: EventLog,
    /// Where the views of new tenants are stored.
    pub(crate) strategy: Strategy,
    /// Maximum tenants with a database of their own on one host.
    pub(crate) databases_per_host: u64,
    /// How many tenants an account may have founded at once; `None` for any number.
    pub(crate) places: Option<u16>,
    /// The MongoDB hosts that a new tenant may choose.
    pub(crate) hosts: Vec<HostName>,
}

/// The data of a new tenant.
pub(crate) struct NewTenant {
    pub(crate) name: Name,
    pub(crate) slug: Slug,
    pub(crate) plan: Option<Id>,
    /// Where the founder wants the views to be stored.
    pub(crate) placement: Option<Placement>,
}

/// The change of a tenant. `None` keeps the current value.
pub(crate) struct TenantUpdate {
    pub(crate) name: Option<Name>,
    pub(crate) slug: Option<Slug>,
    pub(crate) settings: Option<Settings>,
    /// The revision that the client has seen, if it named one.
    pub(crate) expected: Option<u64>,
}

/// Why a tenant cannot be created now. This rule is here, since it is about the operator's hosts.
#[derive(Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
enum Full {
    #[error("The database host has no room for another tenant.")]
    TooManyDatabases,
}

impl Reject for Full {
    fn kind(&self) -> RejectionKind {
        RejectionKind::Limit
    }
}

impl Tenants {
    /// Creates a tenant. The caller becomes its first owner.
    ///
    /// # Errors
    /// `BadUserInput` if the placement is not the client's choice; `Rejected` if the slug is taken
    /// or rests, the account has founded too many tenants, or the host has no room for another
    /// database.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        id: CommandId,
        new: NewTenant,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let identity = caller.person()?;
        let placement = self.placement(new.placement)?;
        self.ensure_room(TenantKey(id.0), &placement).await?;
        let create = Command::Create {
            name: new.name,
            slug: new.slug,
            owner: identity.account_id(),
            email: identity.account.view.email.clone(),
            plan: new.plan,
            placement,
            places: self.places,
        };
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = request(TenantKey(id.0), id, create);
        let tenant = self.commands.send_and_get(&sender, &platform, request);
        let tenant = tenant.await?;
        if self.founder_is_shown(&tenant).await? {
            Ok(tenant)
        } else {
            Err(Error::Pending(id))
        }
    }

    /// Waits until the founder is a member. A reaction adds the founder, and the client must be
    /// able to use the tenant at once.
    async fn founder_is_shown(&self, tenant: &ViewDocument<tenant::View>) -> Result<bool, Error> {
        let (founder, deadline) = (founder_id(tenant.id), self.commands.deadline());
        let (views, platform) = (self.views.of(tenant)?, self.views.platform());
        let member = views
            .wait_for::<member::View>(founder, 1, true, deadline)
            .await?;
        let membership = platform
            .wait_for::<Membership>(founder, 1, true, deadline)
            .await?;
        Ok(member && membership)
    }

    /// Ensures that the host has room for another database. Two tenants that are created at once
    /// may both take the last place.
    ///
    /// # Errors
    /// `Rejected` if the host is full.
    async fn ensure_room(&self, new: TenantKey, placement: &Placement) -> Result<(), Error> {
        if *placement == Placement::Shared {
            return Ok(());
        }
        let platform = self.views.platform();
        let same_place = Filter::default().is("placement", placement)?;
        let is_full = platform.count::<tenant::View>(same_place).await? >= self.databases_per_host;
        // A repeated request is answered as the first one.
        if is_full && platform.get::<tenant::View>(new).await?.is_none() {
            return Err(Error::Rejected(Full::TooManyDatabases.to_rejection()));
        }
        Ok(())
    }

    fn placement(&self, wanted: Option<Placement>) -> Result<Placement, Error> {
        match (self.strategy, wanted) {
            (Strategy::Shared | Strategy::Hybrid, None) => Ok(Placement::Shared),
            (Strategy::Database, None) => Ok(Placement::Database { host: None }),
            (Strategy::Shared | Strategy::Database, Some(_)) => Err(Error::input(
                "database",
                "database must be left out, since the operator decides where tenants are stored.",
            )),
            (Strategy::Hybrid, Some(Placement::Database { host: Some(host) }))
                if !self.hosts.contains(&host) =>
            {
                Err(Error::input(
                    "host",
                    "host must be the name of one of the operator's MongoDB hosts.",
                ))
            }
            (Strategy::Hybrid, Some(wanted)) => Ok(wanted),
        }
    }

    /// Changes the tenant that the request names.
    ///
    /// # Errors
    /// `Rejected` if the slug is taken or the revision is another one.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        id: CommandId,
        update: TenantUpdate,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let expected = update.expected;
        let update = Command::Update {
            name: update.name,
            slug: update.slug,
            settings: update.settings,
        };
        let request = request(caller.membership()?.tenant.id, id, update);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self
            .commands
            .send_and_get(&sender, &platform, request.expecting(expected));
        sent.await
    }

    /// Requires a second factor of the members of the tenant that the request names, or no longer.
    ///
    /// # Errors
    /// `Rejected` if the tenant was deleted.
    pub(crate) async fn require_second_factor(
        &self,
        caller: &Caller,
        id: CommandId,
        required: bool,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let require = Command::RequireSecondFactor { required };
        let request = request(caller.membership()?.tenant.id, id, require);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self.commands.send_and_get(&sender, &platform, request);
        sent.await
    }

    /// Deletes the tenant that the request names.
    ///
    /// # Errors
    /// `Rejected` if the slug is not the tenant's.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        id: CommandId,
        slug: Slug,
    ) -> Result<(), Error> {
        let request = request(caller.membership()?.tenant.id, id, Command::Delete { slug });
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self
            .commands
            .send::<tenant::View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }

    /// Finds a tenant that the caller is a member of.
    ///
    /// # Errors
    /// `NotFound` if the tenant does not exist or the caller is not a member.
    pub(crate) async fn get(
        &self,
        caller: &Caller,
        id: TenantKey,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let tenant = self.views.platform().get(id).await?;
        self.own(caller, tenant).await
    }

    /// Finds a tenant that the caller is a member of, by its slug.
    ///
    /// # Errors
    /// `NotFound` if the tenant does not exist or the caller is not a member.
    pub(crate) async fn get_by_slug(
        &self,
        caller: &Caller,
        slug: &Slug,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let tenant = self.by_slug(slug).await?;
        self.own(caller, tenant).await
    }

    async fn own(
        &self,
        caller: &Caller,
        tenant: Option<ViewDocument<tenant::View>>,
    ) -> Result<ViewDocument<tenant::View>, Error> {
        let account = caller.person()?.account_id();
        let tenant = tenant.ok_or(Error::NotFound)?;
        let membership = Filter::default()
            .is("account", account)?
            .is("tenant", TenantId::Tenant(tenant.id))?;
        let membership = self.views.platform().find::<Membership>(membership).await?;
        membership.map(|_| tenant).ok_or(Error::NotFound)
    }

    /// Whether no tenant has this slug now.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) async fn is_available(&self, slug: &Slug) -> Result<bool, Error> {
        // The claim also says whether the slug rests after a release.
        let claim = Claim::slug(slug).to_string();
        let Some(last) = self.log.last_from_any(&claim).await? else {
            return Ok(true);
        };
        let holder: ClaimHolder =
            serde_json::from_slice(&last.payload).context("reading the claim to a slug")?;
        Ok(holder.kept_by(now()).is_none())
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<ViewDocument<tenant::View>>, Error> {
        let filter = Filter::default().is("slug", slug)?;
        self.views.platform().find(filter).await
    }

    /// Lists the caller's tenants, in the order in which they became a member.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such page.
    pub(crate) async fn list_own(
        &self,
        caller: &Caller,
        page: &Page,
        wanted: Wanted,
    ) -> Result<Listed<tenant::View>, Error> {
        let account = caller.person()?.account_id();
        let platform = self.views.platform();
        let selection = Selection::of(&MEMBERSHIPS).is(&ACCOUNT, Some(account))?;
        let without_total = Wanted {
            total: false,
            ..wanted
        };
        let memberships = read(&platform, selection, page, without_total).await?;
        let total = if wanted.total {
            Some(self.count_own(account).await?)
        } else {
            None
        };
        let keys = memberships.documents.iter();
        let keys = keys.filter_map(|(_, found)| tenant_key(&found.view));
        let tenants = platform.get_all::<tenant::View>(keys).await?;
        let mut tenants: HashMap<_, _> = tenants.into_iter().map(|one| (one.id, one)).collect();
        // A tenant that was deleted in the meantime is skipped.
        let documents = memberships.documents.into_iter();
        let documents = documents.filter_map(|(cursor, found)| {
            Some((cursor, tenants.remove(&tenant_key(&found.view)?)?))
        });
        Ok(Listed {
            documents: documents.collect(),
            has_previous: memberships.has_previous,
            has_next: memberships.has_next,
            total,
        })
    }

    /// Counts the tenants of an account. A deleted tenant leaves its memberships behind.
    async fn count_own(&self, account: AccountId) -> Result<u64, Error> {
        let platform = self.views.platform();
        let own = Filter::default().is("account", account)?;
        let memberships = platform.list::<Membership>(own, EARLIEST_FIRST, false, MAX_COUNTED);
        let memberships = memberships.await?;
        let keys = memberships
            .iter()
            .filter_map(|found| tenant_key(&found.view));
        platform.count_existing::<tenant::View>(keys).await
    }

    /// Lists all tenants, the latest first.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such page.
    pub(crate) async fn list_all(
        &self,
        page: &Page,
        wanted: Wanted,
    ) -> Result<Listed<tenant::View>, Error> {
        let selection = Selection::of(&TENANTS).sorted_by(&BY_CREATION, true)?;
        read(&self.views.platform(), selection, page, wanted).await
    }
}

/// Returns the tenants that an account has joined first, this many at most.
///
/// # Errors
/// If the views cannot be read.
pub(crate) async fn first_tenants(
    views: &Views,
    account: AccountId,
    limit: i64,
) -> Result<Vec<ViewDocument<tenant::View>>, Error> {
    let platform = views.platform();
    let own = Filter::default().is("account", account)?;
    let memberships = platform.list::<Membership>(own, EARLIEST_FIRST, false, limit);
    let memberships = memberships.await?;
    let keys = memberships
        .iter()
        .filter_map(|found| tenant_key(&found.view));
    platform.get_all(keys).await
}

/// A tenant's commits are in its own log, though its view belongs to the platform.
fn request(tenant: TenantKey, id: CommandId, payload: Command) -> CommandRequest<tenant::Area> {
    CommandRequest::new(TenantId::Tenant(tenant), tenant, id, payload)
}

fn tenant_key(membership: &Membership) -> Option<TenantKey> {
    match membership.tenant {
        TenantId::Platform => None,
        TenantId::Tenant(key) => Some(key),
    }
}
