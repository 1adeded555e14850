//! A party that identifies people, which answers whatever a test wants: by OpenID Connect, as
//! GitHub and as Facebook.

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use data_encoding::BASE64URL_NOPAD;
use reqwest::Url;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::OwnedMutexGuard};

pub const CLIENT: &str = "us";
pub const CLIENT_SECRET: &str = "a secret of the provider";
pub const ACCESS_TOKEN: &str = "access-token-of-the-provider";

type Gate = tokio::sync::Mutex<()>;

/// It listens as long as the process lives.
#[derive(Clone)]
pub struct Provider {
    pub url: String,
    state: Arc<Inner>,
}

struct Inner {
    url: String,
    key: EcdsaKeyPair,
    foreign: EcdsaKeyPair,
    answers: Mutex<Answers>,
    /// What the code of each log-in is bound to.
    codes: Mutex<HashMap<String, Bound>>,
    redeemed: AtomicUsize,
    /// Verifiers that it was sent, and ID tokens that it has made.
    secrets: Mutex<Vec<String>>,
    /// While a test holds it, nobody who redeems a code gets an answer.
    gate: Arc<Gate>,
    /// How often it was asked for user info or addresses.
    asked: AtomicUsize,
}

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Own,
    /// By the key of somebody else.
    Foreign,
    /// Not at all.
    None,
    /// By a MAC whose key is public.
    Hs256,
}

#[derive(Clone)]
struct Answers {
    person: Value,
    /// Replaces these claims of the ID token.
    claims: Value,
    header: Value,
    user_info: Value,
    signed: Signed,
    keys: Option<Value>,
    metadata: Value,
    redirects: bool,
    is_silent: bool,
    delay: Duration,
}

#[derive(Clone)]
struct Bound {
    challenge: String,
    nonce: Option<String>,
    redirect_uri: String,
    /// Whether it must say when the person has logged in.
    is_timed: bool,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Inner {
            url: url.clone(),
            key: pair(),
            foreign: pair(),
            answers: Mutex::new(Answers {
                person: json!({ "sub": "7" }),
                claims: json!({}),
                header: json!({}),
                user_info: json!({}),
                signed: Signed::Own,
                keys: None,
                metadata: json!({}),
                redirects: false,
                is_silent: false,
                delay: Duration::ZERO,
            }),
            codes: Mutex::default(),
            redeemed: AtomicUsize::new(0),
            secrets: Mutex::default(),
            gate: Arc::default(),
            asked: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/moved", get(moved))
            .route("/authorize", get(|| async { "Who are you?" }))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(user_info))
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/user", get(github_user))
            .route("/api/v3/user/emails", get(github_emails))
            .route("/v24.0/dialog/oauth", get(|| async { "Who are you?" }))
            .route("/v24.0/oauth/access_token", post(token))
            .route("/v24.0/me", get(facebook_user))
            .with_state(state.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, state }
    }

    /// Whom all further log-ins are about: claims of OpenID Connect.
    pub fn identifies(&self, person: Value) {
        self.change(|answers| answers.person = person);
    }

    /// What further ID tokens say instead. A null removes a claim.
    pub fn claims(&self, claims: Value) {
        self.change(|answers| answers.claims = claims);
    }

    /// What the headers of further ID tokens say instead.
    pub fn header(&self, header: Value) {
        self.change(|answers| answers.header = header);
    }

    pub fn user_info(&self, claims: Value) {
        self.change(|answers| answers.user_info = claims);
    }

    pub fn signs(&self, signed: Signed) {
        self.change(|answers| answers.signed = signed);
    }

    /// The only keys that it publishes from now on. The text `own` stands for the key that it has.
    pub fn publishes(&self, mut keys: Value) {
        for key in keys.as_array_mut().unwrap() {
            if key == "own" {
                *key = own_key(&self.state);
            }
        }
        self.change(|answers| answers.keys = Some(keys));
    }

    /// What the discovery document says instead.
    pub fn describes(&self, metadata: Value) {
        self.change(|answers| answers.metadata = metadata);
    }

    /// Redirects requests for its discovery document to itself, where the document is.
    pub fn redirects(&self) {
        self.change(|answers| answers.redirects = true);
    }

    /// Never answers requests for its discovery document.
    pub fn is_silent(&self) {
        self.change(|answers| answers.is_silent = true);
    }

    /// How long each answer takes from now on, other than its discovery document.
    pub fn takes(&self, delay: Duration) {
        self.change(|answers| answers.delay = delay);
    }

    fn change(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.state.answers.lock().unwrap());
    }

    /// Answers no code that is redeemed until what this returns is dropped.
    pub async fn holds(&self) -> OwnedMutexGuard<()> {
        self.state.gate.clone().lock_owned().await
    }

    /// How many codes were redeemed.
    pub fn redeemed(&self) -> usize {
        self.state.redeemed.load(Ordering::SeqCst)
    }

    /// All verifiers that it was sent, and ID tokens that it has made.
    pub fn secrets(&self) -> Vec<String> {
        self.state.secrets.lock().unwrap().clone()
    }

    /// How often it was asked for more about a person than who they are.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// Whom a browser meets that arrives at this URL: returns the path and query at the gateway
    /// that it is sent back to.
    pub fn sends_back(&self, arrives_at: &str) -> String {
        let url = Url::parse(arrives_at).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code", "{url}");
        assert_eq!(query["code_challenge_method"], "S256", "{url}");
        assert_eq!(query["client_id"], CLIENT, "{url}");
        let code = event_store::random_id().unwrap().to_string();
        let bound = Bound {
            challenge: query["code_challenge"].clone(),
            nonce: query.get("nonce").cloned(),
            redirect_uri: query["redirect_uri"].clone(),
            is_timed: query.contains_key("max_age"),
        };
        let back = Url::parse(&bound.redirect_uri).unwrap();
        self.state.codes.lock().unwrap().insert(code.clone(), bound);
        let issuer = if url.path() == "/login/oauth/authorize" {
            format!("{}/login/oauth", self.url)
        } else {
            self.url.clone()
        };
        let issuer = issuer.replace(':', "%3A").replace('/', "%2F");
        let state = &query["state"];
        format!("{}?code={code}&state={state}&iss={issuer}", back.path())
    }
}

