//! The guard of every operation, whatever the transport.

use events_schema::Access;

use crate::{
    access::{Rights, allows},
    backend::plans::TenantPlan,
    error::Error,
};

/// Checks that a caller may use an operation now. In this order: the caller, whether their session
/// is fresh, the tenant and the factors that it requires, the role and the scopes of an access
/// token, the factors that the operation needs, the standing of the tenant, the feature. The first
/// refusal is the answer. `plan` is read only for an operation that depends on it.
///
/// The limit comes last, and a worker checks it: only the log knows how many objects there are. It
/// travels in the command.
///
/// # Errors
/// Those of [`allows`] and of `plan`; `PaymentRequired` if the operation creates something in a
/// tenant that has not paid; `FeatureNotInPlan` if the tenant lacks the feature.
pub(crate) async fn guard<'p>(
    access: &Access,
    rights: Rights<'_>,
    plan: impl Future<Output = Result<&'p TenantPlan, Error>>,
) -> Result<(), Error> {
    allows(access, rights)?;
    if !access.creates && access.feature.is_none() {
        return Ok(());
    }
    let plan = plan.await?;
    if access.creates && !plan.entitlements.may_create() {
        return Err(Error::PaymentRequired);
    }
    match access.feature {
        Some(feature) if !plan.entitlements.has(feature) => Err(plan.lacks(feature)),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
