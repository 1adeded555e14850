//! The permissions of a tenant's roles. casbin computes them, with one small enforcer per tenant,
//! from roles, inheritance, actions and resources.
//!
//! A tenant's roles are read with each request, so that a change takes effect at once at every
//! gateway, and a failed read denies the request. The result is cached by the revision of the
//! roles.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use casbin::{CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi, RbacApi};
use events_schema::{
    BuiltInRole, Permission, Permissions, RoleId, TenantKey, member,
    role::{self, Parent},
};
use lru::LruCache;

use crate::{backend::views::TenantViews, error::Error};

/// A role holds a permission if it, or a role that it inherits from, has the policy.
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

/// Tenants whose permissions are cached. They take a few megabytes and cover the busy tenants.
const CACHED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The permissions of each role of a tenant, inherited ones included.
#[derive(Debug)]
pub(crate) struct RolePermissions(BTreeMap<Parent, Permissions>);

impl RolePermissions {
    /// Returns the permissions of a role; `None` if the role does not exist.
    pub(crate) fn get(&self, role: Parent) -> Option<&Permissions> {
        self.0.get(&role)
    }

    /// Returns the permissions of a role; none if the role does not exist.
    pub(crate) fn of(&self, role: Parent) -> Permissions {
        self.get(role).cloned().unwrap_or_default()
    }

    /// Returns the permissions that all roles of a member hold together.
    pub(crate) fn of_member(&self, member: &member::View) -> Permissions {
        let custom = member.roles.iter().map(|role| Parent::Custom(*role));
        let roles = [Parent::BuiltIn(member.role)].into_iter().chain(custom);
        roles.flat_map(|role| self.of(role)).collect()
    }
}

/// Permissions, with the revision of the roles that they were computed from.
type Cached = (i64, Arc<RolePermissions>);

/// The permissions of the roles of recently active tenants.
#[derive(Clone, Debug)]
pub(crate) struct PermissionCache(Arc<Mutex<LruCache<TenantKey, Cached>>>);

impl PermissionCache {
    /// Makes an empty cache.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(CACHED))))
    }

    /// Returns the permissions that the roles of this tenant hold now.
    ///
    /// # Errors
    /// If the roles cannot be read.
    pub(crate) async fn of(
        &self,
        views: &TenantViews,
        tenant: TenantKey,
    ) -> Result<Arc<RolePermissions>, Error> {
        let found = views.get_or_absence::<role::View>(tenant).await?;
        let found = found.map(|found| (found.revision, found.view.roles));
        let (revision, roles) = found.unwrap_or_default();
        if let Some(cached) = self.cached(tenant, revision) {
            return Ok(cached);
        }
        let decided = Arc::new(decide(&roles).await.context("computing permissions")?);
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(tenant, (revision, decided.clone()));
        Ok(decided)
    }

    fn cached(&self, tenant: TenantKey, revision: i64) -> Option<Arc<RolePermissions>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache.get(&tenant).filter(|(at, _)| *at == revision);
        cached.map(|(_, permissions)| permissions.clone())
    }
}

async fn decide(roles: &BTreeMap<RoleId, role::Role>) -> anyhow::Result<RolePermissions> {
    let enforcer = enforcer(roles).await?;
    let custom = roles.keys().map(|id| Parent::Custom(*id));
    let all = BuiltInRole::ALL.into_iter().map(Parent::BuiltIn);
    let decided = all
        .chain(custom)
        .map(|role| Ok((role, implicit_permissions(&enforcer, role)?)));
    Ok(RolePermissions(decided.collect::<anyhow::Result<_>>()?))
}

/// Returns all permissions of a role in one query. One query for each permission of each role would
/// take seconds for a tenant with many roles.
fn implicit_permissions(enforcer: &Enforcer, role: Parent) -> anyhow::Result<Permissions> {
    let rules = enforcer.get_implicit_permissions_for_user(&name(role), None);
    let permissions = rules.iter().map(|rule| {
        let name = rule[1..].join("_");
        Permission::from_stored(&name).with_context(|| name)
    });
    permissions.collect()
}

