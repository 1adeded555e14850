//! What the members of a tenant may do. casbin decides, with one small enforcer per tenant: roles,
//! inheritance, action and resource.
//!
//! A tenant's roles are read with each request, so that a change counts at once at every gateway
//! and a failed read denies; what casbin makes of them is kept for as long as they stand at that
//! revision.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use casbin::{CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi, RbacApi};
use events_schema::{
    BuiltInRole, Id, Permission, Permissions, RoleId, member,
    role::{self, Parent},
};
use lru::LruCache;

use crate::{backend::views::Scoped, error::Error};

/// Who may do what: a role, or one that it inherits from, must hold the permission.
const MODEL: &str = "
[request_definition]
r = role, act, res
[policy_definition]
p = role, act, res
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && r.res == p.res && g(r.role, p.role)
";

/// Tenants whose rights are kept: a few megabytes, and most of what is busy.
const KEPT: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// What each role of a tenant holds.
#[derive(Debug)]
pub(crate) struct RoleRights(BTreeMap<Parent, Permissions>);

impl RoleRights {
    /// What a role holds; nothing if there is none.
    pub(crate) fn of(&self, role: Parent) -> Permissions {
        self.0.get(&role).cloned().unwrap_or_default()
    }

    /// Everything that a member's roles hold together.
    pub(crate) fn of_member(&self, member: &member::View) -> Permissions {
        let custom = member.roles.iter().map(|role| Parent::Custom(*role));
        [Parent::BuiltIn(member.role)]
            .into_iter()
            .chain(custom)
            .flat_map(|role| self.of(role))
            .collect()
    }
}

/// What the roles of each tenant hold, at the revision that was last met.
#[derive(Debug)]
pub(crate) struct Rights(Mutex<LruCache<Id, (i64, Arc<RoleRights>)>>);

impl Rights {
    /// Keeps nothing yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }

    /// What the roles of this tenant hold now.
    pub(crate) async fn of(&self, scope: &Scoped, tenant: Id) -> Result<Arc<RoleRights>, Error> {
        let found = scope.get::<role::View>(tenant).await?;
        let (revision, roles) = found.map_or((0, BTreeMap::new()), |found| {
            (found.revision, found.view.roles)
        });
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, rights)) = kept().get(&tenant)
            && *at == revision
        {
            return Ok(rights.clone());
        }
        let rights = Arc::new(decide(&roles).await.context("asking casbin")?);
        kept().put(tenant, (revision, rights.clone()));
        Ok(rights)
    }
}

async fn enforcer(roles: &BTreeMap<RoleId, role::Role>) -> anyhow::Result<Enforcer> {
    let mut enforcer = Enforcer::new(
        DefaultModel::from_str(MODEL).await?,
        MemoryAdapter::default(),
    )
    .await?;
    let rule = |role: Parent, Permission(action, resource): &Permission| {
        vec![name(role), action.to_string(), resource.to_string()]
    };
    let built_in = |role: BuiltInRole| {
        role.own()
            .iter()
            .map(move |permission| rule(Parent::BuiltIn(role), permission))
    };
    let custom = |(id, role): (&RoleId, &role::Role)| {
        role.permissions
            .iter()
            .map(|held| rule(Parent::Custom(*id), held))
            .collect::<Vec<_>>()
    };
    let policies = BuiltInRole::ALL
        .into_iter()
        .flat_map(built_in)
        .chain(roles.iter().flat_map(custom))
        .collect();
    enforcer.add_policies(policies).await?;
    let below = |role: BuiltInRole| {
        role.inherits()
            .map(|lower| (Parent::BuiltIn(role), Parent::BuiltIn(lower)))
    };
    let parents = |(id, role): (&RoleId, &role::Role)| {
        role.inherits
            .iter()
            .map(|parent| (Parent::Custom(*id), *parent))
            .collect::<Vec<_>>()
    };
    let inheritance = BuiltInRole::ALL
        .into_iter()
        .filter_map(below)
        .chain(roles.iter().flat_map(parents));
    enforcer
        .add_grouping_policies(
            inheritance
                .map(|(role, parent)| vec![name(role), name(parent)])
                .collect(),
        )
        .await?;
    Ok(enforcer)
}

