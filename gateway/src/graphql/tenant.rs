//! Tenants: found, see, change and end them; and who the caller is in one.

use std::collections::HashMap;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject, connection::Edge};
use events_schema::{
    HostName, Id, Name, Place, SettingKey, SettingValue, Slug, TenantId, founder_id,
    member::Membership, tenant,
};
use mongodb::bson::doc;
use tokio::time::Instant;

use super::{
    DateTime, Field, Success,
    connection::{Connection, Listing, Page, page},
    id_of,
    loaders::Person,
    member::Member,
};
use crate::{backend::views::Found, config::Strategy, error::Error};

/// An organisation whose data is apart from all others'.
pub(super) struct Tenant(pub(super) Found<tenant::View>);

/// Something that the tenant's owners wrote down.
#[derive(SimpleObject)]
struct Setting {
    key: String,
    value: String,
}

/// Where a tenant's views are kept.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum DatabaseKind {
    /// Beside those of other tenants.
    Shared,
    /// In a database of its own.
    Own,
}

/// Where a tenant's views are kept.
#[derive(SimpleObject)]
struct Database {
    kind: DatabaseKind,
    /// On which of the operator's hosts; none for the platform's.
    host: Option<String>,
}

#[Object]
impl Tenant {
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn name(&self) -> &str {
        self.0.view.name.as_str()
    }

    /// Its name in addresses.
    async fn normalized_name(&self) -> &str {
        self.0.view.slug.as_str()
    }

    /// Who founded it.
    async fn founder(&self, ctx: &Context<'_>) -> Result<Option<Person>, Error> {
        Field::of(ctx).loaders().person(self.0.view.founder).await
    }

    /// The plan that it is billed by.
    async fn plan(&self) -> Option<ID> {
        self.0.view.plan.map(|plan| plan.to_string().into())
    }

    async fn settings(&self) -> Vec<Setting> {
        let settings = self.0.view.settings.iter();
        settings
            .map(|(key, value)| Setting {
                key: key.as_str().to_owned(),
                value: value.as_str().to_owned(),
            })
            .collect()
    }

    async fn database(&self) -> Database {
        match &self.0.view.place {
            Place::Shared => Database {
                kind: DatabaseKind::Shared,
                host: None,
            },
            Place::Database { host } => Database {
                kind: DatabaseKind::Own,
                host: host.as_ref().map(ToString::to_string),
            },
        }
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.view.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.view.updated_at)
    }

    /// Counts the changes.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
}

/// The caller, in the tenant that the request names.
#[derive(SimpleObject)]
struct Me {
    tenant: Tenant,
    member: Member,
    /// All that this request may do there, such as `read_project`.
    permissions: Vec<String>,
}

#[derive(Default)]
pub(crate) struct TenantQueries;

#[Object]
impl TenantQueries {
    /// The tenants that the caller belongs to, in the order in which they joined.
    async fn tenants(
        &self,
        ctx: &Context<'_>,
        first: Option<i64>,
        after: Option<String>,
        last: Option<i64>,
        before: Option<String>,
    ) -> Result<Option<Connection<Tenant>>, Error> {
        let field = Field::of(ctx);
        let account = field.caller.person()?.account_id();
        let listing = Listing {
            filter: doc! { "view.account": account.to_string() },
            order: "since",
            descending: false,
        };
        let wanted = Page {
            first,
            after,
            last,
            before,
        };
        let joined = page::<Membership, Joined>(ctx, &field.platform(), wanted, listing, |found| {
            Joined(found.view.tenant)
        })
        .await?;
        let ids = joined.edges.iter().filter_map(|edge| edge.node.id());
        let tenants = field.platform().get_all::<tenant::View>(ids).await?;
        let mut tenants: HashMap<Id, _> =
            tenants.into_iter().map(|found| (found.id, found)).collect();
        let mut connection = Connection::with_additional_fields(
            joined.has_previous_page,
            joined.has_next_page,
            joined.additional_fields,
        );
        // One that was ended meanwhile is passed over.
        let shown = joined.edges.into_iter().filter_map(|edge| {
            Some(Edge::new(
                edge.cursor,
                Tenant(tenants.remove(&edge.node.id()?)?),
            ))
        });
        connection.edges.extend(shown);
        Ok(Some(connection))
    }

