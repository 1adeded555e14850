//! The GraphQL API: parses requests, calls use cases and shows their answers.
//!
//! Each area has a module with its queries, mutations and types. `assemble!` takes all areas, so a
//! new one needs no more than a `mod` line.

mod access_token;
mod account;
mod actor;
mod area_name;
mod audit;
mod authentication;
mod billing;
mod connection;
mod credential;
pub(crate) mod cursor;
mod documents;
mod email;
mod enums;
pub(crate) mod errors;
mod extension;
mod feed;
mod field;
mod inbound_source;
mod limits;
mod loaders;
mod member;
mod money;
mod names;
mod operations;
mod order;
mod page;
mod passkey;
mod plan;
mod platform;
mod profile;
mod project;
mod provider;
mod recipient;
mod role;
mod role_object;
mod scalars;
mod security;
mod service;
mod session;
mod support;
mod task;
mod tenant;
mod tokens;
mod usage;
mod webhook;

#[cfg(test)]
mod webhook_objects;

use std::sync::Arc;

use async_graphql::{
    MergedObject, Request, Response, ServerError, Variables,
    parser::types::{DocumentOperations, OperationType},
};
use axum::http::{HeaderMap, HeaderName};
use futures_util::{Stream, StreamExt};

use self::{
    cursor::Cursors,
    documents::Documents,
    enums::Enums,
    extension::{Extensions, Noted, Notes},
    feed::SubscriptionRoot,
    loaders::Loaders,
    operations::Operations,
    order::Shape,
};
use crate::{
    identity::{
        Caller, RequestHead,
        cookie::Cookies,
        limits::{Budget, Limits},
    },
    security::SecurityEvents,
    use_cases::{UseCases, list::IndexCheck},
};

/// Merges what the modules of all areas export, and what belongs to no area alone. It is a macro,
/// since no function can define a type.
macro_rules! assemble {
    ($($area:ident: $module:ident $views:tt,)+) => {
        /// All reads. Most need a tenant. A request names it by the header `x-tenant` or the path
        /// `/t/<slug>/graphql`, unless the operator has chosen another way.
        ///
        /// A field that fails is null, and `errors` says why, by `extensions.code`:
        ///
        /// - `UNAUTHENTICATED`: log in first, or the credentials are wrong.
        /// - `FORBIDDEN`: the caller lacks a permission.
        /// - `STEP_UP_REQUIRED`: prove again who you are, by `account { stepUp }` with one of
        ///   `methods`.
        /// - `SECOND_FACTOR_REQUIRED`: add a second factor, by `credential { startTotp }`, or a passkey,
        ///   by `credential { startPasskey }`.
        /// - `SSO_REQUIRED`: the tenant demands its own issuer; log in again at `startUrl`.
        /// - `NOT_FOUND`: the object does not exist, or the caller must not learn that it does.
        /// - `BAD_USER_INPUT`: change the request; `field` names the input that is wrong.
        /// - `CONFLICT`: the current state does not allow the change.
        /// - `SOLE_OWNER`: the account is the only owner of `tenants`, each with `id` and `name`.
        /// - `PAYMENT_REQUIRED`: nothing can be created until the tenant pays or chooses a plan.
        /// - `FEATURE_NOT_IN_PLAN`: the plan of the tenant lacks `feature`, which `plans` have.
        /// - `LIMIT_REACHED`: the change would exceed a limit. If it is one of the plan, `limit`
        ///   names it, `allowed` is its value, `used` is how many there are, and `plans` allow
        ///   more.
        /// - `RATE_LIMITED`: wait for `retryAfter` seconds.
        /// - `PENDING`: the change may still be made; repeat the request with its
        ///   `Idempotency-Key`. `commandId` identifies the change.
        /// - `UNAVAILABLE`: the server cannot do this now, and this field has changed nothing; wait
        ///   for `retryAfter` seconds. `requestId` identifies the request.
        /// - `INTERNAL`: the server failed; `requestId` identifies the request.
        ///
        /// `extensions.reason` names the rule that refused a change, such as `last_owner`.
        #[derive(Default, MergedObject)]
        struct Query($($module::Queries,)+ audit::Queries, credential::Queries, platform::Queries, profile::Queries,
            provider::Queries, security::Queries);

        /// All changes, grouped by area. The changes of one request, at most ten, are made one
        /// after the other. With an `Idempotency-Key` header of 1 to 128 printable ASCII
        /// characters, a repeated request changes nothing twice.
        #[derive(Default, MergedObject)]
        struct Mutation($($module::Mutations,)+ credential::Mutations, platform::Mutations,
            profile::Mutations);

        /// The index checks of all lists.
        const INDEX_CHECKS: &[&[IndexCheck]] = &[$($module::INDEX_CHECKS),+];
    };
}
events_schema::areas!(assemble);

type Schema = async_graphql::Schema<Query, Mutation, SubscriptionRoot>;

/// The GraphQL API.
#[derive(Clone)]
pub(crate) struct Api {
    schema: Schema,
    documents: Arc<Documents>,
    enums: Arc<Enums>,
    use_cases: Arc<UseCases>,
    is_production: bool,
}

/// A request that is within the limits and may be executed.
pub(crate) struct Prepared {
    request: Request,
    is_subscription: bool,
    shape: Shape,
}