fn pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// Replaces fields of an object. A null removes one.
fn merge(object: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
    }
}

async fn metadata(State(state): State<Arc<Inner>>) -> Response {
    let answers = state.answers.lock().unwrap().clone();
    if answers.is_silent {
        return pending().await;
    }
    if answers.redirects {
        return Redirect::temporary(&format!("{}/moved", state.url)).into_response();
    }
    moved(State(state)).await.into_response()
}

/// The discovery document, wherever it is.
async fn moved(State(state): State<Arc<Inner>>) -> Json<Value> {
    let answers = state.answers.lock().unwrap().clone();
    let url = &state.url;
    let mut metadata = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "jwks_uri": format!("{url}/jwks"),
        "authorization_response_iss_parameter_supported": true,
    });
    merge(&mut metadata, &answers.metadata);
    Json(metadata)
}

async fn pause(state: &Inner) {
    let delay = state.answers.lock().unwrap().delay;
    tokio::time::sleep(delay).await;
}

fn own_key(state: &Inner) -> Value {
    let point = state.key.public_key().as_ref();
    let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
    json!({ "kty": "EC", "crv": "P-256", "kid": "own", "use": "sig", "x": x, "y": y })
}

async fn keys(State(state): State<Arc<Inner>>) -> Json<Value> {
    pause(&state).await;
    let keys = state.answers.lock().unwrap().keys.clone();
    Json(json!({ "keys": keys.unwrap_or_else(|| json!([own_key(&state)])) }))
}