async fn enforcer(roles: &BTreeMap<RoleId, role::Role>) -> anyhow::Result<Enforcer> {
    let model = DefaultModel::from_str(MODEL).await?;
    let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
    let (mut policies, mut inheritance) = (Vec::new(), Vec::new());
    for role in BuiltInRole::ALL {
        let own = role.own_permissions();
        policies.extend(own.iter().map(|held| policy(Parent::BuiltIn(role), held)));
        let weaker = role.inherits().map(|weaker| weaker.to_string());
        inheritance.extend(weaker.map(|weaker| vec![role.to_string(), weaker]));
    }
    for (id, role) in roles {
        let id = Parent::Custom(*id);
        policies.extend(role.permissions.iter().map(|held| policy(id, held)));
        let parents = role.inherits.iter();
        inheritance.extend(parents.map(|parent| vec![name(id), name(*parent)]));
    }
    enforcer.add_policies(policies).await?;
    enforcer.add_grouping_policies(inheritance).await?;
    Ok(enforcer)
}

fn policy(role: Parent, permission: &Permission) -> Vec<String> {
    let (action, resource) = permission.action_and_resource();
    vec![name(role), action.to_owned(), resource.to_owned()]
}

/// Names a role in casbin. An id has no letter beyond f, so no custom role can pass for a built-in
/// one.
fn name(role: Parent) -> String {
    match role {
        Parent::BuiltIn(role) => role.to_string(),
        Parent::Custom(id) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events_schema::{EmailAddress, Id, Name, Time, project, tenant};

    use super::*;

    fn custom(byte: u8) -> RoleId {
        RoleId(Id::from_bytes([byte; 16]))
    }

    fn role(permissions: &[Permission], inherits: &[Parent]) -> role::Role {
        role::Role {
            name: Name::parse("Auditor").unwrap(),
            permissions: permissions.iter().copied().collect(),
            inherits: inherits.iter().copied().collect(),
            created_at: Time(0),
            updated_at: Time(0),
        }
    }

    fn roles() -> BTreeMap<RoleId, role::Role> {
        let audit = [tenant::READ_AUDIT_LOG];
        let guest = [Parent::BuiltIn(BuiltInRole::Guest)];
        // The domain refuses cycles such as that of the third role. The computation must end
        // anyway.
        let cyclic = [Parent::Custom(custom(3)), Parent::Custom(custom(9))];
        BTreeMap::from([
            (custom(1), role(&audit, &guest)),
            (
                custom(2),
                role(&[project::DELETE], &[Parent::Custom(custom(1))]),
            ),
            (custom(3), role(&[], &cyclic)),
        ])
    }

    #[tokio::test]
    async fn casbin_and_the_built_in_roles_agree() {
        let decided = decide(&BTreeMap::new()).await.unwrap();
        for role in BuiltInRole::ALL {
            let held = decided.of(Parent::BuiltIn(role));
            assert_eq!(held, role.permissions(), "{role}");
        }
    }

    #[tokio::test]
    async fn a_missing_role_holds_nothing() {
        let decided = decide(&BTreeMap::new()).await.unwrap();
        assert!(decided.of(Parent::Custom(custom(1))).is_empty());
    }

    #[tokio::test]
    async fn casbin_and_the_rules_of_inheritance_agree() {
        let roles = roles();
        let decided = decide(&roles).await.unwrap();
        for (id, role) in &roles {
            let mut expected = role::inherited(&roles, &role.inherits);
            expected.extend(role.permissions.iter().copied());
            assert_eq!(decided.of(Parent::Custom(*id)), expected, "{id}");
        }
    }

    #[tokio::test]
    async fn casbin_gives_the_same_answer_for_every_single_role_and_permission() {
        let roles = roles();
        let decided = decide(&roles).await.unwrap();
        let enforcer = enforcer(&roles).await.unwrap();
        let custom = roles.keys().map(|id| Parent::Custom(*id));
        for role in BuiltInRole::ALL
            .map(Parent::BuiltIn)
            .into_iter()
            .chain(custom)
        {
            for permission in Permission::all() {
                let (action, resource) = permission.action_and_resource();
                let allowed = enforcer.enforce((name(role), action, resource)).unwrap();
                let held = decided.of(role).contains(permission);
                assert_eq!(allowed, held, "{role:?} {permission}");
            }
        }
    }

    #[tokio::test]
    async fn a_member_holds_what_all_of_their_roles_hold() {
        let member = member::View {
            email: EmailAddress::parse("ada@example.com").unwrap(),
            account: None,
            role: BuiltInRole::Guest,
            roles: BTreeSet::from([custom(2), custom(8)]),
            status: member::Status::Accepted,
            invitation: None,
            created_at: Time(0),
            updated_at: Time(0),
        };
        let mut expected = BuiltInRole::Guest.permissions();
        expected.extend([tenant::READ_AUDIT_LOG, project::DELETE]);
        let decided = decide(&roles()).await.unwrap();
        assert_eq!(decided.of_member(&member), expected);
    }
}