impl Api {
    /// Assembles the API on these use cases. In production, there is no introspection and no error
    /// suggests a name.
    ///
    /// # Errors
    /// If an operation has no row in an access table, a row has no operation, or a list lacks an
    /// index.
    pub(crate) fn new(
        use_cases: UseCases,
        cookies: Cookies,
        cursors: Cursors,
        limits: Limits,
        security: SecurityEvents,
        is_production: bool,
    ) -> anyhow::Result<Self> {
        let sdl = sdl();
        let operations = Operations::of(&sdl)?;
        check_indexes()?;
        let use_cases = Arc::new(use_cases);
        let builder = builder()
            .data(use_cases.clone())
            .data(cookies)
            .data(cursors)
            .data(limits)
            .data(security)
            .extension(Extensions(Arc::new(operations)));
        let schema = if is_production {
            builder.disable_introspection().disable_suggestions()
        } else {
            builder
        };
        Ok(Self {
            schema: schema.finish(),
            documents: Arc::new(Documents::new()),
            enums: Arc::new(Enums::of(&sdl)?),
            use_cases,
            is_production,
        })
    }

    /// Parses a request and checks it against the limits, before anything of it is executed.
    ///
    /// # Errors
    /// If it is not valid GraphQL or exceeds a limit.
    pub(crate) fn prepare(
        &self,
        query: String,
        operation_name: Option<String>,
        variables: Variables,
    ) -> Result<Prepared, ServerError> {
        let document = self.documents.parse(&query)?;
        self.enums.check(&document, &variables)?;
        let shape = Shape::of(&document, operation_name.as_deref());
        let is_subscription = is_subscription(&document.operations);
        let mut request = Request::new(query).variables(variables);
        request.operation_name = operation_name;
        request.set_parsed_query(document);
        Ok(Prepared {
            request,
            is_subscription,
            shape,
        })
    }

    /// Executes a query or mutation. Also returns the names of the operations that it consists of,
    /// such as `project.create`.
    pub(crate) async fn execute(&self, prepared: Prepared, caller: Caller) -> (Response, String) {
        let (request, notes) = self.with_data(prepared.request, caller);
        let response = self.schema.execute(request).await;
        complete(response, &notes, &prepared.shape)
    }

    /// Executes a subscription. `head` is the request that opened the connection.
    pub(crate) fn subscribe(
        &self,
        prepared: Prepared,
        caller: Caller,
        head: Arc<RequestHead>,
    ) -> impl Stream<Item = Response> + Send + use<> {
        let (request, notes) = self.with_data(prepared.request, caller);
        let responses = self.schema.execute_stream(request.data(head));
        responses.map(move |response| complete(response, &notes, &prepared.shape).0)
    }

    fn with_data(&self, request: Request, caller: Caller) -> (Request, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let loaders = Loaders::new(self.use_cases.clone());
        let request = request.data(caller).data(loaders).data(notes.clone());
        (request, notes)
    }

    /// Gives each error a code, and logs the cause of an internal one under the request's id.
    pub(crate) fn finish(&self, errors: &mut [ServerError], request_id: &str) {
        errors::finish(errors, request_id, !self.is_production);
    }
}

impl Prepared {
    /// Whether all operations are subscriptions.
    pub(crate) const fn is_subscription(&self) -> bool {
        self.is_subscription
    }
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, SubscriptionRoot> {
    Schema::build(Query::default(), Mutation::default(), SubscriptionRoot)
}

/// Returns the API in the schema definition language.
fn sdl() -> String {
    builder().finish().sdl()
}

fn is_subscription(operations: &DocumentOperations) -> bool {
    let mut all = operations.iter();
    all.all(|(_, operation)| operation.node.ty == OperationType::Subscription)
}

/// Adds what was noted about a request, and sorts fields as they were asked for. Returns the answer
/// and the operations that were executed.
fn complete(mut response: Response, notes: &Notes, shape: &Shape) -> (Response, String) {
    let too_large = notes.too_large();
    let Noted {
        executed,
        errors,
        budget,
        ..
    } = notes.take();
    let executed = executed.iter().map(|(area, verb)| format!("{area}.{verb}"));
    let executed = executed.collect::<Vec<_>>().join(",");
    if let Some(error) = too_large {
        return (Response::from_errors(vec![error.into()]), executed);
    }
    response.errors.extend(errors);
    if let Some(budget) = budget {
        add_budget(&mut response.http_headers, budget);
    }
    shape.sort(&mut response.data);
    (response, executed)
}

fn add_budget(headers: &mut HeaderMap, budget: Budget) {
    for (name, value) in [
        ("ratelimit-limit", u64::from(budget.limit)),
        ("ratelimit-remaining", u64::from(budget.remaining)),
        ("ratelimit-reset", budget.reset_secs),
    ] {
        headers.insert(HeaderName::from_static(name), value.into());
    }
}

fn check_indexes() -> anyhow::Result<()> {
    let mut checks = INDEX_CHECKS.iter().copied().flatten();
    checks.try_for_each(|check| check())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_generated;

    #[test]
    fn the_schema_in_the_repository_matches_the_code() {
        assert_generated("src/graphql/schema.graphql", &sdl());
    }

    #[test]
    fn every_filter_and_order_of_a_list_has_an_index() {
        assert!(INDEX_CHECKS.iter().copied().flatten().count() >= 6);
        check_indexes().unwrap();
    }
}
