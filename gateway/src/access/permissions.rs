//! The permissions of a tenant's roles. casbin computes them, with one small enforcer per tenant,
//! from roles, inheritance, actions and resources.
//!
//! A tenant's roles are read with each request, so that a change takes effect at once at every
//! gateway, and a failed read denies the request. The result is kept by the revision of the roles.
//! The first request that needs a revision has it computed, and the others wait for that.

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
use tokio::{runtime::Handle, sync::OnceCell, task::spawn_blocking};

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
        let mut held = Permissions::new();
        roles
            .filter_map(|role| self.get(role))
            .for_each(|role| held.add_all(role));
        held
    }
}

/// The permissions of one revision of a tenant's roles, as soon as they are computed.
type Computed = Arc<OnceCell<Arc<RolePermissions>>>;

/// The permissions of the roles of recently active tenants, each with the revision of the roles.
#[derive(Clone, Debug)]
pub(crate) struct PermissionCache(Arc<Mutex<LruCache<TenantKey, (i64, Computed)>>>);

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
        let computed = compute(self.computed(tenant, revision), roles).await;
        Ok(computed.context("computing permissions")?)
    }

    fn computed(&self, tenant: TenantKey, revision: i64) -> Computed {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match cache.get(&tenant) {
            Some((at, computed)) if *at == revision => computed.clone(),
            Some(_) | None => {
                let computed = Computed::default();
                cache.put(tenant, (revision, computed.clone()));
                computed
            }
        }
    }
}

/// Computes the permissions of these roles, unless that is done, or waits while it is being done.
///
/// It takes milliseconds for many roles, so it has a thread of its own. It also has a task of its
/// own: a request that is given up must not waste what the next one needs.
async fn compute(
    computed: Computed,
    roles: BTreeMap<RoleId, role::Role>,
) -> anyhow::Result<Arc<RolePermissions>> {
    if let Some(done) = computed.get() {
        return Ok(done.clone());
    }
    let computing = tokio::spawn(async move {
        let decided = computed.get_or_try_init(|| decide_apart(roles)).await;
        decided.cloned()
    });
    computing.await?
}

async fn decide_apart(roles: BTreeMap<RoleId, role::Role>) -> anyhow::Result<Arc<RolePermissions>> {
    let runtime = Handle::current();
    let decided = spawn_blocking(move || runtime.block_on(decide(&roles)));
    Ok(Arc::new(decided.await??))
}

async fn decide(roles: &BTreeMap<RoleId, role::Role>) -> anyhow::Result<RolePermissions> {
    let enforcer = enforcer(roles).await?;
    let own = own_permissions(&enforcer)?;
    let custom = roles.keys().map(|id| Parent::Custom(*id));
    let all = BuiltInRole::ALL.into_iter().map(Parent::BuiltIn);
    let decided = all.chain(custom).map(|role| {
        let mut names = enforcer.get_implicit_roles_for_user(&name(role), None);
        names.push(name(role));
        let mut held = Permissions::new();
        let own = names.iter().filter_map(|name| own.get(name));
        own.for_each(|own| held.add_all(own));
        (role, held)
    });
    Ok(RolePermissions(decided.collect()))
}

/// Returns the permissions of the policies by the name of their role. Each query of casbin scans all
/// policies, and a tenant may have thousands, so they are read at once.
fn own_permissions(enforcer: &Enforcer) -> anyhow::Result<BTreeMap<String, Permissions>> {
    let mut own: BTreeMap<String, Permissions> = BTreeMap::new();
    for policy in enforcer.get_policy() {
        let [role, permission @ ..] = &policy[..] else {
            continue;
        };
        let name = permission.join("_");
        let permission = Permission::from_stored(&name).with_context(|| name)?;
        own.entry(role.clone()).or_default().insert(permission);
    }
    Ok(own)
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

fn policy(role: Parent, permission: Permission) -> Vec<String> {
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
    use std::{collections::BTreeSet, time::Duration};

    use events_schema::{EmailAddress, Id, Name, Time, project, tenant};
    use futures_util::{FutureExt as _, future::join_all};
    use tokio::time::{sleep, timeout};

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
            expected.add_all(&role.permissions);
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

    fn many_roles() -> BTreeMap<RoleId, role::Role> {
        let all = Permission::all();
        let parents = |at| Vec::from_iter((1..at).map(|one| Parent::Custom(custom(one))));
        let roles = (1..=30).map(|at| (custom(at), role(all, &parents(at))));
        roles.collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_at_once_compute_a_revision_once() {
        let cache = PermissionCache::new();
        let tenant = TenantKey(Id::from_bytes([9; 16]));
        let at = |revision| {
            let requests = (0..50).map(|_| compute(cache.computed(tenant, revision), many_roles()));
            join_all(requests)
        };
        let (first, second) = (at(1).await, at(2).await);
        let one = first[0].as_ref().unwrap();
        assert!(
            first
                .iter()
                .all(|other| Arc::ptr_eq(one, other.as_ref().unwrap()))
        );
        let two = second[0].as_ref().unwrap();
        assert!(!Arc::ptr_eq(one, two), "another revision is computed again");
    }

    #[tokio::test]
    async fn what_was_begun_for_a_request_that_is_given_up_is_kept() {
        let computed = Computed::default();
        let request = compute(computed.clone(), many_roles());
        assert!(request.now_or_never().is_none());
        let finished = async {
            while !computed.initialized() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let finished = timeout(Duration::from_secs(60), finished).await;
        finished.expect("nothing was computed");
    }

    #[tokio::test]
    async fn other_requests_go_on_while_permissions_are_computed() {
        let computing = tokio::spawn(compute(Computed::default(), many_roles()));
        let mut turns = 0;
        while !computing.is_finished() {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert!(turns > 100, "{turns}");
    }
}