async fn decide(roles: &BTreeMap<RoleId, role::Role>) -> anyhow::Result<RoleRights> {
    let enforcer = enforcer(roles).await?;
    let all = BuiltInRole::ALL
        .map(Parent::BuiltIn)
        .into_iter()
        .chain(roles.keys().map(|id| Parent::Custom(*id)));
    // All that a role holds at once: asking for each permission of each role would take seconds for
    // a tenant with many.
    let held = |role: Parent| -> anyhow::Result<Permissions> {
        let rules = enforcer.get_implicit_permissions_for_user(&name(role), None);
        rules
            .iter()
            .map(|rule| Ok(Permission::parse(&rule[1..].join("_"))?))
            .collect()
    };
    Ok(RoleRights(
        all.map(|role| Ok((role, held(role)?)))
            .collect::<anyhow::Result<_>>()?,
    ))
}

/// No custom role can pass for a built-in one: ids have no letters beyond f.
fn name(role: Parent) -> String {
    match role {
        Parent::BuiltIn(role) => role.to_string(),
        Parent::Custom(id) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events_schema::{Action, Name, Resource, Time};

    use super::*;

    fn custom(byte: u8) -> RoleId {
        RoleId(Id::from_bytes([byte; 16]))
    }

    fn role(permissions: &[Permission], inherits: &[Parent]) -> role::Role {
        let (permissions, inherits) = (
            permissions.iter().copied().collect(),
            inherits.iter().copied().collect(),
        );
        role::Role {
            name: Name::parse("Auditor").unwrap(),
            permissions,
            inherits,
            created_at: Time(0),
            updated_at: Time(0),
        }
    }

    #[tokio::test]
    async fn casbin_and_the_table_of_built_in_roles_agree() {
        let rights = decide(&BTreeMap::new()).await.unwrap();
        for role in BuiltInRole::ALL {
            assert_eq!(
                rights.of(Parent::BuiltIn(role)),
                role.permissions(),
                "{role}"
            );
        }
        assert_eq!(
            rights.of(Parent::Custom(custom(1))),
            Permissions::new(),
            "a role that is gone holds nothing"
        );
    }

    #[tokio::test]
    async fn casbin_and_the_rules_of_inheritance_agree() {
        let audit = Permission(Action::Read, Resource::AuditLog);
        let delete = Permission(Action::Delete, Resource::Project);
        let roles = BTreeMap::from([
            (
                custom(1),
                role(&[audit], &[Parent::BuiltIn(BuiltInRole::Guest)]),
            ),
            (custom(2), role(&[delete], &[Parent::Custom(custom(1))])),
            // Neither can be stored; both must end.
            (
                custom(3),
                role(&[], &[Parent::Custom(custom(3)), Parent::Custom(custom(9))]),
            ),
        ]);
        let rights = decide(&roles).await.unwrap();
        for (id, role) in &roles {
            let own = role.permissions.iter().copied();
            let expected: Permissions =
                own.chain(role::inherited(&roles, &role.inherits)).collect();
            assert_eq!(rights.of(Parent::Custom(*id)), expected, "{id}");
        }
        let enforcer = enforcer(&roles).await.unwrap();
        for role in BuiltInRole::ALL
            .map(Parent::BuiltIn)
            .into_iter()
            .chain(roles.keys().map(|id| Parent::Custom(*id)))
        {
            for permission @ Permission(action, resource) in Permission::ALL {
                let allowed = enforcer
                    .enforce((name(role), action.to_string(), resource.to_string()))
                    .unwrap();
                assert_eq!(
                    allowed,
                    rights.of(role).contains(&permission),
                    "{role:?} {permission}"
                );
            }
        }
        let member = member::View {
            email: events_schema::EmailAddress::parse("ada@example.com").unwrap(),
            account: None,
            role: BuiltInRole::Guest,
            roles: BTreeSet::from([custom(2), custom(8)]),
            status: member::Status::Accepted,
            invitation: None,
            created_at: Time(0),
            updated_at: Time(0),
        };
        let expected: Permissions = BuiltInRole::Guest
            .permissions()
            .into_iter()
            .chain([audit, delete])
            .collect();
        assert_eq!(rights.of_member(&member), expected);
    }
}
