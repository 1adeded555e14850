//! The table of areas, with the parts that run each one. There is no other table: everything else
//! visits this one.

use events_schema::{self as schema, AreaName, View};

use crate::{
    aggregate::Aggregate,
    domain,
    effect::{
        Effect, change_email::ChangeEmail, change_subscription::ChangeSubscription,
        check_domain::CheckDomain, close_account::CloseAccount,
        end_impersonation::EndImpersonation, follow_seats::FollowSeats,
        record_prices::RecordPrices, report_usage::ReportUsage, send_mail::SendMail,
    },
    reaction::{
        Reaction, access_token_mail::AccessTokenMail, access_token_reminder::AccessTokenReminder,
        account_mail::AccountMail, connection_mail::ConnectionMail, deleted_tenant::DeletedTenant,
        deleted_tenant_connections::DeletedTenantConnections, founder::Founder,
        member_mail::MemberMail, support_mail::SupportMail, webhook_mail::WebhookMail,
    },
};

/// Visits the parts that run an area: its commands, views, reactions and effects.
pub trait Visitor {
    fn commands<A: Aggregate>(&mut self) {}
    fn view<V: View>(&mut self) {}
    fn reaction<R: Reaction>(&mut self) {}
    fn effect<E: Effect>(&mut self) {}
}

/// Shows an area's parts to a visitor. A reaction or effect belongs to the area whose events it
/// reads.
pub fn visit(area: AreaName, to: &mut impl Visitor) {
    match area {
        AreaName::AccessToken => {
            plain::<domain::access_token::AccessToken, schema::access_token::View>(to);
            to.reaction::<AccessTokenMail>();
            to.reaction::<AccessTokenReminder>();
        }
        AreaName::Account => {
            plain::<domain::account::Account, schema::account::View>(to);
            to.reaction::<AccountMail>();
            to.effect::<ChangeEmail>();
            to.effect::<CloseAccount>();
        }
        AreaName::Billing => {
            plain::<domain::billing::Billing, schema::billing::View>(to);
            to.effect::<ChangeSubscription>();
            to.effect::<FollowSeats>();
        }
        AreaName::Connection => {
            plain::<domain::connection::Connections, schema::connection::View>(to);
            to.reaction::<ConnectionMail>();
            to.effect::<CheckDomain>();
        }
        AreaName::Email => {
            plain::<domain::email::Email, schema::email::View>(to);
            to.effect::<SendMail>();
        }
        AreaName::InboundSource => {
            plain::<domain::inbound_source::InboundSources, schema::inbound_source::View>(to);
        }
        AreaName::Member => {
            plain::<domain::member::Member, schema::member::View>(to);
            to.view::<schema::member::Membership>();
            to.reaction::<MemberMail>();
        }
        AreaName::Plan => {
            plain::<domain::plan::Catalogue, schema::plan::View>(to);
            to.effect::<RecordPrices>();
        }
        AreaName::Project => plain::<domain::project::Project, schema::project::View>(to),
        AreaName::Recipient => {
            plain::<domain::recipient::Recipient, schema::recipient::View>(to);
        }
        AreaName::Role => plain::<domain::role::Roles, schema::role::View>(to),
        AreaName::Service => plain::<domain::service::Services, schema::service::View>(to),
        AreaName::Session => plain::<domain::session::Session, schema::session::View>(to),
        AreaName::Support => {
            plain::<domain::support::Support, schema::support::View>(to);
            to.reaction::<SupportMail>();
            to.effect::<EndImpersonation>();
        }
        AreaName::Task => plain::<domain::task::Task, schema::task::View>(to),
        AreaName::Tenant => {
            plain::<domain::tenant::Tenant, schema::tenant::View>(to);
            to.reaction::<Founder>();
            to.reaction::<DeletedTenant>();
            to.reaction::<DeletedTenantConnections>();
        }
        AreaName::Usage => {
            plain::<domain::usage::Usage, schema::usage::View>(to);
            to.effect::<ReportUsage>();
        }
        AreaName::Webhook => {
            plain::<domain::webhook::Webhooks, schema::webhook::View>(to);
            to.reaction::<WebhookMail>();
        }
    }
}

/// Visits an area with commands and one view.
fn plain<A: Aggregate, V: View<Area = A::Area>>(visitor: &mut impl Visitor) {
    visitor.commands::<A>();
    visitor.view::<V>();
}

#[cfg(test)]
mod tests {
    use events_schema::{Area as _, Home};

    use super::*;

    /// The views of a row, and the areas of all its parts.
    #[derive(Default)]
    struct Row {
        areas: Vec<AreaName>,
        views: Vec<(&'static str, Home)>,
    }

    impl Visitor for Row {
        fn commands<A: Aggregate>(&mut self) {
            self.areas.push(A::Area::NAME);
        }
        fn view<V: View>(&mut self) {
            self.areas.push(V::Area::NAME);
            self.views.push((V::NAME, V::HOME));
        }
        fn reaction<R: Reaction>(&mut self) {
            self.areas.push(R::Source::NAME);
        }
        fn effect<E: Effect>(&mut self) {
            self.areas.push(crate::effect::AreaOf::<E>::NAME);
        }
    }

    #[test]
    fn each_row_has_all_views_of_its_area_and_no_part_of_another() {
        for area in AreaName::ALL.iter().copied() {
            let mut row = Row::default();
            visit(area, &mut row);
            assert!(row.areas.iter().all(|found| *found == area), "{area}");
            assert_eq!(row.views, area.views(), "{area}");
        }
    }
}
