//! Passwords: which are acceptable, and hashing them with argon2id in a bounded pool. No other part
//! of the system sees a password.
//!
//! The rules follow NIST SP 800-63B-4: a minimum length, and no well-known passwords. There is no
//! other rule.

use std::{
    collections::HashSet,
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

use crate::{
    error::Error,
    identity::admission::{Admission, Gate},
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

static WAIT: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time that a password waited for a processor to be hashed.";
    telemetry::seconds("ub.password.wait_time", description)
});

/// The passwords that attackers try first.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let lines = include_str!("common_passwords.txt").lines();
    lines.filter(|line| !line.starts_with('#')).collect()
});

/// Hashes and checks passwords, as many at once as there are processors.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    min_length: usize,
    running: Arc<Semaphore>,
    gate: Gate,
    /// What a password is checked against if there is no account, so that the check takes as long.
    decoy: PasswordHash,
}

impl Passwords {
    /// Makes the pool. A new password needs at least `min_length` characters.
    ///
    /// # Errors
    /// If hashing fails.
    pub(crate) async fn new(min_length: u8) -> anyhow::Result<Self> {
        let processors = available_parallelism().map_or(1, Into::into);
        let decoy = spawn_blocking(|| hash("nobody has this password")).await??;
        Ok(Self {
            min_length: min_length.into(),
            running: Arc::new(Semaphore::new(processors)),
            gate: Gate::new(processors + MAX_WAITING),
            decoy,
        })
    }

    /// Checks that a new password is acceptable. `field` is the input that it came in.
    ///
    /// # Errors
    /// `BadUserInput` if it is not.
    pub(crate) fn check(&self, field: &'static str, password: &str) -> Result<(), Error> {
        let (length, min) = (password.chars().count(), self.min_length);
        let obstacle = if length < min {
            format!("The password must have at least {min} characters.")
        } else if length > MAX_LENGTH {
            format!("The password must have at most {MAX_LENGTH} characters.")
        } else if COMMON.contains(password.to_lowercase().as_str()) {
            "This password is one of those that attackers try first. Choose another.".to_owned()
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

    /// Hashes an acceptable password.
    ///
    /// # Errors
    /// If hashing fails.
    pub(crate) async fn hash(
        &self,
        admission: &Admission,
        password: String,
    ) -> Result<PasswordHash, Error> {
        Ok(self.run(admission, move || hash(&password)).await??)
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
        let passwords = Passwords::new(15).await.unwrap();
        let admission = &admission(&passwords).await;
        let hash = passwords
            .hash(admission, "correct horse battery".to_owned())
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
                .hash(admission, "correct horse battery".to_owned())
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn without_an_account_no_password_matches() {
        let passwords = Passwords::new(15).await.unwrap();
        let admission = &admission(&passwords).await;
        assert!(
            !passwords
                .matches(admission, "nobody has this password".to_owned(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_password_that_is_short_long_or_well_known_is_refused() {
        let passwords = Passwords::new(8).await.unwrap();
        let acceptable = |password: &str| passwords.check("password", password).is_ok();
        assert!(acceptable("日本語のパスワード"));
        assert!(acceptable(&"x".repeat(128)));
        assert!(acceptable("with\ttab and \u{1F600}"));
        for wrong in [
            "",
            "short77",
            "日本語",
            "password1",
            "PassWord1",
            "1q2w3e4r5t6y7u8i",
            &"x".repeat(129),
        ] {
            assert!(!acceptable(wrong), "{wrong}");
        }
    }
}
