//! Passwords: which are acceptable, and hashing them with argon2id in a bounded pool. No other part
//! of the system sees a password.
//!
//! The rules follow NIST SP 800-63B-4: a minimum length, and nothing that is easy to guess. There is
//! no rule about kinds of characters.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
    time::Instant,
};

use anyhow::{Context as _, anyhow};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc},
};
use event_store::{random_bytes, telemetry};
use events_schema::{Origin, PasswordHash};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use zxcvbn::{Score, zxcvbn};

use crate::{
    config::Config,
    error::Error,
    identity::{
        admission::{Admission, Gate},
        compromised::Compromised,
    },
};

/// Memory of one hash, in KiB. With two passes and one lane it is the minimum that OWASP recommends
/// (2023), and takes 20 to 50 ms.
const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory of one hash.
const PASSES: u32 = 2;
/// Maximum characters in a password. Hashing longer texts would cost too much.
const MAX_LENGTH: usize = 128;
/// Maximum hashes that wait for a processor: about one second of work on two processors.
const MAX_WAITING: usize = 64;

/// The name of the product, which anybody would try first.
const PRODUCT: &str = "Ultimate Backend";

static WAIT: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time that a password waited for a processor to be hashed.";
    telemetry::seconds("ub.password.wait_time", description)
});

/// The least score of a new password, of 0 to 4: an attacker needs a hundred million guesses.
const MIN_SCORE: Score = Score::Three;

/// Characters of a password that are estimated. With 100 of many symbols, an estimate would take
/// most of a second. If so many are hard to guess, all are.
const ESTIMATED: usize = 32;

/// The answer to a compromised password.
const COMPROMISED: &str = "This password was found in a data leak, so attackers try it. Choose another \
                        one, such as four random words.";

/// Hashes and checks passwords, as many at once as there are processors.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    min_length: usize,
    running: Arc<Semaphore>,
    gate: Gate,
    /// What a password is checked against if there is no account, so that the check takes as long.
    decoy: PasswordHash,
    /// What everybody knows about the product.
    product: Vec<String>,
    compromised: Option<Compromised>,
}

impl Passwords {
    /// Makes the pool and checks the file of compromised passwords, as the configuration says.
    ///
    /// # Errors
    /// If hashing fails, or there is a file of compromised passwords that cannot serve.
    pub(crate) async fn new(config: &Config) -> anyhow::Result<Self> {
        let file = config.pwned_passwords.clone();
        let opened = spawn_blocking(|| file.map(open_compromised).transpose());
        let compromised = opened.await??;
        let product = vec![PRODUCT.to_owned(), config.posture.public_url.clone()];
        Self::with(config.password_min_length, product, compromised).await
    }

    async fn with(
        min_length: u8,
        product: Vec<String>,
        compromised: Option<Compromised>,
    ) -> anyhow::Result<Self> {
        let processors = available_parallelism().map_or(1, Into::into);
        let decoy = spawn_blocking(|| hash("nobody has this password")).await??;
        Ok(Self {
            product,
            compromised,
            min_length: min_length.into(),
            running: Arc::new(Semaphore::new(processors)),
            gate: Gate::new(processors + MAX_WAITING),
            decoy,
        })
    }

    /// Checks the length of a new password. `field` is the input that it came in.
    ///
    /// # Errors
    /// `BadUserInput` if it is too short or too long.
    pub(crate) fn check_length(&self, field: &'static str, password: &str) -> Result<(), Error> {
        let (length, min) = (password.chars().count(), self.min_length);
        let obstacle = if length < min {
            format!("The password must have at least {min} characters.")
        } else if length > MAX_LENGTH {
            format!("The password must have at most {MAX_LENGTH} characters.")
        } else {
            return Ok(());
        };
        Err(Error::input(field, obstacle))
    }

    /// Waits until the client that sends this request may have a password hashed or checked.
    ///
    /// # Errors
    /// `RateLimited` if it has too many in progress, or waits for more than ten seconds.
    pub(crate) async fn admit(&self, origin: &Origin) -> Result<Admission, Error> {
        self.gate.admit(origin).await
    }

    /// Hashes a new password, unless it is compromised or easy to guess. `field` is the input that it
    /// came in, and `known` is what everybody may know about its owner.
    ///
    /// # Errors
    /// `BadUserInput` if it is compromised or easy to guess. Also if the file of compromised
    /// passwords cannot be read.
    pub(crate) async fn hash(
        &self,
        admission: &Admission,
        field: &'static str,
        password: String,
        mut known: Vec<String>,
    ) -> Result<PasswordHash, Error> {
        known.extend(self.product.iter().cloned());
        let compromised = self.compromised.clone();
        let work = move || {
            if is_compromised(compromised.as_ref(), &password)? {
                return Err(Error::input(field, COMPROMISED));
            }
            if let Some(obstacle) = weakness(&password, &known) {
                return Err(Error::input(field, obstacle));
            }
            Ok(hash(&password)?)
        };
        self.run(admission, work).await?
    }

