//! Tenants: create, change, delete and find them.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use events_schema::{
    AreaName, HostName, Id, Name, Placement, SettingKey, SettingValue, Slug,
    tenant::{self, Settings},
};

use super::{
    field::FieldContext,
    loaders::Person,
    page::{Connection, connection},
    scalars::{DateTime, Success, expected, id_of, optional, parsed, to_id},
};
use crate::{
    backend::views::ViewDocument,
    error::Error,
    use_cases::{
        list::{IndexCheck, Page},
        tenant::{MEMBERSHIPS, NewTenant, TENANTS, TenantUpdate},
    },
};

pub(super) const INDEX_CHECKS: &[IndexCheck] =
    &[|| MEMBERSHIPS.check_indexes(), || TENANTS.check_indexes()];

pub(super) struct Tenant(pub(super) ViewDocument<tenant::View>);

/// A named value that the administrators of a tenant store for their own use.
#[derive(SimpleObject)]
struct Setting {
    /// Name of the setting: 1 to 50 of `a-z`, `0-9`, `_` and `-`.
    key: String,
    /// Value of the setting, up to 1,000 characters on one line.
    value: String,
}

/// What kind of database stores the data of a tenant.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum DatabaseKind {
    /// In the platform's database, beside other tenants.
    Shared,
    /// In a database of the tenant's own.
    Own,
}

/// Where the data of a tenant is stored for reading.
#[derive(SimpleObject)]
struct Database {
    /// The kind of database.
    kind: DatabaseKind,
    /// The operator's name for the MongoDB host. Null for the platform's host.
    host: Option<String>,
}

/// An organization whose data is kept apart from all others.
#[Object]
impl Tenant {
    /// Id of the tenant: 32 lower-case hex digits.
    async fn id(&self) -> ID {
        to_id(self.0.id)
    }

    /// Name of the tenant, 1 to 100 characters. Several tenants may have the same name.
    async fn name(&self) -> &str {
        self.0.view.name.as_str()
    }

    /// The tenant's short name in URLs: 3 to 40 of `a-z`, `0-9` and single dashes between them. No
    /// other tenant has it. Inputs call it `normalizedName`.
    async fn slug(&self) -> &str {
        self.0.view.slug.as_str()
    }

    /// The same as `slug`.
    async fn normalized_name(&self) -> &str {
        self.0.view.slug.as_str()
    }

    /// The person who created the tenant. Null if the account no longer exists.
    async fn founder(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        let loaders = FieldContext::of(ctx).loaders();
        loaders.person(self.0.view.founder).await
    }

    /// What the founder has named as the plan: 32 lower-case hex digits, or null. `billing` shows
    /// the plan that counts.
    async fn plan(&self) -> Option<ID> {
        self.0.view.plan.map(to_id)
    }

    /// The tenant's settings, in the order of their names; at most 50. `FORBIDDEN` without the
    /// permission `update_tenant` in the tenant.
    async fn settings(&self, ctx: &Context<'_>) -> Result<Option<Vec<Setting>>, Error> {
        self.ensure_shown(ctx, "settings").await?;
        let settings = self.0.view.settings.iter();
        let settings = settings.map(|(key, value)| Setting {
            key: key.as_str().to_owned(),
            value: value.as_str().to_owned(),
        });
        Ok(Some(settings.collect()))
    }

    /// Whether members must have proved two factors in their sessions.
    async fn requires_second_factor(&self) -> bool {
        self.0.view.requires_second_factor
    }

    /// Where the tenant's data is stored for reading. `FORBIDDEN` without the permission
    /// `update_tenant` in the tenant, except to the platform's administrators.
    async fn database(&self, ctx: &Context<'_>) -> Result<Option<Database>, Error> {
        self.ensure_shown(ctx, "database").await?;
        Ok(Some(match &self.0.view.placement {
            Placement::Shared => Database {
                kind: DatabaseKind::Shared,
                host: None,
            },
            Placement::Database { host } => Database {
                kind: DatabaseKind::Own,
                host: host.as_ref().map(ToString::to_string),
            },
        }))
    }

