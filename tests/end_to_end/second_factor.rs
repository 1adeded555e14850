//! The second factor: adding it as a person does, logging in with it, and what guessers get.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use events_schema::{AreaName, Id, secret::ServerKey};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    step_up::STEP_UP,
    support::{
        Authenticator, Browser, CONFIRM_TOTP, OTHER_PASSWORD, PASSWORD, PLATFORM, START_TOTP,
        add_second_factor, administrator, bad_input, code_of, collections, credentials,
        documents_of, eventually, hold_commands, input, list, mongo, operator, start, succeeded,
        text, token,
    },
};

const ADA: &str = "ada@example.com";
pub const LOG_IN: &str = "
    mutation($input: LoginInput!) {
        account {
            login(input: $input) {
                user { email }
                session { id authentication { aal proofs { kind } } }
                challenge { methods expiresAt }
            }
        }
    }";
const CREDENTIALS: &str = "{ credentials { totpEnrolledAt recoveryCodesLeft } }";
const NEW_CODES: &str = "mutation { credential { newRecoveryCodes } }";
const REMOVE: &str = "mutation { credential { removeTotp { success } } }";

/// The variables of [`LOG_IN`] with a code of the second factor.
pub fn second(service: &str, code: &str) -> Value {
    input(json!({ "service": service, "params": { "code": code } }))
}

/// Proves the password in a new browser; the second factor is still to be proved.
async fn begins(backend: &local::Local) -> Browser {
    let browser = Browser::new(backend);
    let answer = browser.data(LOG_IN, credentials(ADA, PASSWORD)).await;
    let login = &answer["account"]["login"];
    assert_eq!(
        (&login["user"], &login["session"]),
        (&Value::Null, &Value::Null)
    );
    let methods = json!(["Totp", "RecoveryCode"]);
    assert_eq!(login["challenge"]["methods"], methods);
    assert!(!browser.is_logged_in().await);
    browser
}

