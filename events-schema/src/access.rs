//! Who may use an operation, or read a field of an object. Each area lists its operations in
//! [`Area::ACCESS`](crate::Area::ACCESS) and such fields in [`Area::FIELDS`](crate::Area::FIELDS);
//! the check of every transport, the permissions and the built-in roles derive from these lists.

use crate::{AreaName, Feature, Limit, Permission};

/// One operation and who may use it, or one field and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The name of the operation or field within its area, in snake case, such as `create`. `read`
    /// covers one object and the list of them.
    pub verb: &'static str,
    /// Who may use it.
    pub who: Who,
    /// Whether an access token may use it, too, as far as its scopes allow.
    pub access_tokens: bool,
    /// The feature that the tenant's plan must have.
    pub feature: Option<Feature>,
    /// The limit of the tenant's plan that bounds how many objects there are.
    pub limit: Option<Limit>,
    /// Whether it creates an object. A tenant that has not paid may not.
    pub creates: bool,
    /// Whether it only reads. A tenant whose plan has ended without another one may.
    pub reads: bool,
    /// Whether the session must be fresh.
    pub fresh: bool,
    /// Whether an administrator of the platform who acts as a person is refused.
    pub in_person: bool,
    /// Whether two factors must have been proved in the session.
    pub two_factors: bool,
    /// Whether a session that only a tenant's connection vouches for may use it, although it
    /// concerns the account.
    pub by_connection: bool,
}

/// Who may use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody; no session is needed.
    Anyone,
    /// A person with a session, in any tenant or none.
    SignedIn,
    /// Every member of the tenant.
    Member,
    /// A member of the tenant who holds this permission.
    Permission(Permission),
    /// A member for whom the object is their own, or who holds this permission. The domain decides,
    /// since it knows the object.
    OwnOr(Permission),
    /// A platform administrator with a session, or a member of the tenant who holds this
    /// permission.
    PlatformOr(Permission),
    /// A platform administrator with a session.
    Platform,
}

impl Who {
    /// Returns the permission that is named, if any.
    pub const fn permission(self) -> Option<Permission> {
        match self {
            Self::Permission(permission)
            | Self::OwnOr(permission)
            | Self::PlatformOr(permission) => Some(permission),
            Self::Anyone | Self::SignedIn | Self::Member | Self::Platform => None,
        }
    }

    /// Whether a tenant decides who may use the operation, by its members and their roles.
    pub const fn is_of_tenant(self) -> bool {
        match self {
            Self::Member | Self::Permission(_) | Self::OwnOr(_) | Self::PlatformOr(_) => true,
            Self::Anyone | Self::SignedIn | Self::Platform => false,
        }
    }
}

impl Access {
    /// Everybody may use the operation.
    pub const fn anyone(verb: &'static str) -> Self {
        Self::new(verb, Who::Anyone, false)
    }

    /// A person with a session may use the operation.
    pub const fn signed_in(verb: &'static str) -> Self {
        Self::new(verb, Who::SignedIn, false)
    }

    /// Every member of the tenant may use the operation, by access token, too.
    pub const fn member(verb: &'static str) -> Self {
        Self::new(verb, Who::Member, true)
    }

    /// Holders of this permission may use the operation, by access token, too.
    pub const fn permission(verb: &'static str, permission: Permission) -> Self {
        Self::new(verb, Who::Permission(permission), true)
    }

    /// Members may use the operation on what is their own, and holders of this permission on
    /// everything; by access token, too.
    pub const fn own_or(verb: &'static str, permission: Permission) -> Self {
        Self::new(verb, Who::OwnOr(permission), true)
    }

    /// Platform administrators and holders of this permission may read the field; by access token,
    /// too.
    pub const fn platform_or(verb: &'static str, permission: Permission) -> Self {
        Self::new(verb, Who::PlatformOr(permission), true)
    }

    /// Platform administrators may use the operation.
    pub const fn platform(verb: &'static str) -> Self {
        Self::new(verb, Who::Platform, false)
    }

    /// The same operation, for people only.
    pub const fn without_access_tokens(self) -> Self {
        Self {
            access_tokens: false,
            ..self
        }
    }

    /// The same operation, for tenants whose plan has this feature. Reading, deleting and leaving
    /// need no feature, so that nobody loses what they have; an exception is `feature_to_read`.
    pub const fn feature(self, feature: Feature) -> Self {
        Self {
            feature: Some(feature),
            ..self
        }
    }

    /// The same operation, for people who have proved within ten minutes who they are, with two
    /// factors if the account has two. A machine proves nothing, so access tokens may not use it.
    pub const fn fresh(self) -> Self {
        Self {
            fresh: true,
            access_tokens: false,
            ..self
        }
    }