    /// When the tenant was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    /// When the tenant was last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Revision of the tenant: the number of its changes, the creation included. Pass it to
    /// `update` to detect a change that another client has made in the meantime.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

impl Tenant {
    /// Checks that the caller may read a field of this tenant, which need not be the one that the
    /// request names.
    async fn ensure_shown(&self, ctx: &Context<'_>, name: &'static str) -> Result<(), Error> {
        let field = FieldContext::of(ctx);
        let callers = &field.use_cases.tenants.callers;
        let held = callers.permissions_in(&self.0, field.caller).await?;
        field.ensure_shown(AreaName::Tenant, name, self.0.id, &held, false)
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "TenantQueries")]
impl Queries {
    /// The tenants that the caller is a member of, by pages: `first` and `after`, or `last` and
    /// `before`. A page has 50 tenants by default and at most 100. The oldest membership comes
    /// first. The request need not name a tenant.
    async fn tenants(
        &self,
        ctx: &Context<'_>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Tenant>>, Error> {
        let field = FieldContext::of(ctx);
        let page = Page {
            first,
            after,
            last,
            before,
        };
        let tenants = &field.use_cases.tenants;
        let listed = tenants.list_own(field.caller, &page, field.wanted());
        Ok(Some(connection(listed.await?, Tenant)))
    }

    /// A tenant that the caller is a member of, by id or normalized name. Without either, the
    /// tenant that the request is for. `NOT_FOUND` if it does not exist or the caller is not a
    /// member.
    async fn tenant(
        &self,
        ctx: &Context<'_>,
        id: Option<ID>,
        normalized_name: Option<String>,
    ) -> Result<Option<Tenant>, Error> {
        let field = FieldContext::of(ctx);
        let (caller, tenants) = (field.caller, &field.use_cases.tenants);
        let found = match (id, normalized_name) {
            (Some(_), Some(_)) => {
                let message = "normalizedName and id exclude each other. Give one of them.";
                return Err(Error::input("normalizedName", message));
            }
            (None, None) => field.membership()?.tenant.clone(),
            (Some(id), None) => tenants.get(caller, id_of(&id)?).await?,
            (None, Some(name)) => {
                let slug = Slug::parse(&name).map_err(|_| Error::NotFound)?;
                tenants.get_by_slug(caller, &slug).await?
            }
        };
        Ok(Some(Tenant(found)))
    }

    /// Whether a tenant can be created with this normalized name now. False if the name is
    /// malformed, reserved, taken, or rests.
    async fn tenant_available(
        &self,
        ctx: &Context<'_>,
        identifier: String,
    ) -> Result<Option<bool>, Error> {
        let Ok(slug) = Slug::choose(&identifier) else {
            return Ok(Some(false));
        };
        let tenants = &FieldContext::of(ctx).use_cases.tenants;
        Ok(Some(tenants.is_available(&slug).await?))
    }
}

/// Where to store the data of a new tenant.
#[derive(InputObject)]
struct TenantDatabaseInput {
    /// The kind of database.
    kind: DatabaseKind,
    /// Name of one of the operator's MongoDB hosts, only with `OWN`. The platform's host by
    /// default.
    host: Option<String>,
}

/// The data of a new tenant.
#[derive(InputObject)]
struct CreateTenantInput {
    /// Name of the tenant, 1 to 100 characters.
    name: String,
    /// Short name in URLs: 3 to 40 of `a-z`, `0-9` and single dashes between them. Derived from the
    /// name by default. `CONFLICT` if another tenant has it, or if it rests;
    /// `BAD_USER_INPUT` if it is reserved.
    normalized_name: Option<String>,
    /// A note of the plan that the founder wants: 32 lower-case hex digits. None by default. It
    /// changes nothing: `billing { changeSubscription }` chooses a plan.
    plan: Option<ID>,
    /// Where to store the data. By default, where the operator has chosen. `BAD_USER_INPUT` if the
    /// operator leaves no choice.
    database: Option<TenantDatabaseInput>,
}

/// A setting to store.
#[derive(InputObject)]
struct SettingInput {
    /// Name of the setting: 1 to 50 of `a-z`, `0-9`, `_` and `-`.
    key: String,
    /// Value of the setting, up to 1,000 characters on one line.
    value: String,
}

/// The change of a tenant. An absent field keeps its value.
#[derive(InputObject)]
struct UpdateTenantInput {
    /// New name, 1 to 100 characters.
    name: Option<String>,
    /// New short name in URLs: 3 to 40 of `a-z`, `0-9` and single dashes between them. The old one
    /// rests as long as the tenant had it, at most 90 days. `CONFLICT` if another tenant has it, or
    /// if it rests; `BAD_USER_INPUT` if it is reserved.
    normalized_name: Option<String>,
    /// Replaces all settings. `LIMIT_REACHED` if there are more than 50.
    settings: Option<Vec<SettingInput>>,
    /// The revision that the client has read. If the tenant has another one, nothing is changed and
    /// the error is `CONFLICT`.
    revision: Option<i64>,
}

/// The confirmation of a deletion.
#[derive(InputObject)]
struct DeleteTenantInput {
    /// Normalized name of the tenant that the request is for. `BAD_USER_INPUT` if it is another
    /// one.
    normalized_name: String,
}

#[derive(Default)]
pub(super) struct Mutations;

#[Object(name = "TenantMutations")]
impl Mutations {
    /// Changes of tenants.
    async fn tenant(&self) -> Option<TenantMutation> {
        Some(TenantMutation)
    }
}

pub(super) struct TenantMutation;

/// Changes of tenants.
#[Object(serial)]
impl TenantMutation {
    /// Creates a tenant. The caller becomes its first owner.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateTenantInput,
    ) -> Result<Option<Tenant>, Error> {
        let field = FieldContext::of(ctx);
        let name = parsed("name", &input.name, Name::parse)?;
        let slug = optional("normalizedName", input.normalized_name, Slug::choose)?;
        let slug = slug.map_or_else(|| Slug::of_name(&name), Ok);
        let new = NewTenant {
            slug: slug.map_err(Error::invalid("normalizedName"))?,
            name,
            plan: optional("plan", input.plan.map(|plan| plan.0), Id::parse)?,
            placement: input.database.map(placement).transpose()?,
        };
        let tenants = &field.use_cases.tenants;
        let created = tenants.create(field.caller, field.command_id()?, new);
        Ok(Some(Tenant(created.await?)))
    }