async fn is_wrong(browser: &Browser, service: &str, code: &str) {
    let error = browser.error(LOG_IN, second(service, code)).await;
    assert_eq!(error, bad_input("code"), "{service} {code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_adds_an_authenticator_app_and_logs_in_with_it() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let nothing = json!({ "code": "000000" });
    assert_eq!(ada.error(CONFIRM_TOTP, nothing).await, bad_input("code"));
    let setup = ada.data(START_TOTP, ()).await["credential"]["startTotp"].clone();
    let secret = text(&setup, "/secret");
    let uri = format!("otpauth://totp/127.0.0.1:ada@example.com?secret={secret}&issuer=127.0.0.1");
    assert_eq!(setup["uri"], uri);
    let wrong = Authenticator::new(&"A".repeat(32)).next().await;
    let wrong = json!({ "code": wrong });
    assert_eq!(ada.error(CONFIRM_TOTP, wrong).await, bad_input("code"));
    // Until it is confirmed, nothing has changed.
    ada.log_in(ADA).await;
    let mut app = Authenticator::new(&secret);
    let code = json!({ "code": app.next().await });
    let confirmed = ada.data(CONFIRM_TOTP, code.clone()).await;
    assert_eq!(list(&confirmed["credential"]["confirmTotp"]).len(), 10);
    ada.mail(ADA, "authenticator app was added", 1).await;
    let shown = ada.data(CREDENTIALS, ()).await;
    assert_eq!(shown["credentials"]["recoveryCodesLeft"], 10);
    assert!(shown["credentials"]["totpEnrolledAt"].is_string());
    assert_eq!(ada.code(CONFIRM_TOTP, code).await, "CONFLICT");

    let phone = begins(&backend).await;
    is_wrong(&phone, "Totp", "000000").await;
    let right = second("Totp", &app.next().await);
    let answer = phone.data(LOG_IN, right).await;
    let login = &answer["account"]["login"];
    assert_eq!(
        (&login["user"]["email"], &login["challenge"]),
        (&json!(ADA), &Value::Null)
    );
    let authentication = &login["session"]["authentication"];
    let proofs = json!([{ "kind": "PASSWORD" }, { "kind": "TOTP" }]);
    assert_eq!(*authentication, json!({ "aal": 2, "proofs": proofs }));
    assert!(phone.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_the_app_is_used_once() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, _) = add_second_factor(&ada).await;
    let phone = begins(&backend).await;
    is_wrong(&phone, "Totp", &app.latest()).await;
    let right = second("Totp", &app.next().await);
    phone.data(LOG_IN, right.clone()).await;
    let thief = begins(&backend).await;
    is_wrong(&thief, "Totp", &app.latest()).await;
    // Nor does the browser that has used it gain a second session.
    assert_eq!(phone.code(LOG_IN, right).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_copies_of_a_code_lead_to_one_success() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, codes) = add_second_factor(&ada).await;
    for service in ["Totp", "RecoveryCode"] {
        let mut browsers = Vec::new();
        for _ in 0..10 {
            // One after the other: who logs in counts as a failure until the password is checked.
            browsers.push(begins(&backend).await);
        }
        // Not before, since ten log-ins may take longer than a code is valid.
        let code = match service {
            "Totp" => app.next().await,
            _ => codes[0].clone(),
        };
        let right = second(service, &code);
        let copies = browsers
            .iter()
            .flat_map(|browser| (0..5).map(|_| browser.gql(LOG_IN, right.clone())));
        let answers = join_all(copies).await;
        let succeeded = answers.iter().filter(|answer| succeeded(answer)).count();
        assert_eq!(succeeded, 1, "{service}: {answers:?}");
        // Counted beforehand, the other copies were wrong codes: the next one must wait.
        let refused = ["BAD_USER_INPUT", "RATE_LIMITED"];
        let mut others = answers.iter().filter(|answer| code_of(answer).is_string());
        assert!(others.all(|answer| refused.contains(&code_of(answer).as_str().unwrap())));
        forget_wrong_codes(&backend).await;
    }
}

/// As if a day had passed.
async fn forget_wrong_codes(backend: &local::Local) {
    let operator = operator(backend).await;
    let stream = operator.get_stream("KV_LOGINS").await.unwrap();
    stream.purge().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_serves_once_instead_of_the_app() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (_, codes) = add_second_factor(&ada).await;
    let phone = begins(&backend).await;
    let typed = codes[3].to_lowercase().replace('-', " ");
    phone.data(LOG_IN, second("RecoveryCode", &typed)).await;
    ada.mail(ADA, "one of your recovery codes", 1).await;
    let shown = phone.data(CREDENTIALS, ()).await;
    assert_eq!(shown["credentials"]["recoveryCodesLeft"], 9);
    let thief = begins(&backend).await;
    is_wrong(&thief, "RecoveryCode", &codes[3]).await;

    let new = phone.data(NEW_CODES, ()).await;
    let new = list(&new["credential"]["newRecoveryCodes"]);
    assert_eq!(new.len(), 10);
    is_wrong(&thief, "RecoveryCode", &codes[4]).await;
    thief
        .data(LOG_IN, second("RecoveryCode", new[0].as_str().unwrap()))
        .await;
    ada.mail(ADA, "new recovery codes", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recovery_codes_are_shown_even_if_no_session_begins_with_the_app() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    hold_commands(&backend, AreaName::Session).await;
    let (_app, codes) = add_second_factor(&ada).await;
    assert_eq!(codes.len(), 10);
    let shown = ada.data(CREDENTIALS, ()).await;
    assert_eq!(shown["credentials"]["recoveryCodesLeft"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_refused_for_the_account_counts_for_nobody() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    add_second_factor(&ada).await;
    let operator = operator(&backend).await;
    // As if others had tried many codes.
    let profile = ada.data("{ profile { id } }", ()).await;
    let account = Id::parse(&text(&profile, "/profile/id")).unwrap();
    let secret = backend.gateway().secrets.secret.clone();
    let key = ServerKey::new(secret, Vec::new());
    let key = key.id(&[b"code", b"account", account.bytes()]).to_string();
    let now = jiff::Timestamp::now().as_millisecond();
    let wrong = json!({ "failures": 60, "last_ms": now, "first_ms": now });
    let logins = operator.get_key_value("LOGINS").await.unwrap();
    let last = logins.put(key, wrong.to_string().into()).await.unwrap();
    let code = ada.code(STEP_UP, second("Totp", "000000")).await;
    assert_eq!(code, "RATE_LIMITED");
    let mut stream = operator.get_stream("KV_LOGINS").await.unwrap();
    let state = &stream.info().await.unwrap().state;
    assert_eq!(state.last_sequence, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_five_codes_and_the_owner_hears_of_them() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, _) = add_second_factor(&ada).await;
    let thief = begins(&backend).await;
    for code in 0..5 {
        is_wrong(&thief, "Totp", &format!("00000{code}")).await;
    }
    let right = second("Totp", &app.next().await);
    assert_eq!(thief.code(LOG_IN, right.clone()).await, "UNAUTHENTICATED");
    ada.mail(ADA, "five wrong codes", 1).await;
    let thief = begins(&backend).await;
    for code in 0..5 {
        is_wrong(&thief, "RecoveryCode", &format!("{code}")).await;
    }
    let thief = begins(&backend).await;
    assert_eq!(thief.code(LOG_IN, right).await, "RATE_LIMITED");
    assert_eq!(ada.mails_to(ADA, "five wrong codes").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_completed_only_where_it_was_begun_and_under_the_same_password() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, _) = add_second_factor(&ada).await;
    let right = second("Totp", &app.next().await);
    let elsewhere = Browser::new(&backend);
    assert_eq!(
        elsewhere.code(LOG_IN, right.clone()).await,
        "UNAUTHENTICATED"
    );
    let forged = elsewhere.with_header("cookie", "challenge=k1:AAAA");
    assert_eq!(forged.code(LOG_IN, right.clone()).await, "UNAUTHENTICATED");
    let phone = begins(&backend).await;
    let revoke = "mutation { account { revokeAllSessions { success } } }";
    ada.data(revoke, ()).await;
    eventually("the end of the log-in", || async {
        let answer = phone.gql(LOG_IN, second("Totp", "000000")).await;
        code_of(&answer) == "UNAUTHENTICATED"
    })
    .await;
    assert_eq!(phone.code(LOG_IN, right).await, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_password_does_not_replace_the_second_factor() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, _) = add_second_factor(&ada).await;
    let thief = Browser::new(&backend);
    let send = "mutation($input: EmailInput!) {
        account { sendResetPasswordEmail(input: $input) { success } }
    }";
    thief.data(send, input(json!({ "email": ADA }))).await;
    let link = token(&thief.mail(ADA, "new password", 1).await);
    let reset = "mutation($input: ResetPasswordInput!) {
        account { resetPassword(input: $input) { success } }
    }";
    let new = json!({ "token": link, "password": OTHER_PASSWORD });
    thief.data(reset, input(new)).await;
    assert!(!thief.is_logged_in().await);
    let answer = thief.data(LOG_IN, credentials(ADA, OTHER_PASSWORD)).await;
    assert!(answer["account"]["login"]["session"].is_null());
    thief.data(LOG_IN, second("Totp", &app.next().await)).await;
    assert!(thief.is_logged_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_second_factor_an_account_needs_the_password_only() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    assert_eq!(ada.code(NEW_CODES, ()).await, "CONFLICT");
    add_second_factor(&ada).await;
    ada.data(REMOVE, ()).await;
    ada.mail(ADA, "were removed", 1).await;
    ada.log_in(ADA).await;
    add_second_factor(&ada).await;
    begins(&backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_the_platform_removes_a_second_factor_that_was_lost() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    add_second_factor(&ada).await;
    let root = administrator(&backend, "root@example.com").await;
    let accounts = r#"{ platform { accounts(email: "ada@example.com") { nodes { id } } } }"#;
    let accounts = root.data(accounts, ()).await;
    let id = text(&accounts, "/platform/accounts/nodes/0/id");
    let remove = "mutation($id: ID!) { platform { removeSecondFactor(id: $id) { email } } }";
    let remove_of = json!({ "id": id });
    assert_eq!(ada.code(remove, remove_of.clone()).await, "FORBIDDEN");
    root.data(remove, remove_of).await;
    ada.mail(ADA, "were removed", 1).await;
    Browser::new(&backend).log_in(ADA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_view_has_a_seed_or_a_code() {
    let backend = start().await;
    let ada = Browser::signed_up(&backend, ADA).await;
    let (mut app, codes) = add_second_factor(&ada).await;
    let phone = begins(&backend).await;
    let used = app.next().await;
    phone.data(LOG_IN, second("Totp", &used)).await;
    let client = mongo(&backend).await;
    let mut stored = String::new();
    for view in collections(&client, PLATFORM).await {
        for document in documents_of(&backend, &view).await {
            stored += &document.to_string();
        }
    }
    assert!(stored.contains("last_step"), "the second factor is stored");
    let seed = BASE32_NOPAD.encode(app.seed());
    let hexadecimal = HEXLOWER.encode(app.seed());
    for secret in codes.iter().chain([&seed, &hexadecimal]) {
        assert!(!stored.contains(secret.as_str()), "{secret}");
        assert!(!stored.contains(&secret.replace('-', "")), "{secret}");
    }
}
