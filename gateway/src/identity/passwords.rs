//! Passwords: which are acceptable, and hashing them with argon2id in a bounded pool. They go no
//! further than here.
//!
//! After NIST SP 800-63B-4: length counts and well-known passwords are refused; there is no other
//! rule.

use std::{
    collections::HashSet, sync::Arc, sync::LazyLock, thread::available_parallelism, time::Duration,
};

use anyhow::{Context, anyhow};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc},
};
use events_schema::PasswordHash;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{error::Error, identity::cookie::random};

/// Memory of one hash, in KiB, and passes over it, one lane: the least that OWASP advises (2023),
/// 20 to 50 ms.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
/// Characters in a password, so that nobody pays for hashing a novel.
const MAX_LENGTH: usize = 128;
/// Hashes that may wait for a processor: about a second's work on two. More would be answered too
/// late to be of use.
const MAX_WAITING: usize = 64;

/// Those that attackers try first.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    include_str!("common_passwords.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
});

/// Hashes and checks passwords, as many at once as there are processors.
#[derive(Debug)]
pub(crate) struct Passwords {
    min_length: usize,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// What a password is checked against when there is no account, so that it takes as long.
    nobody: PasswordHash,
}

impl Passwords {
    /// A new password needs `min_length` characters.
    pub(crate) async fn new(min_length: u8) -> anyhow::Result<Self> {
        let processors = available_parallelism().map_or(1, Into::into);
        let nobody = spawn_blocking(|| hash("nobody has this password"))
            .await?
            .map_err(|error| anyhow!("hashing: {error:?}"))?;
        Ok(Self {
            min_length: min_length.into(),
            running: Arc::new(Semaphore::new(processors)),
            admitted: Arc::new(Semaphore::new(processors + MAX_WAITING)),
            nobody,
        })
    }

    /// Whether a new password is acceptable; `field` is the input that it came in.
    pub(crate) fn check(&self, field: &'static str, password: &str) -> Result<(), Error> {
        let length = password.chars().count();
        if length < self.min_length {
            Err(Error::input(
                field,
                format!(
                    "The password must have at least {} characters.",
                    self.min_length
                ),
            ))
        } else if length > MAX_LENGTH {
            Err(Error::input(
                field,
                format!("The password must have at most {MAX_LENGTH} characters."),
            ))
        } else if COMMON.contains(password.to_lowercase().as_str()) {
            Err(Error::input(
                field,
                "The password is one of those that attackers try first.",
            ))
        } else {
            Ok(())
        }
    }

    /// Hashes a password that was found acceptable.
    pub(crate) async fn hash(&self, password: String) -> Result<PasswordHash, Error> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password is the one that was hashed; without a hash it is not, and takes as long
    /// to say so.
    pub(crate) async fn matches(
        &self,
        password: String,
        stored: Option<&PasswordHash>,
    ) -> Result<bool, Error> {
        // What is longer was never accepted, and hashing it would be work for whoever asks.
        let password = if password.chars().count() > MAX_LENGTH {
            String::new()
        } else {
            password
        };
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.nobody).clone();
        Ok(self.run(move || verify(&password, &stored)).await?? && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let busy = || Error::RateLimited {
            retry_after: Duration::from_secs(1),
        };
        let admitted = self
            .admitted
            .clone()
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let running = self
            .running
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| busy())?;
        // The permits go with the work, which goes on even if the request is dropped.
        let bounded = move |_permits: [OwnedSemaphorePermit; 2]| work();
        Ok(spawn_blocking(move || bounded([admitted, running]))
            .await
            .context("hashing a password")?)
    }
}

fn hash(password: &str) -> Result<PasswordHash, Error> {
    let salt: [u8; 16] = random()?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)
        .map_err(|error| anyhow!("argon2 parameters: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: phc::PasswordHash = argon2
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| anyhow!("hashing a password: {error}"))?;
    PasswordHash::parse(&hash.to_string())
        .map_err(|error| anyhow!("hashing a password: it {error}").into())
}

fn verify(password: &str, stored: &PasswordHash) -> Result<bool, Error> {
    let stored = phc::PasswordHash::new(stored.as_str())
        .map_err(|error| anyhow!("reading a password hash: {error}"))?;
    // The parameters are those of the stored hash.
    match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(anyhow!("checking a password: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new(15).await.unwrap();
        let hash = passwords
            .hash("correct horse battery".to_owned())
            .await
            .unwrap();
        assert!(
            hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.as_str()
        );
        assert!(
            passwords
                .matches("correct horse battery".to_owned(), Some(&hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .matches("correct horse batterx".to_owned(), Some(&hash))
                .await
                .unwrap()
        );
        assert_ne!(
            hash,
            passwords
                .hash("correct horse battery".to_owned())
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn without_an_account_no_password_matches() {
        let passwords = Passwords::new(15).await.unwrap();
        assert!(
            !passwords
                .matches("nobody has this password".to_owned(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn length_and_fame_decide_what_is_acceptable() {
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

    #[tokio::test]
    async fn when_too_many_wait_the_next_is_turned_away() {
        let passwords = Passwords {
            admitted: Arc::new(Semaphore::new(0)),
            ..Passwords::new(15).await.unwrap()
        };
        assert!(matches!(
            passwords.hash("x".to_owned()).await,
            Err(Error::RateLimited { .. })
        ));
    }
}