    /// Changes the tenant that the request is for.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateTenantInput,
    ) -> Result<Option<Tenant>, Error> {
        let field = FieldContext::of(ctx);
        let update = TenantUpdate {
            name: optional("name", input.name, Name::parse)?,
            slug: optional("normalizedName", input.normalized_name, Slug::choose)?,
            settings: input.settings.map(parse_settings).transpose()?,
            expected: expected(input.revision)?,
        };
        let tenants = &field.use_cases.tenants;
        let updated = tenants.update(field.caller, field.command_id()?, update);
        Ok(Some(Tenant(updated.await?)))
    }

    /// Requires of the members of the tenant that the request is for that they have proved two
    /// factors in their sessions, or no longer. Members get `STEP_UP_REQUIRED` or
    /// `SECOND_FACTOR_REQUIRED` in the tenant until they have; access tokens go on. Needs a fresh
    /// session with two factors.
    async fn require_second_factor(
        &self,
        ctx: &Context<'_>,
        required: bool,
    ) -> Result<Option<Tenant>, Error> {
        let field = FieldContext::of(ctx);
        let (tenants, id) = (&field.use_cases.tenants, field.command_id()?);
        let changed = tenants.require_second_factor(field.caller, id, required);
        Ok(Some(Tenant(changed.await?)))
    }

    /// Deletes the tenant that the request is for, permanently. Its data can no longer be read, and
    /// its normalized name rests as long as the tenant had it, at most 90 days.
    async fn delete(
        &self,
        ctx: &Context<'_>,
        input: DeleteTenantInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let slug = parsed("normalizedName", &input.normalized_name, Slug::parse)?;
        let tenants = &field.use_cases.tenants;
        tenants
            .delete(field.caller, field.command_id()?, slug)
            .await?;
        Success::yes()
    }
}

fn placement(input: TenantDatabaseInput) -> Result<Placement, Error> {
    let host = optional("host", input.host, HostName::parse)?;
    match (input.kind, host) {
        (DatabaseKind::Own, host) => Ok(Placement::Database { host }),
        (DatabaseKind::Shared, None) => Ok(Placement::Shared),
        (DatabaseKind::Shared, Some(_)) => {
            let message = "host must be left out, or kind must be OWN.";
            Err(Error::input("host", message))
        }
    }
}

fn parse_settings(inputs: Vec<SettingInput>) -> Result<Settings, Error> {
    let settings = inputs.into_iter().map(|setting| {
        let key = parsed("key", &setting.key, SettingKey::parse)?;
        let value = parsed("value", &setting.value, SettingValue::parse)?;
        Ok((key, value))
    });
    settings.collect()
}
