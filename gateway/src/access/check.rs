//! The check of an operation or a field against the area's access tables. Every transport runs it
//! before an operation, and before it shows a field that has a row; the rules themselves are in
//! [`Area::ACCESS`](events_schema::Area::ACCESS) and
//! [`Area::FIELDS`](events_schema::Area::FIELDS).

use events_schema::{Access, Permissions, Who, proof::TWO_FACTORS};

use crate::{error::Error, method::Method};

/// How a caller is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// The caller sent no valid credentials.
    None,
    /// The caller sent a valid access token.
    AccessToken,
    /// An administrator of the platform acts as a person, in one tenant and without any proof.
    Impersonated,
    /// The caller has a valid session.
    Session {
        is_platform_admin: bool,
        /// The level of what was proved in the session.
        aal: u8,
        /// The highest level that the account can reach.
        best_aal: u8,
        /// The ways to reach it.
        methods: &'static [Method],
        /// Whether it was proved within ten minutes, at that highest level.
        is_fresh: bool,
        /// Whether only a tenant's connection vouches for the person. The session is valid in that
        /// tenant alone.
        is_scoped: bool,
    },
}

/// What the check needs to know about a caller.
#[derive(Debug)]
pub(crate) struct Rights<'a> {
    pub(crate) credentials: Credentials,
    /// The permissions in the tenant that the request names, or why there are none.
    pub(crate) held: Result<&'a Permissions, Error>,
}

/// Checks that a caller may use an operation. An operation of the kind `OwnOr` is open to every
/// member here: only the domain knows whose the object is.
///
/// # Errors
/// `Unauthenticated` without valid credentials; `StepUpRequired` if the session is not fresh
/// enough; the error of `held` outside the tenant; `Forbidden` without the permission, if access
/// tokens may not use the operation, or if somebody acts as the person and it needs a proof,
/// concerns an account or is for the person alone; `StepUpRequired` if it concerns an account and
/// only a connection vouches for the person; `SecondFactorRequired` if the operation needs one and
/// the account has none.
pub(crate) fn allows(access: &Access, rights: Rights<'_>) -> Result<(), Error> {
    if access.who == Who::Anyone {
        return Ok(());
    }
    match rights.credentials {
        Credentials::None => return Err(Error::not_logged_in()),
        Credentials::AccessToken if !access.access_tokens => return Err(Error::Forbidden),
        Credentials::Impersonated if access.in_person || !access.who.is_of_tenant() => {
            return Err(Error::Forbidden);
        }
        Credentials::Session {
            is_scoped: true,
            methods,
            ..
        } if !access.who.is_of_tenant() && !access.by_connection => {
            return Err(Error::StepUpRequired { methods });
        }
        Credentials::AccessToken | Credentials::Impersonated | Credentials::Session { .. } => {}
    }
    if access.fresh {
        fresh(rights.credentials)?;
    }
    let allowed = match access.who {
        Who::Anyone | Who::SignedIn => true,
        Who::Member | Who::OwnOr(_) => rights.held.map(|_| true)?,
        Who::Permission(permission) => rights.held?.contains(&permission),
        Who::Platform => administers(rights.credentials).map(|()| true)?,
        Who::PlatformOr(permission) => {
            administers(rights.credentials).is_ok() || rights.held?.contains(&permission)
        }
    };
    if !allowed {
        return Err(Error::Forbidden);
    }
    if access.two_factors {
        two_factors(rights.credentials)?;
    }
    Ok(())
}

/// Checks that a caller may read a field of an object. `is_own` says whether the object is the
/// caller's own.
///
/// # Errors
/// Those of [`allows`].
pub(crate) fn shows(access: &Access, is_own: bool, rights: Rights<'_>) -> Result<(), Error> {
    match access.who {
        Who::OwnOr(permission) if !is_own => {
            let who = Who::Permission(permission);
            allows(&Access { who, ..*access }, rights)
        }
        Who::Anyone
        | Who::SignedIn
        | Who::Member
        | Who::Permission(_)
        | Who::OwnOr(_)
        | Who::PlatformOr(_)
        | Who::Platform => allows(access, rights),
    }
}