    /// Whether the password has this hash. Without a hash the answer is no after the same time,
    /// which does not reveal that there is no account.
    ///
    /// # Errors
    /// If the stored hash cannot be read.
    pub(crate) async fn matches(
        &self,
        admission: &Admission,
        mut password: String,
        stored: Option<&PasswordHash>,
    ) -> Result<bool, Error> {
        // A longer password was never accepted, and hashing it would cost too much.
        if password.chars().count() > MAX_LENGTH {
            password.clear();
        }
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).clone();
        let verified = self.run(admission, move || verify(&password, &stored));
        Ok(verified.await?? && known)
    }

    /// Whether a hash is weaker than a new one would be. One that is stronger stays: a gateway of a
    /// newer release has made it.
    pub(crate) fn is_outdated(stored: &PasswordHash) -> bool {
        let Ok(stored) = phc::PasswordHash::new(stored.as_str()) else {
            return false;
        };
        let is_argon2id = stored.algorithm.as_str() == Algorithm::Argon2id.as_str();
        let params = Params::try_from(&stored).map(|params| {
            params.m_cost() >= MEMORY_KIB && params.t_cost() >= PASSES && params.p_cost() >= 1
        });
        !is_argon2id || !params.unwrap_or(false)
    }

    /// Hashes a password once more that was accepted before.
    ///
    /// # Errors
    /// If hashing fails.
    pub(crate) async fn rehash(
        &self,
        admission: &Admission,
        password: String,
    ) -> Result<PasswordHash, Error> {
        Ok(self.run(admission, move || hash(&password)).await??)
    }

    /// Whether a password that was proved is compromised. An error is only logged, since the
    /// password is right.
    pub(crate) async fn is_compromised(&self, admission: &Admission, password: String) -> bool {
        let compromised = self.compromised.clone();
        let search = move || is_compromised(compromised.as_ref(), &password);
        let found = self.run(admission, search).await;
        let found = found.and_then(|found| Ok(found?));
        found.unwrap_or_else(|error| {
            tracing::warn!(?error, "a password was not compared with compromised ones");
            false
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        admission: &Admission,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let asked = Instant::now();
        let running = self.running.clone().acquire_owned().await;
        let running = running.context("hashing a password")?;
        WAIT.record(asked.elapsed().as_secs_f64(), &[]);
        // The permits go with the work, which goes on even if the request is dropped.
        let bounded = move |_permits: (Admission, OwnedSemaphorePermit)| work();
        let permits = (admission.clone(), running);
        let done = spawn_blocking(move || bounded(permits)).await;
        Ok(done.context("hashing a password")?)
    }
}

fn open_compromised(path: PathBuf) -> anyhow::Result<Compromised> {
    let opened = Compromised::open(&path);
    opened.with_context(|| format!("UB_PWNED_PASSWORDS {}", path.display()))
}

fn is_compromised(compromised: Option<&Compromised>, password: &str) -> anyhow::Result<bool> {
    let found = compromised.map(|compromised| compromised.contains(password));
    Ok(found.transpose()?.unwrap_or(false))
}

/// Says why a password is easy to guess; `None` if it is not. The estimate costs less than a
/// millisecond for words, and less than a hash whatever the password is.
fn weakness(password: &str, known: &[String]) -> Option<String> {
    // A part of an address or a name is known, too. The estimate looks for lower case.
    let known: Vec<String> = known.iter().map(|text| text.to_lowercase()).collect();
    let parts = known
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let parts = parts.filter(|part| part.chars().count() > 2);
    let words: Vec<&str> = parts.chain(known.iter().map(String::as_str)).collect();
    let begin: String = password.chars().take(ESTIMATED).collect();
    let estimate = zxcvbn(&begin, &words);
    if estimate.score() >= MIN_SCORE {
        return None;
    }
    let warning = estimate.feedback().and_then(|feedback| feedback.warning());
    let reason = warning.map_or_else(String::new, |warning| format!(" {warning}"));
    Some(format!(
        "This password is easy to guess.{reason} Choose another one, such as four random words."
    ))
}

fn hash(password: &str) -> anyhow::Result<PasswordHash> {
    let salt: [u8; 16] = random_bytes()?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)
        .map_err(|error| anyhow!("argon2 parameters: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: phc::PasswordHash = argon2
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| anyhow!("hashing a password: {error}"))?;
    PasswordHash::parse(&hash.to_string())
        .map_err(|error| anyhow!("hashing a password: the hash {error}"))
}

fn verify(password: &str, stored: &PasswordHash) -> anyhow::Result<bool> {
    let stored = phc::PasswordHash::new(stored.as_str())
        .map_err(|error| anyhow!("reading a password hash: {error}"))?;
    // The parameters are those of the stored hash.
    match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(anyhow!("checking a password: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use events_schema::Device;

    use super::*;

    async fn admission(passwords: &Passwords) -> Admission {
        let origin = Origin {
            address: None,
            device: Device::from_user_agent(""),
        };
        passwords.admit(&origin).await.unwrap()
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::with(15, Vec::new(), None).await.unwrap();
        let admission = &admission(&passwords).await;
        let hash = passwords
            .hash(
                admission,
                "password",
                "correct horse battery".to_owned(),
                Vec::new(),
            )
            .await
            .unwrap();
        assert!(
            hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.as_str()
        );
        assert!(
            passwords
                .matches(admission, "correct horse battery".to_owned(), Some(&hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .matches(admission, "correct horse batterx".to_owned(), Some(&hash))
                .await
                .unwrap()
        );
        assert_ne!(
            hash,
            passwords
                .hash(
                    admission,
                    "password",
                    "correct horse battery".to_owned(),
                    Vec::new()
                )
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn without_an_account_no_password_matches() {
        let passwords = Passwords::with(15, Vec::new(), None).await.unwrap();
        let admission = &admission(&passwords).await;
        assert!(
            !passwords
                .matches(admission, "nobody has this password".to_owned(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_password_that_is_short_or_long_is_refused() {
        let passwords = Passwords::with(8, Vec::new(), None).await.unwrap();
        let acceptable = |password: &str| passwords.check_length("password", password).is_ok();
        assert!(acceptable("日本語のパスワード"));
        assert!(acceptable(&"x".repeat(128)));
        for wrong in ["", "short77", "日本語", &"x".repeat(129)] {
            assert!(!acceptable(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_weaker_hash_is_outdated() {
        let is_outdated = |text: &str| Passwords::is_outdated(&PasswordHash::parse(text).unwrap());
        let tail = "$c2FsdHNhbHRzYWx0c2FsdA$26jTw/w9+9OPFeLQJBuqa/KdvQ6nr7oAl2hFQNmEzeA";
        for params in ["m=19456,t=2,p=1", "m=19456,t=3,p=1", "m=65536,t=2,p=1"] {
            let hash = format!("$argon2id$v=19${params}{tail}");
            assert!(!is_outdated(&hash), "{params}");
        }
        assert!(is_outdated(&format!("$argon2i$v=19$m=19456,t=2,p=1{tail}")));
        for params in ["m=64,t=1,p=1", "m=19456,t=1,p=1", "m=19455,t=2,p=1"] {
            let hash = format!("$argon2id$v=19${params}{tail}");
            assert!(is_outdated(&hash), "{params}");
        }
    }

    #[test]
    fn a_file_of_compromised_passwords_that_cannot_serve_is_named_with_its_setting() {
        let error = open_compromised(PathBuf::from("/no/such/file")).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.starts_with("UB_PWNED_PASSWORDS /no/such/file: "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_password_of_the_name_of_the_product_is_refused() {
        let product = ["Ultimate Backend", "https://weave.example"].map(str::to_owned);
        let passwords = Passwords::with(8, product.to_vec(), None).await.unwrap();
        let admission = &admission(&passwords).await;
        let hash = |text: &str| passwords.hash(admission, "x", text.to_owned(), Vec::new());
        for weak in ["ultimatebackend", "ultimate backend 1", "weaveweaveweave"] {
            assert!(hash(weak).await.is_err(), "{weak}");
        }
        assert!(hash("horse battery staple").await.is_ok());
    }

    #[test]
    fn a_long_password_is_judged_by_its_beginning() {
        let end = "Kx9#vQ2$mZ7!pL4&wR8@";
        assert!(weakness(&format!("{}{end}", "a".repeat(ESTIMATED)), &[]).is_some());
        assert!(weakness(&format!("{end}{}", "a".repeat(ESTIMATED)), &[]).is_none());
    }

    #[test]
    fn a_password_that_is_easy_to_guess_is_refused() {
        let known = ["ada.lovelace@example.com", "Ada", "Lovelace"].map(str::to_owned);
        for good in [
            "correct horse battery staple",
            "日本語のパスワード",
            "with\ttab and \u{1F600}",
            "xK3$mQ9!vTp2",
        ] {
            assert_eq!(weakness(good, &known), None, "{good}");
        }
        for weak in [
            "password1",
            "PassWord1",
            "1q2w3e4r5t6y7u8i",
            "aaaaaaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "qwertyuiopasdfghjkl",
            "12345678901234567890",
            "abcdefghijklmnopqrstuvwxyz",
            "passwordpassword",
            "ada.lovelace@example.com",
            "LovelaceLovelace",
        ] {
            assert!(weakness(weak, &known).is_some(), "{weak}");
        }
    }
}
