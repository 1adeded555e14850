//! Whether an administrator of the platform may still act as a person.

use events_schema::{SessionId, account, session::Impersonator, support, tenant};

use crate::{backend::views::Views, clock::now, error::Error};

/// Whether somebody may still act as a person in this session: they are an administrator of the
/// platform, and the tenant lets them.
///
/// # Errors
/// If a view cannot be read.
pub(crate) async fn may_impersonate(
    views: &Views,
    session: SessionId,
    by: &Impersonator,
) -> Result<bool, Error> {
    let platform = views.platform();
    let administrator = platform.get::<account::View>(by.account).await?;
    let is_administrator = administrator.is_some_and(|account| {
        let account = &account.view;
        account.is_platform_admin && !account.is_disabled && account.epoch == by.epoch
    });
    let tenant = platform.get::<tenant::View>(by.tenant).await?;
    let Some(tenant) = tenant.filter(|_| is_administrator) else {
        return Ok(false);
    };
    let support = views.of(&tenant)?.get::<support::View>(tenant.id).await?;
    Ok(support.is_some_and(|support| support.view.allows(session, now())))
}
