//! Reads what the plan of a tenant allows. Memory has both documents that say it, or knows that
//! they do not exist.

use std::sync::Arc;

use events_schema::{
    Area, Document, Entitlements, Feature, Limit, Name, Rejection, TenantKey, Time, billing,
    entitlements,
    plan::{self, CATALOGUE},
};

use crate::{
    backend::views::{TenantViews, Views},
    clock::now,
    error::Error,
};

/// The code of the rejection of a command that would exceed its limit.
const LIMIT_REACHED: &str = "limit_reached";

/// Reads what the plans of tenants allow.
#[derive(Clone, Debug)]
pub(crate) struct Plans {
    platform: TenantViews,
}

/// What the plan of a tenant allows at some time.
#[derive(Clone, Debug)]
pub(crate) struct TenantPlan {
    pub(crate) tenant: TenantKey,
    pub(crate) entitlements: Entitlements,
    /// When the plan allows this.
    pub(crate) at: Time,
    catalogue: Option<Arc<Document<plan::View>>>,
    billing: Option<Arc<Document<billing::View>>>,
}

impl Plans {
    /// Reads the plans in these views.
    pub(crate) fn new(views: &Views) -> Self {
        Self {
            platform: views.platform(),
        }
    }

    /// Returns what the plan of a tenant allows now. `views` are those of the tenant.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn of(
        &self,
        views: &TenantViews,
        tenant: TenantKey,
    ) -> Result<TenantPlan, Error> {
        let (catalogue, billing) = tokio::try_join!(self.catalogue(), views.shared(tenant))?;
        Ok(TenantPlan::new(tenant, catalogue, billing, now()))
    }

    /// Reads all plans.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub(crate) async fn catalogue(&self) -> Result<Option<Arc<Document<plan::View>>>, Error> {
        self.platform.shared(CATALOGUE).await
    }
}

impl TenantPlan {
    /// Computes what a tenant may use at this time.
    pub(crate) fn new(
        tenant: TenantKey,
        catalogue: Option<Arc<Document<plan::View>>>,
        billing: Option<Arc<Document<billing::View>>>,
        at: Time,
    ) -> Self {
        let of_catalogue = catalogue.as_ref().and_then(|found| found.view.as_ref());
        let of_billing = billing.as_ref().and_then(|found| found.view.as_ref());
        Self {
            tenant,
            entitlements: entitlements(of_catalogue, of_billing, at),
            at,
            catalogue,
            billing,
        }
    }

    /// Returns all plans; `None` if there are none.
    pub(crate) fn catalogue(&self) -> Option<&plan::View> {
        self.catalogue.as_ref()?.view.as_ref()
    }

    /// Returns the billing of the tenant; `None` if nobody has ever changed it.
    pub(crate) fn billing(&self) -> Option<&billing::View> {
        self.billing.as_ref()?.view.as_ref()
    }

    /// Returns the error of an operation whose feature the tenant lacks.
    pub(crate) fn lacks(&self, feature: Feature) -> Error {
        let plans = self.catalogue().map(|all| all.with_feature(feature));
        Error::FeatureNotInPlan {
            feature,
            plans: copied(plans),
        }
    }

    /// Returns how many objects of an area the tenant may have; `None` for any number.
    pub(crate) fn limit_of<A: Area>(&self) -> Option<(Limit, u64)> {
        let limit = A::ACCESS.iter().find_map(|access| access.limit)?;
        Some((limit, self.entitlements.limit(limit)?))
    }

    /// Checks that the tenant may have one more object of an area, of which it has so many.
    ///
    /// # Errors
    /// `LimitReached` if it may not.
    pub(crate) fn check_room<A: Area>(&self, used: u64) -> Result<(), Error> {
        match self.limit_of::<A>() {
            Some((limit, allowed)) if used >= allowed => Err(self.exceeded(limit, allowed, used)),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the error of a rejected command of this area.
    pub(crate) fn refusal<A: Area>(&self, rejection: Rejection) -> Error {
        match (self.limit_of::<A>(), rejection.used) {
            (Some((limit, allowed)), Some(used)) if rejection.code == LIMIT_REACHED => {
                self.exceeded(limit, allowed, used)
            }
            (Some(_) | None, Some(_) | None) => Error::Rejected(rejection),
        }
    }

    fn exceeded(&self, limit: Limit, allowed: u64, used: u64) -> Error {
        let all = self.catalogue();
        Error::LimitReached {
            limit,
            allowed,
            used,
            plans: copied(all.map(|all| all.allowing_more(limit, allowed))),
        }
    }
}

fn copied(names: Option<Vec<&Name>>) -> Vec<Name> {
    names.into_iter().flatten().cloned().collect()
}