async fn token(
    State(state): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    pause(&state).await;
    let form = Url::parse(&format!("http://form/?{body}")).unwrap();
    let form: HashMap<String, String> = form.query_pairs().into_owned().collect();
    let refused = || {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({ "error": "invalid_grant" })),
        )
    };
    // A code is redeemed once.
    let Some(bound) = state.codes.lock().unwrap().remove(&form["code"]) else {
        return refused().into_response();
    };
    let verifier = Sha256::digest(&form["code_verifier"]);
    if encoded(verifier) != bound.challenge || form["redirect_uri"] != bound.redirect_uri {
        return refused().into_response();
    }
    let is_oidc = uri.path() == "/token";
    if is_oidc {
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(authorization.starts_with("Basic "));
    } else {
        assert_eq!(form["client_secret"], CLIENT_SECRET);
    }
    state.redeemed.fetch_add(1, Ordering::SeqCst);
    drop(state.gate.lock().await);
    let mut tokens = json!({ "access_token": ACCESS_TOKEN, "token_type": "bearer" });
    if is_oidc {
        let id_token = id_token(&state, &bound);
        tokens["id_token"] = json!(id_token);
        let verifier = form["code_verifier"].clone();
        let mut secrets = state.secrets.lock().unwrap();
        secrets.extend([verifier, id_token]);
    }
    Json(tokens).into_response()
}

fn id_token(state: &Inner, bound: &Bound) -> String {
    let answers = state.answers.lock().unwrap().clone();
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": state.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": bound.nonce,
        "at_hash": encoded(&Sha256::digest(ACCESS_TOKEN)[..16]),
    });
    if bound.is_timed {
        claims["auth_time"] = json!(now);
    }
    merge(&mut claims, &answers.person);
    merge(&mut claims, &answers.claims);
    let alg = match answers.signed {
        Signed::Own | Signed::Foreign => "ES256",
        Signed::None => "none",
        Signed::Hs256 => "HS256",
    };
    let mut header = json!({ "alg": alg, "kid": "own" });
    merge(&mut header, &answers.header);
    let text = format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(claims.to_string())
    );
    let sign = |key: &EcdsaKeyPair| {
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        encoded(signature)
    };
    let signature = match answers.signed {
        Signed::Own => sign(&state.key),
        Signed::Foreign => sign(&state.foreign),
        Signed::None => String::new(),
        Signed::Hs256 => {
            let public = state.key.public_key();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_ref());
            encoded(ring::hmac::sign(&key, text.as_bytes()))
        }
    };
    format!("{text}.{signature}")
}

fn is_authorized(headers: &HeaderMap) -> bool {
    headers["authorization"] == format!("Bearer {ACCESS_TOKEN}")
}

/// The person, for whom the access token is.
fn person(state: &Inner, headers: &HeaderMap) -> Value {
    assert!(is_authorized(headers));
    state.answers.lock().unwrap().person.clone()
}

async fn user_info(State(state): State<Arc<Inner>>, headers: HeaderMap) -> Json<Value> {
    pause(&state).await;
    state.asked.fetch_add(1, Ordering::SeqCst);
    let mut info = person(&state, &headers);
    let changes = state.answers.lock().unwrap().user_info.clone();
    merge(&mut info, &changes);
    Json(info)
}

async fn github_user(State(state): State<Arc<Inner>>, headers: HeaderMap) -> Json<Value> {
    let person = person(&state, &headers);
    let id: u64 = person["sub"].as_str().unwrap().parse().unwrap();
    Json(json!({ "id": id, "login": "ada", "name": person["name"], "email": null }))
}

async fn github_emails(State(state): State<Arc<Inner>>, headers: HeaderMap) -> Json<Value> {
    state.asked.fetch_add(1, Ordering::SeqCst);
    let person = person(&state, &headers);
    let verified = person["email_verified"] == true;
    let mut addresses = vec![json!({
        "email": "other@example.com", "primary": false, "verified": true,
    })];
    if person["email"].is_string() {
        let primary = json!({
            "email": person["email"], "primary": true, "verified": verified, "visibility": null,
        });
        addresses.push(primary);
    }
    Json(json!(addresses))
}

async fn facebook_user(State(state): State<Arc<Inner>>, headers: HeaderMap) -> Json<Value> {
    let person = person(&state, &headers);
    Json(json!({
        "id": person["sub"], "first_name": "Ada", "last_name": "Lovelace",
        "name": "Ada Lovelace", "email": person["email"],
    }))
}