    /// A tenant that the caller belongs to, by its id or normalized name; without either, the one
    /// that the request names.
    async fn tenant(
        &self,
        ctx: &Context<'_>,
        id: Option<ID>,
        normalized_name: Option<String>,
    ) -> Result<Option<Tenant>, Error> {
        let field = Field::of(ctx);
        let account = field.caller.person()?.account_id();
        let platform = field.platform();
        let found = match (id, normalized_name) {
            (Some(_), Some(_)) => {
                return Err(Error::input(
                    "normalizedName",
                    "Give id or normalizedName, not both.",
                ));
            }
            (None, None) => return Ok(Some(Tenant(field.caller.membership()?.tenant.clone()))),
            (Some(id), None) => platform.get::<tenant::View>(id_of(&id)?).await?,
            (None, Some(name)) => {
                let slug = Slug::parse(&name).map_err(|_| Error::NotFound)?;
                platform
                    .find_one::<tenant::View>(doc! { "view.slug": slug.as_str() })
                    .await?
            }
        };
        let found = found.ok_or(Error::NotFound)?;
        let belongs =
            doc! { "view.account": account.to_string(), "view.tenant": found.id.to_string() };
        platform
            .find_one::<Membership>(belongs)
            .await?
            .ok_or(Error::NotFound)?;
        Ok(Some(Tenant(found)))
    }

    /// Whether a tenant may be founded under this normalized name now.
    async fn tenant_available(
        &self,
        ctx: &Context<'_>,
        identifier: String,
    ) -> Result<Option<bool>, Error> {
        let Ok(slug) = Slug::choose(&identifier) else {
            return Ok(Some(false));
        };
        let taken = Field::of(ctx)
            .platform()
            .find_one::<tenant::View>(doc! { "view.slug": slug.as_str() })
            .await?;
        Ok(Some(taken.is_none()))
    }

    /// The caller, in the tenant that the request names.
    async fn me(&self, ctx: &Context<'_>) -> Result<Option<Me>, Error> {
        let membership = Field::of(ctx).caller.membership()?;
        Ok(Some(Me {
            tenant: Tenant(membership.tenant.clone()),
            member: Member(membership.member.clone()),
            permissions: membership.rights.iter().map(ToString::to_string).collect(),
        }))
    }
}

/// The node of a page of memberships, on the way to one of tenants.
struct Joined(TenantId);

#[Object(name = "JoinedTenant", visible = false)]
impl Joined {
    async fn tenant(&self) -> ID {
        self.0.to_string().into()
    }
}

impl Joined {
    fn id(&self) -> Option<Id> {
        match self.0 {
            TenantId::Platform => None,
            TenantId::Tenant(id) => Some(id),
        }
    }
}

#[derive(InputObject)]
struct TenantDatabaseInput {
    kind: DatabaseKind,
    /// One of the operator's hosts.
    host: Option<String>,
}

#[derive(InputObject)]
struct CreateTenantInput {
    name: String,
    /// 3 to 40 of a-z, 0-9 and dashes; by default made of the name.
    normalized_name: Option<String>,
    /// The plan that it is to be billed by.
    plan: Option<ID>,
    /// Where its views are kept; for deployments that leave that to whoever founds a tenant.
    database: Option<TenantDatabaseInput>,
}

#[derive(InputObject)]
struct SettingInput {
    key: String,
    value: String,
}

/// What to change; what is absent stays.
#[derive(InputObject)]
struct UpdateTenantInput {
    name: Option<String>,
    normalized_name: Option<String>,
    /// All settings, anew.
    settings: Option<Vec<SettingInput>>,
    /// The revision that was read; at any other, nothing is changed and the answer is CONFLICT.
    revision: Option<i64>,
}

#[derive(InputObject)]
struct DeleteTenantInput {
    /// Said once more by whoever means it.
    normalized_name: String,
}

/// Tenants.
pub(crate) struct TenantMutation;

