//! Recipients: the owner of a mailbox stops invitations, and resumes them.

use async_graphql::{Context, InputObject, Object, SimpleObject};

use super::{field::FieldContext, scalars::Success};
use crate::{error::Error, use_cases::list::IndexCheck};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

/// The mailbox of a person.
#[derive(SimpleObject)]
struct Recipient {
    /// Whether invitations to tenants are sent to it.
    wants_invitations: bool,
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "RecipientQueries")]
impl Queries {
    /// The mailbox of the person who is logged in. `FORBIDDEN` for an access token.
    async fn recipient(&self, ctx: &Context<'_>) -> Result<Option<Recipient>, Error> {
        let field = FieldContext::of(ctx);
        let wants = field.use_cases.recipients.wants_invitations(field.caller);
        Ok(Some(Recipient {
            wants_invitations: wants.await?,
        }))
    }
}

/// The link that stops invitations.
#[derive(InputObject)]
struct StopInvitationsInput {
    /// The token in the link of the mail.
    #[graphql(secret)]
    token: String,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "RecipientMutations")]
impl Mutations {
    /// Changes of what is sent to a mailbox.
    async fn recipient(&self) -> Option<RecipientMutation> {
        Some(RecipientMutation)
    }
}

pub(super) struct RecipientMutation;

/// Changes of what is sent to a mailbox.
#[Object(serial)]
impl RecipientMutation {
    /// Stops invitations of all tenants to the mailbox that got the link. It needs no session.
    /// Those who invite do not learn of it. `BAD_USER_INPUT` if the link is wrong.
    async fn stop_invitations(
        &self,
        ctx: &Context<'_>,
        input: StopInvitationsInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (recipients, id) = (&field.use_cases.recipients, field.command_id()?);
        let stopped = recipients.stop_invitations(field.caller, id, &input.token);
        stopped.await?;
        Success::yes()
    }

    /// Resumes invitations to the caller's own address. Invitations that were withdrawn are not sent; ask to be
    /// invited again.
    async fn resume_invitations(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (recipients, id) = (&field.use_cases.recipients, field.command_id()?);
        recipients.resume_invitations(field.caller, id).await?;
        Success::yes()
    }
}
