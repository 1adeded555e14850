//! What happens around every field: its operation is checked before it is resolved, and a field
//! that fails is null.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_graphql::{
    PathSegment, QueryPathSegment, ServerError, ServerResult, Value, async_trait,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo},
};

use events_schema::{Access, AreaName, Who};

use super::operations::{Operation, Operations};
use crate::{
    error::Error,
    identity::{
        Caller,
        limits::{Budget, Limits},
    },
    security::{SecurityEvent, SecurityEvents},
};

/// What is noted about one request while its fields are resolved.
#[derive(Debug, Default)]
pub(super) struct Notes {
    noted: Mutex<Noted>,
    /// Bytes of texts in the answer so far.
    bytes: AtomicUsize,
}

/// Maximum bytes of texts in an answer: a page of 100 objects may show 40 KiB of each. Beyond it,
/// nothing more is read, and the answer is an error.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Maximum operations that are noted by name: as many mutations as a request may have.
const MAX_NAMED: usize = 10;

/// The notes about one request.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// The operations that were executed, each once.
    pub(super) executed: Vec<(AreaName, &'static str)>,
    /// The errors of those fields that were answered as null. The GraphQL library itself would
    /// leave such fields out.
    pub(super) errors: Vec<ServerError>,
    /// What the client has left of its limit, if the request counts.
    pub(super) budget: Option<Budget>,
    /// Fields that were refused, of those with a row in `FIELDS`.
    refused: BTreeSet<(AreaName, &'static str)>,
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_executed(&self, area: AreaName, verb: &'static str) {
        let executed = &mut self.lock().executed;
        if executed.len() < MAX_NAMED && !executed.contains(&(area, verb)) {
            executed.push((area, verb));
        }
    }

    /// Whether this field is refused for the first time in the request. A list may have it a
    /// hundred times, which must not fill the log.
    pub(super) fn is_first_refusal(&self, area: AreaName, field: &'static str) -> bool {
        self.lock().refused.insert((area, field))
    }

    /// Counts the text of a field.
    fn count(&self, value: Option<&Value>) {
        let bytes = match value {
            Some(Value::String(text)) => text.len(),
            // Fields of objects are counted one by one, and other values are short.
            Some(_) | None => return,
        };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the error of an answer that is too large.
    pub(super) fn too_large(&self) -> Option<Error> {
        (self.bytes.load(Ordering::Relaxed) > MAX_ANSWER).then(|| {
            Error::request("The answer is larger than 4 MiB. Ask for fewer objects or fields.")
        })
    }

    /// Removes and returns the notes so far. A subscription has many answers, and notes on each.
    pub(super) fn take(&self) -> Noted {
        self.bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut self.lock())
    }
}

/// Checks operations and answers failed fields as null.
pub(super) struct Extensions(pub(super) Arc<Operations>);

impl ExtensionFactory for Extensions {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self(self.0.clone()))
    }
}

#[async_trait::async_trait]
impl Extension for Extensions {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let is_nullable = !info.return_type.ends_with('!');
        let notes = ctx.data_unchecked::<Arc<Notes>>();
        let allowed = match notes.too_large() {
            Some(error) => Err(error),
            None => authorize(&self.0, ctx, &info).await,
        };
        let result = match allowed {
            Ok(()) => next.run(ctx, info).await,
            Err(error) => Err(located(error.into(), &info)),
        };
        if let Ok(value) = &result {
            notes.count(value.as_ref());
        }
        match result {
            Err(error) if is_nullable => {
                // One error is enough, instead of one for each field that is left.
                if notes.too_large().is_none() {
                    notes.lock().errors.push(error);
                }
                Ok(Some(Value::Null))
            }
            result => result,
        }
    }
}

async fn authorize(
    operations: &Operations,
    ctx: &ExtensionContext<'_>,
    info: &ResolveInfo<'_>,
) -> Result<(), Error> {
    let is_introspection = info.is_for_introspection || info.name.starts_with("__");
    if is_introspection || !operations.are_fields_of(info.parent_type) {
        return Ok(());
    }
    match operations.find(info.parent_type, info.name) {
        Some(Operation::Group) => Ok(()),
        Some(Operation::Access(area, access)) => {
            let caller = ctx.data_unchecked::<Caller>();
            let allowed = caller.may_use(access).await;
            if matches!(allowed, Err(Error::Forbidden)) {
                record_refusal(ctx, caller, area, access);
            }
            allowed?;
            if access.who == Who::Anyone {
                count_stranger(ctx, caller)?;
            }
            let notes = ctx.data_unchecked::<Arc<Notes>>();
            notes.add_executed(area, access.verb);
            Ok(())
        }
        None => Err(Error::Forbidden),
    }
}