/// Checks that a caller has proved within ten minutes who they are.
///
/// # Errors
/// `Unauthenticated` without valid credentials; `Forbidden` for an access token, and for somebody
/// who acts as the person; `StepUpRequired` for a session that is not fresh.
pub(crate) fn fresh(credentials: Credentials) -> Result<(), Error> {
    match credentials {
        Credentials::None => Err(Error::not_logged_in()),
        Credentials::AccessToken | Credentials::Impersonated => Err(Error::Forbidden),
        Credentials::Session { is_fresh: true, .. } => Ok(()),
        Credentials::Session { methods, .. } => Err(Error::StepUpRequired { methods }),
    }
}

/// Checks that a caller has proved two factors.
///
/// # Errors
/// `Unauthenticated` without valid credentials; `Forbidden` for an access token, and for somebody
/// who acts as the person; `StepUpRequired` for a session that has not proved both factors of the
/// account; `SecondFactorRequired` if the account has no second one.
fn two_factors(credentials: Credentials) -> Result<(), Error> {
    match credentials {
        Credentials::None => Err(Error::not_logged_in()),
        Credentials::AccessToken | Credentials::Impersonated => Err(Error::Forbidden),
        Credentials::Session {
            aal,
            best_aal,
            methods,
            ..
        } => match (aal >= TWO_FACTORS, best_aal >= TWO_FACTORS) {
            (true, _) => Ok(()),
            (false, true) => Err(Error::StepUpRequired { methods }),
            (false, false) => Err(Error::SecondFactorRequired),
        },
    }
}