    /// The same operation, which nobody may use who acts as a person. For what would outlast their
    /// half hour: who has access, where data goes, who pays.
    pub const fn in_person(self) -> Self {
        Self {
            in_person: true,
            ..self
        }
    }

    /// The same operation, for people who have proved two factors. A machine proves nothing, so
    /// access tokens may not use it.
    pub const fn two_factors(self) -> Self {
        Self {
            two_factors: true,
            access_tokens: false,
            ..self
        }
    }

    /// The same operation, also for a session that only a tenant's connection vouches for. Such a
    /// session is valid in the tenant, and else does nothing.
    pub const fn by_connection(self) -> Self {
        Self {
            by_connection: true,
            ..self
        }
    }

    /// The same operation, for tenants whose plan has this feature, which only reads. A tenant that
    /// has lost the plan still reads what was there.
    pub const fn feature_to_read(self, feature: Feature) -> Self {
        Self {
            reads: true,
            ..self.feature(feature)
        }
    }

    /// The same operation, which creates an object.
    pub const fn creates(self) -> Self {
        Self {
            creates: true,
            ..self
        }
    }

    /// The same operation, which creates an object as long as the tenant has fewer than its plan
    /// allows.
    pub const fn limit(self, limit: Limit) -> Self {
        Self {
            limit: Some(limit),
            creates: true,
            ..self
        }
    }

    const fn new(verb: &'static str, who: Who, access_tokens: bool) -> Self {
        Self {
            verb,
            who,
            access_tokens,
            feature: None,
            limit: None,
            creates: false,
            reads: false,
            fresh: false,
            in_person: false,
            two_factors: false,
            by_connection: false,
        }
    }
}

impl AreaName {
    /// Finds an operation of the area.
    pub fn operation(self, verb: &str) -> Option<&'static Access> {
        self.access().iter().find(|access| access.verb == verb)
    }

    /// Finds a field of the area's objects for which reading the object is not enough.
    pub fn field(self, name: &str) -> Option<&'static Access> {
        self.fields().iter().find(|access| access.verb == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_verb_is_listed_once_per_area() {
        for area in AreaName::ALL {
            for rows in [area.access(), area.fields()] {
                let verbs: BTreeSet<_> = rows.iter().map(|access| access.verb).collect();
                assert_eq!(verbs.len(), rows.len(), "{area}");
            }
        }
    }

    /// The rows of operations that the members of a tenant use, with their areas.
    fn rows_of_tenants() -> impl Iterator<Item = (AreaName, &'static Access)> {
        let all = AreaName::ALL.iter();
        let rows = all.flat_map(|area| area.access().iter().map(|row| (*area, row)));
        rows.filter(|(_, row)| row.who.is_of_tenant())
    }

    #[test]
    fn each_operation_of_a_tenant_that_creates_an_object_says_so() {
        let creating = ["create", "invite", "import", "sso_create"];
        for (area, row) in rows_of_tenants() {
            let is_creating = creating.contains(&row.verb);
            assert_eq!(
                row.creates, is_creating,
                "{area}.{}: add .creates()",
                row.verb
            );
        }
    }

    #[test]
    fn reading_deleting_and_stopping_need_no_feature_and_have_no_limit() {
        let free = [
            "read",
            "delete",
            "disable",
            "cancel_replay",
            "unassign",
            "me",
            "events",
        ];
        for (area, row) in rows_of_tenants() {
            if free.contains(&row.verb) {
                assert_eq!(
                    (row.feature, row.limit),
                    (None, None),
                    "{area}.{}",
                    row.verb
                );
            }
        }
    }

    #[test]
    fn nobody_who_acts_as_a_person_changes_who_has_access_or_who_pays() {
        let areas = [
            AreaName::AccessToken,
            AreaName::Billing,
            AreaName::Member,
            AreaName::Role,
            AreaName::Service,
        ];
        for area in areas {
            let rows = area.access().iter().filter(|row| row.who.is_of_tenant());
            for row in rows.filter(|row| !["read", "me", "cards", "card"].contains(&row.verb)) {
                let is_refused = row.in_person || row.fresh;
                assert!(is_refused, "{area}.{}: add .in_person()", row.verb);
            }
        }
    }

    #[test]
    fn only_operations_of_tenants_are_for_the_person_alone() {
        for area in AreaName::ALL {
            for row in area.access().iter().chain(area.fields()) {
                assert!(
                    !row.in_person || row.who.is_of_tenant(),
                    "{area}.{}",
                    row.verb
                );
            }
        }
    }

    #[test]
    fn only_operations_of_tenants_depend_on_a_plan() {
        for area in AreaName::ALL {
            for row in area.access().iter().chain(area.fields()) {
                let depends = row.feature.is_some() || row.limit.is_some() || row.creates;
                assert!(!depends || row.who.is_of_tenant(), "{area}.{}", row.verb);
            }
        }
    }
}