#[Object(serial)]
impl TenantMutation {
    /// Founds a tenant; the caller becomes its owner.
    async fn create(
        &self,
        ctx: &Context<'_>,
        input: CreateTenantInput,
    ) -> Result<Option<Tenant>, Error> {
        let field = Field::of(ctx);
        let identity = field.caller.person()?;
        let name = Name::parse(&input.name).map_err(Error::invalid("name"))?;
        let slug = input
            .normalized_name
            .map_or_else(|| Slug::of_name(&name), |text| Slug::choose(&text));
        let slug = slug.map_err(Error::invalid("normalizedName"))?;
        let plan = input
            .plan
            .map(|plan| Id::parse(&plan))
            .transpose()
            .map_err(Error::invalid("plan"))?;
        let place = place(&field, input.database)?;
        let (owner, email) = (identity.account_id(), identity.account.view.email.clone());
        let (platform, id) = (field.platform(), field.command_id()?);
        let create = tenant::Command::Create {
            name,
            slug,
            owner,
            email,
            plan,
            place,
        };
        field.send::<tenant::View>(&platform, id.0, create).await?;
        let tenant = platform
            .get::<tenant::View>(id.0)
            .await?
            .ok_or(Error::NotFound)?;
        // The owner's place there follows by a reaction; whoever has the answer can go on at once.
        let deadline = Instant::now() + field.state.config.command_timeout();
        let views = field.state.views.of(&tenant)?;
        let founder = founder_id(tenant.id);
        let inside = views
            .wait_for::<events_schema::member::View>(founder, 1, deadline)
            .await?;
        let listed = platform
            .wait_for::<Membership>(founder, 1, deadline)
            .await?;
        if inside && listed {
            Ok(Some(Tenant(tenant)))
        } else {
            Err(Error::Pending(id))
        }
    }

    /// Changes the tenant that the request names.
    async fn update(
        &self,
        ctx: &Context<'_>,
        input: UpdateTenantInput,
    ) -> Result<Option<Tenant>, Error> {
        let field = Field::of(ctx);
        let (platform, id) = (field.platform(), field.caller.membership()?.tenant.id);
        let setting = |input: SettingInput| {
            let key = SettingKey::parse(&input.key).map_err(Error::invalid("key"))?;
            Ok((
                key,
                SettingValue::parse(&input.value).map_err(Error::invalid("value"))?,
            ))
        };
        let update = tenant::Command::Update {
            name: input
                .name
                .as_deref()
                .map(Name::parse)
                .transpose()
                .map_err(Error::invalid("name"))?,
            slug: input
                .normalized_name
                .as_deref()
                .map(Slug::choose)
                .transpose()
                .map_err(Error::invalid("normalizedName"))?,
            settings: input
                .settings
                .map(|all| all.into_iter().map(setting).collect::<Result<_, Error>>())
                .transpose()?,
        };
        field
            .send_at::<tenant::View>(&platform, id, input.revision, update)
            .await?;
        Ok(Some(Tenant(
            platform.get(id).await?.ok_or(Error::NotFound)?,
        )))
    }

    /// Ends the tenant that the request names, for ever. Its data is out of reach at once, its
    /// normalized name free.
    async fn delete(
        &self,
        ctx: &Context<'_>,
        input: DeleteTenantInput,
    ) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let slug = Slug::parse(&input.normalized_name).map_err(Error::invalid("normalizedName"))?;
        let id = field.caller.membership()?.tenant.id;
        field
            .send::<tenant::View>(&field.platform(), id, tenant::Command::Delete { slug })
            .await?;
        Success::yes()
    }
}

fn place(field: &Field<'_>, wanted: Option<TenantDatabaseInput>) -> Result<Place, Error> {
    let config = &field.state.config;
    match (config.tenant_databases, wanted) {
        (Strategy::Shared, None) | (Strategy::Hybrid, None) => Ok(Place::Shared),
        (Strategy::Database, None) => Ok(Place::Database { host: None }),
        (Strategy::Shared | Strategy::Database, Some(_)) => Err(Error::input(
            "database",
            "Here the operator decides where tenants are kept; leave database out.",
        )),
        (
            Strategy::Hybrid,
            Some(TenantDatabaseInput {
                kind: DatabaseKind::Shared,
                host: None,
            }),
        ) => Ok(Place::Shared),
        (
            Strategy::Hybrid,
            Some(TenantDatabaseInput {
                kind: DatabaseKind::Shared,
                host: Some(_),
            }),
        ) => Err(Error::input(
            "host",
            "A host goes with a database of the tenant's own.",
        )),
        (
            Strategy::Hybrid,
            Some(TenantDatabaseInput {
                kind: DatabaseKind::Own,
                host,
            }),
        ) => {
            let host = host
                .as_deref()
                .map(HostName::parse)
                .transpose()
                .map_err(Error::invalid("host"))?;
            let known = host
                .as_ref()
                .is_none_or(|host| config.mongo_hosts.iter().any(|(name, _)| name == host));
            if known {
                Ok(Place::Database { host })
            } else {
                Err(Error::input(
                    "host",
                    "host is none of the operator's hosts.",
                ))
            }
        }
    }
}
