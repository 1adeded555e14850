//! What administrators of the platform change about the billing of a tenant.

use std::collections::BTreeMap;

use async_graphql::{ID, InputObject};
use events_schema::{Feature, Limit, Reason, TenantKey, billing::Override};

use crate::{
    error::Error,
    graphql::{
        plan::parse_features,
        scalars::{DateTime, Long, id_of, parsed},
    },
    use_cases::billing::NewGrant,
};

/// Exceptions from the plan of a tenant.
#[derive(InputObject)]
pub(in crate::graphql) struct OverrideBillingInput {
    /// Id of the tenant.
    tenant: ID,
    /// Features that the tenant has although its plan lacks them. None by default.
    grant: Option<Vec<String>>,
    /// Features that the tenant lacks although its plan has them. None by default.
    withhold: Option<Vec<String>>,
    /// Limits that count instead of those of the plan. None by default.
    limits: Option<Vec<OverriddenLimitInput>>,
    /// When the exceptions end. Never by default.
    until: Option<DateTime>,
    /// Why there are exceptions, 1 to 500 characters. The tenant can read it.
    reason: String,
}

/// A limit that counts instead of that of the plan.
#[derive(InputObject)]
struct OverriddenLimitInput {
    /// Name of the limit, such as `projects`.
    name: String,
    /// The most objects, 0 or more. Unlimited if null or absent.
    value: Option<Long>,
}

/// A plan without payment.
#[derive(InputObject)]
pub(in crate::graphql) struct GrantPlanInput {
    /// Id of the tenant.
    tenant: ID,
    /// Id of the plan. The tenant has the version that is the latest now.
    plan: ID,
    /// When the grant ends. Never by default.
    until: Option<DateTime>,
    /// Why the tenant has the plan, 1 to 500 characters. The tenant can read it.
    reason: String,
}

impl OverrideBillingInput {
    /// Returns the tenant and its exceptions.
    ///
    /// # Errors
    /// `BadUserInput` if a feature or limit is unknown, or named twice.
    pub(in crate::graphql) fn parse(self) -> Result<(TenantKey, Override), Error> {
        let overrides = Override {
            features: features(self.grant, self.withhold)?,
            limits: limits(self.limits.unwrap_or_default())?,
            until: self.until.map(|until| until.0),
            reason: parsed("reason", &self.reason, Reason::parse)?,
        };
        Ok((id_of(&self.tenant)?, overrides))
    }
}

impl GrantPlanInput {
    /// Returns the tenant and its plan.
    ///
    /// # Errors
    /// `BadUserInput` if the reason is empty or too long.
    pub(in crate::graphql) fn parse(self) -> Result<(TenantKey, NewGrant), Error> {
        let grant = NewGrant {
            plan: id_of(&self.plan)?,
            until: self.until.map(|until| until.0),
            reason: parsed("reason", &self.reason, Reason::parse)?,
        };
        Ok((id_of(&self.tenant)?, grant))
    }
}

fn features(
    granted: Option<Vec<String>>,
    withheld: Option<Vec<String>>,
) -> Result<BTreeMap<Feature, bool>, Error> {
    let granted = parse_features("grant", &granted.unwrap_or_default())?;
    let withheld = parse_features("withhold", &withheld.unwrap_or_default())?;
    if let Some(both) = granted.intersection(&withheld).next() {
        let message = format!("withhold must not name {both}, which grant names.");
        return Err(Error::input("withhold", message));
    }
    let granted = granted.into_iter().map(|feature| (feature, true));
    let withheld = withheld.into_iter().map(|feature| (feature, false));
    Ok(granted.chain(withheld).collect())
}

fn limits(inputs: Vec<OverriddenLimitInput>) -> Result<BTreeMap<Limit, Option<u64>>, Error> {
    let mut limits = BTreeMap::new();
    for input in inputs {
        let limit = parsed("limits", &input.name, Limit::parse)?;
        let most = input.value.map(|most| most.not_negative("limits"));
        if limits.insert(limit, most.transpose()?).is_some() {
            let message = format!("limits must name {limit} once.");
            return Err(Error::input("limits", message));
        }
    }
    Ok(limits)
}
