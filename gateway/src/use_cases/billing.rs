//! Billing: which plan a tenant has, how much of it is in use, and what the platform's
//! administrators change about it.

mod choice;
mod payments;
mod timing;

use events_schema::{
    AreaName, CommandId, Limit, Meter, PlanId, Reason, TenantId, TenantKey, Time, UsageId, areas,
    billing::{self, Command, Grant},
    member::{INVITATION_LIFETIME, Status},
    usage, webhook,
};

pub(crate) use self::{
    choice::Choice,
    payments::{Exceeded, Preview},
};

use crate::{
    backend::{
        asks::Asks,
        commands::{CommandRequest, Commands, Sender},
        filter::Filter,
        plans::{Plans, TenantPlan},
        views::{TenantViews, Views},
    },
    clock::now,
    error::Error,
    identity::{Caller, limits::Limits},
};

/// Reads and changes the billing of tenants.
#[derive(Clone, Debug)]
pub(crate) struct Billings {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) plans: Plans,
    /// The key of Stripe that browsers get. `None` if payments are not set up.
    pub(crate) publishable_key: Option<String>,
    pub(crate) asks: Asks,
    pub(crate) limits: Limits,
    pub(crate) public_url: String,
}

/// The billing of a tenant, with the views that tell how much of each limit is in use.
#[derive(Clone, Debug)]
pub(crate) struct TenantBilling {
    pub(crate) plan: TenantPlan,
    pub(crate) views: TenantViews,
}

/// A plan to give to a tenant.
pub(crate) struct NewGrant {
    pub(crate) plan: PlanId,
    /// When it ends; `None` for never.
    pub(crate) until: Option<Time>,
    pub(crate) reason: Reason,
}

impl Billings {
    /// Reads the billing of the caller's tenant.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn own(&self, caller: &Caller) -> Result<TenantBilling, Error> {
        let membership = caller.membership()?;
        self.read(&membership.views, membership.tenant.id).await
    }

    /// Reads the billing of any tenant.
    ///
    /// # Errors
    /// `NotFound` if the tenant does not exist.
    pub(crate) async fn of(&self, tenant: TenantKey) -> Result<TenantBilling, Error> {
        self.read(&self.views_of(tenant).await?, tenant).await
    }

    /// Changes the billing of the caller's tenant.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command.
    pub(crate) async fn change_own(
        &self,
        caller: &Caller,
        id: CommandId,
        payload: Command,
    ) -> Result<TenantBilling, Error> {
        let membership = caller.membership()?;
        let (views, tenant) = (&membership.views, membership.tenant.id);
        let sender = caller.sender();
        self.change(&sender, views, (tenant, id, payload)).await
    }

    /// Gives the latest version of a plan to any tenant, without payment.
    ///
    /// # Errors
    /// `NotFound` if the tenant or the plan does not exist; `Rejected` if the domain refuses the
    /// command.
    pub(crate) async fn grant(
        &self,
        caller: &Caller,
        id: CommandId,
        tenant: TenantKey,
        new: NewGrant,
    ) -> Result<TenantBilling, Error> {
        let catalogue = self.plans.catalogue().await?;
        let catalogue = catalogue.as_ref().and_then(|found| found.view.as_ref());
        let latest = catalogue.and_then(|catalogue| catalogue.latest(new.plan));
        let grant = Grant {
            plan: latest.ok_or(Error::NotFound)?,
            until: new.until,
            reason: new.reason,
        };
        let grant = Command::Grant(grant);
        self.administer(caller, id, tenant, grant).await
    }

    /// Changes the billing of any tenant.
    ///
    /// # Errors
    /// `NotFound` if the tenant does not exist; `Rejected` if the domain refuses the command.
    pub(crate) async fn administer(
        &self,
        caller: &Caller,
        id: CommandId,
        tenant: TenantKey,
        payload: Command,
    ) -> Result<TenantBilling, Error> {
        let views = self.views_of(tenant).await?;
        // The tenant need not know from where its platform is administered.
        let sender = Sender {
            origin: None,
            ..caller.sender()
        };
        self.change(&sender, &views, (tenant, id, payload)).await
    }

    async fn views_of(&self, tenant: TenantKey) -> Result<TenantViews, Error> {
        let found = self.views.platform().get(tenant).await?;
        self.views.of(&found.ok_or(Error::NotFound)?)
    }

    async fn change(
        &self,
        sender: &Sender,
        views: &TenantViews,
        (tenant, id, payload): (TenantKey, CommandId, Command),
    ) -> Result<TenantBilling, Error> {
        let request = CommandRequest::new(TenantId::Tenant(tenant), tenant, id, payload);
        let sent = self.commands.send::<billing::View>(sender, views, request);
        sent.await?;
        self.read(views, tenant).await
    }

    async fn read(&self, views: &TenantViews, tenant: TenantKey) -> Result<TenantBilling, Error> {
        Ok(TenantBilling {
            plan: self.plans.of(views, tenant).await?,
            views: views.clone(),
        })
    }
}

impl TenantBilling {
    /// Returns what the tenant has used, as of the last count of each meter.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn usage(&self) -> Result<Vec<usage::View>, Error> {
        let mut all = Vec::new();
        for meter in Meter::all() {
            let id = UsageId::of(self.plan.tenant, *meter);
            all.extend(self.views.get::<usage::View>(id).await?);
        }
        Ok(all.into_iter().map(|found| found.view).collect())
    }

    /// Counts the objects that a limit bounds.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn used(&self, limit: Limit) -> Result<u64, Error> {
        let mut areas = AreaName::ALL.iter();
        let area = areas.find(|area| area.access().iter().any(|row| row.limit == Some(limit)));
        match area {
            // All of them are one document.
            Some(AreaName::Webhook) => {
                let found = self.views.get::<webhook::View>(self.plan.tenant).await?;
                let webhooks = found.map_or(0, |found| found.view.webhooks.len());
                Ok(webhooks.try_into().unwrap_or(u64::MAX))
            }
            Some(area) => count(&self.views, *area).await,
            // A newer release counts them.
            None => Ok(0),
        }
    }
}

/// Counts the live objects of an area, as the workers do. It is a macro, since each view is a type
/// of its own.
macro_rules! count_live {
    ($($name:ident: $module:ident [$view:ident $($others:ident)*],)+) => {
        async fn count(views: &TenantViews, area: AreaName) -> Result<u64, Error> {
            match area {
                $(AreaName::$name => {
                    let mut count = 0;
                    for live in live(area, now())? {
                        count += views.count::<events_schema::$module::$view>(live).await?;
                    }
                    Ok(count)
                })+
            }
        }
    };
}
areas!(count_live);

/// Returns the conditions for the live documents of an area, each of which meets exactly one.
fn live(area: AreaName, now: Time) -> Result<Vec<Filter>, Error> {
    if area != AreaName::Member {
        return Ok(vec![Filter::default()]);
    }
    let joined = [Status::Accepted, Status::Suspended];
    let lifetime = i64::try_from(INVITATION_LIFETIME.as_millis()).unwrap_or(i64::MAX);
    let pending = Filter::default().is("status", Status::Pending)?;
    Ok(vec![
        Filter::default().one_of("status", &joined)?,
        pending.greater_than("invitation.requested_at", now.0 - lifetime),
    ])
}