/// Checks that a caller is an administrator of the platform who has proved two factors. The word of
/// a tenant's connection makes nobody one.
fn administers(credentials: Credentials) -> Result<(), Error> {
    match credentials {
        Credentials::Session {
            is_platform_admin: true,
            is_scoped: false,
            ..
        } => two_factors(credentials),
        Credentials::None
        | Credentials::AccessToken
        | Credentials::Impersonated
        | Credentials::Session { .. } => Err(Error::Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AreaName, BuiltInRole, Permission, project};

    use super::*;
    use crate::testing::assert_generated;

    const METHODS: &[Method] = &[Method::Passkey];
    const PERSON: Credentials = session(false, 1, 1, true);
    const ADMIN: Credentials = session(true, 2, 2, true);

    const fn session(
        is_platform_admin: bool,
        aal: u8,
        best_aal: u8,
        is_fresh: bool,
    ) -> Credentials {
        Credentials::Session {
            is_platform_admin,
            aal,
            best_aal,
            methods: METHODS,
            is_fresh,
            is_scoped: false,
        }
    }

    /// An administrator of the platform, as far as a tenant's connection says.
    const SCOPED: Credentials = Credentials::Session {
        is_platform_admin: true,
        aal: 2,
        best_aal: 2,
        methods: METHODS,
        is_fresh: true,
        is_scoped: true,
    };

    /// The answer to a caller with these credentials, who holds `read_project` if a member.
    fn answer(access: Access, credentials: Credentials, is_member: bool) -> String {
        let held = Permissions::from([project::READ]);
        let held = if is_member {
            Ok(&held)
        } else {
            Err(Error::NotFound)
        };
        match allows(&access, Rights { credentials, held }) {
            Ok(()) => "allowed".to_owned(),
            Err(error) => format!("{error:?}").chars().take(9).collect(),
        }
    }

    #[test]
    fn each_kind_of_access_requires_its_own_credentials() {
        use Credentials::{AccessToken, None};
        let (read, delete) = (project::READ, project::DELETE);
        let (allowed, forbidden, unknown) = ("allowed", "Forbidden", "Unauthent");
        for (access, credentials, is_member, expected) in [
            (Access::anyone("x"), None, false, allowed),
            (Access::anyone("x"), AccessToken, true, allowed),
            (Access::signed_in("x"), None, false, unknown),
            (Access::signed_in("x"), AccessToken, true, forbidden),
            (Access::signed_in("x"), PERSON, false, allowed),
            (Access::member("x"), None, false, unknown),
            (Access::member("x"), PERSON, false, "NotFound"),
            (Access::member("x"), PERSON, true, allowed),
            (Access::member("x"), AccessToken, true, allowed),
            (Access::permission("x", read), PERSON, true, allowed),
            (Access::permission("x", read), AccessToken, true, allowed),
            (Access::permission("x", delete), PERSON, true, forbidden),
            (Access::permission("x", delete), PERSON, false, "NotFound"),
            (Access::own_or("x", delete), PERSON, true, allowed),
            (Access::own_or("x", delete), PERSON, false, "NotFound"),
            (Access::own_or("x", delete), None, false, unknown),
            (Access::platform("x"), PERSON, true, forbidden),
            (Access::platform("x"), AccessToken, true, forbidden),
            (Access::platform("x"), ADMIN, false, allowed),
            (Access::platform_or("x", delete), ADMIN, false, allowed),
            (Access::platform_or("x", read), PERSON, true, allowed),
            (Access::platform_or("x", read), AccessToken, true, allowed),
            (Access::platform_or("x", delete), PERSON, true, forbidden),
            (Access::platform_or("x", read), None, false, unknown),
        ] {
            let actual = answer(access, credentials, is_member);
            assert_eq!(actual, expected, "{access:?} {credentials:?} {is_member}");
        }
    }

    #[test]
    fn a_fresh_operation_refuses_sessions_that_are_not_and_all_access_tokens() {
        let methods = |credentials| match fresh(credentials) {
            Err(Error::StepUpRequired { methods }) => methods,
            other => panic!("{other:?}"),
        };
        let (stale, weak) = (session(false, 1, 1, false), session(false, 1, 2, false));
        assert_eq!(methods(stale), METHODS);
        assert_eq!(methods(weak), METHODS);
        let access = Access::permission("x", project::READ).fresh();
        assert_eq!(answer(access, stale, true), "StepUpReq");
        assert_eq!(answer(access, PERSON, true), "allowed");
        assert_eq!(answer(access, PERSON, false), "NotFound");
        assert_eq!(answer(access, Credentials::None, true), "Unauthent");
        assert_eq!(answer(access, Credentials::AccessToken, true), "Forbidden");
        let without_permission = Access::permission("x", project::DELETE).fresh();
        assert_eq!(answer(without_permission, stale, true), "StepUpReq");
    }

    #[test]
    fn an_administrator_who_acts_as_a_person_does_what_members_may_without_a_proof() {
        let answer = |access, is_member| answer(access, Credentials::Impersonated, is_member);
        let (read, delete) = (project::READ, project::DELETE);
        for allowed in [
            Access::anyone("x"),
            Access::member("x"),
            Access::permission("x", read),
            Access::permission("x", read).without_access_tokens(),
            Access::own_or("x", delete),
            Access::platform_or("x", read),
        ] {
            assert_eq!(answer(allowed, true), "allowed", "{allowed:?}");
        }
        for refused in [
            Access::signed_in("x"),
            Access::platform("x"),
            Access::permission("x", delete),
            Access::platform_or("x", delete),
            Access::member("x").fresh(),
            Access::permission("x", read).fresh(),
            Access::own_or("x", read).fresh(),
            Access::permission("x", read).in_person(),
            Access::own_or("x", read).in_person(),
        ] {
            assert_eq!(answer(refused, true), "Forbidden", "{refused:?}");
        }
        assert_eq!(answer(Access::member("x"), false), "NotFound");
    }

    #[test]
    fn a_session_by_a_connection_does_what_the_tenant_lets_it_and_nothing_else() {
        let answer = |access| answer(access, SCOPED, true);
        let (read, delete) = (project::READ, project::DELETE);
        for allowed in [
            Access::anyone("x"),
            Access::member("x"),
            Access::permission("x", read).fresh(),
            Access::own_or("x", delete),
            Access::platform_or("x", read),
            Access::signed_in("x").by_connection(),
        ] {
            assert_eq!(answer(allowed), "allowed", "{allowed:?}");
        }
        for refused in [
            Access::signed_in("x"),
            Access::signed_in("x").fresh(),
            Access::platform("x"),
        ] {
            assert_eq!(answer(refused), "StepUpReq", "{refused:?}");
        }
        assert_eq!(answer(Access::platform_or("x", delete)), "Forbidden");
    }

    #[test]
    fn an_administrator_of_the_platform_needs_two_factors() {
        let platform = Access::platform("x");
        let (without, unproved) = (session(true, 1, 1, true), session(true, 1, 2, true));
        assert_eq!(answer(platform, without, false), "SecondFac");
        assert_eq!(answer(platform, unproved, false), "StepUpReq");
        let or = Access::platform_or("x", project::DELETE);
        for admin in [without, unproved] {
            assert_eq!(answer(or, admin, true), "Forbidden");
        }
    }

    #[test]
    fn an_operation_that_needs_two_factors_refuses_sessions_that_have_not_proved_them() {
        let access = Access::permission("x", project::READ).two_factors();
        let unpermitted = Access::permission("x", project::DELETE).two_factors();
        for (credentials, expected) in [
            (session(false, 2, 2, false), "allowed"),
            (session(false, 1, 2, true), "StepUpReq"),
            (session(false, 1, 1, true), "SecondFac"),
            (Credentials::AccessToken, "Forbidden"),
            (Credentials::Impersonated, "Forbidden"),
            (Credentials::None, "Unauthent"),
        ] {
            assert_eq!(answer(access, credentials, true), expected);
        }
        assert_eq!(answer(unpermitted, PERSON, true), "Forbidden");
    }

    #[test]
    fn an_operation_without_access_tokens_refuses_them() {
        let access = Access::permission("x", project::READ).without_access_tokens();
        assert_eq!(answer(access, Credentials::AccessToken, true), "Forbidden");
        assert_eq!(answer(access, PERSON, true), "allowed");
    }

    #[test]
    fn a_field_of_an_object_of_others_needs_the_permission() {
        let shown = |permission, is_own| {
            let held = Permissions::from([project::READ]);
            let rights = Rights {
                credentials: PERSON,
                held: Ok(&held),
            };
            shows(&Access::own_or("x", permission), is_own, rights).is_ok()
        };
        assert!(shown(project::DELETE, true));
        assert!(shown(project::READ, false));
        assert!(!shown(project::DELETE, false));
    }

    fn holders(permission: Permission) -> String {
        let roles = BuiltInRole::ALL.into_iter().rev();
        let roles = roles.filter(|role| role.permissions().contains(&permission));
        let roles: Vec<_> = roles.map(BuiltInRole::as_str).collect();
        format!("{} ({permission})", roles.join(", "))
    }

    fn describe(access: &Access) -> String {
        let who = match access.who {
            Who::Anyone => "anyone".to_owned(),
            Who::SignedIn => "logged in".to_owned(),
            Who::Member => "every member".to_owned(),
            Who::Permission(permission) => holders(permission),
            Who::OwnOr(permission) => format!("own, or {}", holders(permission)),
            Who::PlatformOr(permission) => {
                format!("platform administrators, or {}", holders(permission))
            }
            Who::Platform => "platform administrators".to_owned(),
        };
        let people_only = match access.who {
            Who::Member | Who::Permission(_) | Who::OwnOr(_) | Who::PlatformOr(_) => {
                !access.access_tokens
            }
            Who::Anyone | Who::SignedIn | Who::Platform => false,
        };
        let people_only = people_only.then(|| "no access tokens".to_owned());
        let in_person = access.in_person.then(|| "in person".to_owned());
        let conditions = people_only.into_iter().chain(in_person);
        let conditions = conditions.chain(by_proof(access)).chain(by_plan(access));
        [who]
            .into_iter()
            .chain(conditions)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// What must be proved.
    fn by_proof(access: &Access) -> impl Iterator<Item = String> {
        let two_factors = access.two_factors || access.who == Who::Platform;
        let factors = two_factors.then(|| "two factors".to_owned());
        let fresh = access.fresh.then(|| "fresh".to_owned());
        let by_connection = access.by_connection;
        let by_connection = by_connection.then(|| "also by a connection alone".to_owned());
        factors.into_iter().chain(fresh).chain(by_connection)
    }

    /// What the plan of the tenant must allow.
    fn by_plan(access: &Access) -> impl Iterator<Item = String> {
        let creates = access.creates.then(|| "creates".to_owned());
        let feature = access.feature.map(|feature| format!("feature {feature}"));
        let limit = access.limit.map(|limit| format!("limit {limit}"));
        creates.into_iter().chain(feature).chain(limit)
    }

    #[test]
    fn the_reviewed_list_of_operations_and_fields_matches_the_access_tables() {
        let mut text = String::from(
            "# Who may use which operation; what they must have proved; what it needs of the \
             tenant's plan. Generated from the access tables in events-schema/src/; review every \
             change.\n",
        );
        for area in AreaName::ALL {
            for access in area.access() {
                text += &format!("{area}.{}: {}\n", access.verb, describe(access));
            }
        }
        text += "# Who may read which field, where reading the object is not enough.\n";
        for area in AreaName::ALL {
            for access in area.fields() {
                text += &format!("{area} {{ {} }}: {}\n", access.verb, describe(access));
            }
        }
        assert_generated("src/access/operations.txt", &text);
    }
}