/// Records a refused operation. A tenant learns only of those whose rules are its own.
fn record_refusal(
    ctx: &ExtensionContext<'_>,
    caller: &Caller,
    area: AreaName,
    access: &'static Access,
) {
    let membership = caller.membership.as_ref().ok();
    let tenant = membership.filter(|_| access.who.is_of_tenant());
    let tenant = tenant.map(|membership| membership.tenant.id);
    let security = ctx.data_unchecked::<SecurityEvents>();
    security.record_refusal(area, access, caller, tenant);
}

/// Counts an operation that needs no session. A session does not exempt from it: it would help
/// nobody but a guesser with an account.
fn count_stranger(ctx: &ExtensionContext<'_>, caller: &Caller) -> Result<(), Error> {
    let counted = ctx.data_unchecked::<Limits>().count_stranger(caller);
    let (result, budget) = match counted {
        Ok(budget) => (Ok(()), budget),
        Err((error, budget)) => {
            let security = ctx.data_unchecked::<SecurityEvents>();
            security.record(SecurityEvent::StrangerLimited, caller, None);
            (Err(error), budget)
        }
    };
    ctx.data_unchecked::<Arc<Notes>>().lock().budget = Some(budget);
    result
}

fn located(mut error: ServerError, info: &ResolveInfo<'_>) -> ServerError {
    error.locations.push(info.field.name.pos);
    let nodes = std::iter::once(info.path_node).chain(info.path_node.parents());
    error.path = nodes.map(|node| segment(node.segment)).collect();
    error.path.reverse();
    error
}

fn segment(segment: QueryPathSegment<'_>) -> PathSegment {
    match segment {
        QueryPathSegment::Index(at) => PathSegment::Index(at),
        QueryPathSegment::Name(name) => PathSegment::Field(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Request};

    use super::*;

    struct Root;

    #[Object]
    impl Root {
        async fn fails(&self) -> Result<Option<i32>, Error> {
            Err(Error::NotFound)
        }
        async fn works(&self) -> i32 {
            1
        }
        async fn inner(&self) -> Option<Inner> {
            Some(Inner)
        }
        async fn all(&self) -> Option<Vec<Inner>> {
            Some(vec![Inner, Inner])
        }
    }

    struct Inner;

    #[Object]
    impl Inner {
        async fn fails(&self) -> Result<Option<i32>, Error> {
            Err(Error::Forbidden)
        }
        async fn required(&self) -> Result<i32, Error> {
            Err(Error::Forbidden)
        }
    }

    async fn answer(query: &str) -> (String, usize) {
        let schema = async_graphql::Schema::build(Root, EmptyMutation, EmptySubscription)
            .extension(Extensions(Arc::default()))
            .finish();
        let errors = Arc::new(Notes::default());
        let request = Request::new(query).data(errors.clone());
        let response = schema.execute(request).await;
        let count = response.errors.len() + errors.take().errors.len();
        (serde_json::to_string(&response.data).unwrap(), count)
    }

    #[tokio::test]
    async fn a_field_that_fails_is_null_and_the_others_are_answered() {
        let (data, errors) = answer("{ a: fails b: works }").await;
        assert_eq!((data.as_str(), errors), (r#"{"a":null,"b":1}"#, 1));
        let (data, errors) = answer("{ fails }").await;
        assert_eq!((data.as_str(), errors), (r#"{"fails":null}"#, 1));
        let (data, errors) = answer("{ all { fails } }").await;
        let expected = r#"{"all":[{"fails":null},{"fails":null}]}"#;
        assert_eq!((data.as_str(), errors), (expected, 2));
    }

    #[test]
    fn each_operation_is_noted_once_and_no_more_than_ten() {
        let notes = Notes::default();
        let verbs = ["a", "b", "a", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        for verb in verbs {
            notes.add_executed(AreaName::Project, verb);
        }
        let noted = notes.take().executed.into_iter().map(|(_, verb)| verb);
        assert_eq!(noted.collect::<String>(), "abcdefghij");
    }

    #[test]
    fn a_field_that_is_refused_for_a_whole_list_is_recorded_once() {
        let notes = Notes::default();
        let refused = (0..100).filter(|_| notes.is_first_refusal(AreaName::Tenant, "settings"));
        assert_eq!(refused.count(), 1);
        assert!(notes.is_first_refusal(AreaName::Tenant, "database"));
    }

    #[test]
    fn each_answer_of_a_subscription_may_be_as_large() {
        let notes = Notes::default();
        let text = Value::String("x".repeat(MAX_ANSWER));
        for _ in 0..3 {
            notes.count(Some(&text));
            assert!(notes.too_large().is_none());
            notes.take();
        }
        notes.count(Some(&text));
        notes.count(Some(&Value::String("x".to_owned())));
        assert!(notes.too_large().is_some());
    }
}
