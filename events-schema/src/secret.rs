//! Codes, links and ids are derived, not stored: programs with the same secrets derive the same
//! value, and none is written to the log.
//!
//! A secret is replaced in steps, while programs with the old and the new one run together. So each
//! program accepts further secrets than the one that it derives from.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    AccountId, ChallengeId, EmailAddress, Id, IdentityId, Invalid, MemberId, RecipientId, Scope,
    TenantKey,
};

/// Longest id of a secret. It is part of each link and cookie.
const MAX_ID: usize = 16;
/// Separates our use of a secret from any other: the salt of HKDF.
const SALT: &[u8] = b"ultimate-backend";

/// A secret of the deployment. Its holder can forge codes and links.
#[derive(Clone)]
pub struct Secret {
    /// Names the secret in what it signs; empty for one of the form of earlier releases.
    id: String,
    text: String,
}

/// The secrets of the deployment (`UB_SECRET`, `UB_ACCEPTED_SECRETS`).
#[derive(Clone, Debug)]
pub struct ServerKey {
    current: Secret,
    accepted: Vec<Secret>,
}

/// What a challenge proves. A code or link for one purpose is not valid for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The mailbox belongs to the owner of the account.
    Verification,
    /// The client may set a new password.
    PasswordReset,
    /// The mailbox was invited to a tenant.
    Invitation,
    /// The mailbox wants no invitations.
    StopInvitations,
    /// The browser has sent this registration.
    Registration,
    /// Somebody has logged in to this account on the device.
    Device,
    /// The person reads the mailbox of the account, to log in.
    LoginCode,
    /// The owner of the new or the present address agrees to a change from one to the other.
    EmailChange,
    /// The browser has asked for a change of the address.
    EmailChangeAsked,
    /// The owner of a former address restores it.
    EmailUndo,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Verification => b"verification",
            Self::PasswordReset => b"password-reset",
            Self::Invitation => b"invitation",
            Self::StopInvitations => b"stop-invitations",
            Self::Registration => b"registration",
            Self::Device => b"device",
            Self::LoginCode => b"login-code",
            Self::EmailChange => b"email-change",
            Self::EmailChangeAsked => b"email-change-asked",
            Self::EmailUndo => b"email-undo",
        }
    }
}

/// Shows the id only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.id)
    }
}

impl Secret {
    /// Reads `ID:SECRET`, or a secret without an id, which derives as earlier releases do. The id
    /// has 1 to 16 lower-case letters, digits and hyphens; the secret has 32 to 1,024 characters.
    ///
    /// # Errors
    /// If the secret is shorter or longer.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (id, secret) = match text.split_once(':') {
            Some((id, secret)) if is_id(id) => (id, secret),
            _ => ("", text),
        };
        if (32..=1024).contains(&secret.len()) {
            Ok(Self {
                id: id.to_owned(),
                text: secret.to_owned(),
            })
        } else {
            Err(Invalid(
                "must have 32 to 1024 characters, after an id such as `k1:`; make one with \
                 `echo k1:$(openssl rand -hex 32)`",
            ))
        }
    }

    /// Returns the id; empty for a secret without one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the secret itself, to estimate how easy it is to guess.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn code(&self, purpose: Purpose, challenge: ChallengeId) -> String {
        let mac = self.mac(&[b"code", purpose.label()], &[challenge.0.bytes()]);
        let mut head = [0; 8];
        head.copy_from_slice(&mac[..8]);
        format!("{:06}", u64::from_be_bytes(head) % 1_000_000)
    }

    /// Returns ids with their proof and the id of this secret.
    fn token<const N: usize>(&self, purpose: Purpose, ids: [Id; N]) -> String {
        let mut bytes = ids.iter().flat_map(|id| *id.bytes()).collect::<Vec<u8>>();
        bytes.extend(self.proof(purpose, &ids));
        bytes.extend(self.id.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn proof(&self, purpose: Purpose, ids: &[Id]) -> [u8; 32] {
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.bytes().as_slice()).collect();
        self.mac(&[b"link", purpose.label()], &ids)
    }

    fn epoch_id(&self, account: AccountId, epoch: i64) -> Id {
        self.derive(&[b"epoch", account.0.bytes(), &epoch.to_be_bytes()])
    }

    fn address_id(&self, email: &EmailAddress) -> Id {
        self.derive(&[b"login-code", email.as_str().as_bytes()])
    }

    fn derive(&self, parts: &[&[u8]]) -> Id {
        head(&self.mac(&[], parts))
    }

    /// A secret with an id has a key of its own for each purpose. One without an id is the key, as
    /// in earlier releases, and the purpose is the first part.
    pub(crate) fn mac(&self, purpose: &[&[u8]], parts: &[&[u8]]) -> [u8; 32] {
        let secret = self.text.as_bytes();
        if self.id.is_empty() {
            return hmac(secret, &[purpose, parts].concat());
        }
        let info = [purpose, &[self.id.as_bytes()]].concat();
        let lengths: Vec<[u8; 8]> = info.iter().map(|part| length(part)).collect();
        let info = info.iter().zip(&lengths);
        let info: Vec<&[u8]> = info.flat_map(|(part, length)| [length, *part]).collect();
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(SALT), secret)
            .expand_multi_info(&info, &mut key)
            .unwrap_or_else(|_| unreachable!("HKDF makes keys of up to 8,160 bytes"));
        hmac(&key, parts)
    }
}

impl ServerKey {
    /// Derives from `current`, and also accepts what was derived from the others.
    pub const fn new(current: Secret, accepted: Vec<Secret>) -> Self {
        Self { current, accepted }
    }

    pub(crate) const fn current(&self) -> &Secret {
        &self.current
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.accepted)
    }

    /// Returns the six-digit code of a challenge.
    pub fn code(&self, purpose: Purpose, challenge: ChallengeId) -> String {
        self.current.code(purpose, challenge)
    }

    /// Whether `given` is the code of the challenge, compared in constant time. Spaces are ignored.
    pub fn code_matches(&self, purpose: Purpose, challenge: ChallengeId, given: &str) -> bool {
        let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
        let codes = self.secrets().map(|secret| secret.code(purpose, challenge));
        let matches = codes.map(|code| code.as_bytes().ct_eq(given.as_bytes()));
        matches.fold(Choice::from(0), |any, one| any | one).into()
    }

    /// Returns the token of a challenge's link: account, challenge and proof.
    pub fn link_token(
        &self,
        purpose: Purpose,
        account: AccountId,
        challenge: ChallengeId,
    ) -> String {
        self.current.token(purpose, [account.0, challenge.0])
    }

    /// Reads a link's token; `None` if no secret made it for this purpose.
    pub fn open_link_token(
        &self,
        purpose: Purpose,
        token: &str,
    ) -> Option<(AccountId, ChallengeId)> {
        let (_, [account, challenge]) = self.open(purpose, token)?;
        Some((AccountId(account), ChallengeId(challenge)))
    }

    /// Returns the token of an invitation's link: tenant, member, challenge and proof.
    pub fn invitation_token(
        &self,
        tenant: TenantKey,
        member: MemberId,
        challenge: ChallengeId,
    ) -> String {
        let ids = [tenant.0, member.0, challenge.0];
        self.current.token(Purpose::Invitation, ids)
    }

    /// Reads an invitation's token; `None` if no secret made it.
    pub fn open_invitation_token(&self, token: &str) -> Option<(TenantKey, MemberId, ChallengeId)> {
        let (_, [tenant, member, challenge]) = self.open(Purpose::Invitation, token)?;
        Some((TenantKey(tenant), MemberId(member), ChallengeId(challenge)))
    }

    /// Returns the token of the link that stops invitations to this recipient. It ends only with
    /// the secret.
    pub fn stop_token(&self, recipient: RecipientId) -> String {
        self.current.token(Purpose::StopInvitations, [recipient.0])
    }

    /// Reads the token of a link that stops invitations; `None` if no secret made it.
    pub fn open_stop_token(&self, token: &str) -> Option<RecipientId> {
        let (_, [recipient]) = self.open(Purpose::StopInvitations, token)?;
        Some(RecipientId(recipient))
    }

    /// Returns the token that a browser keeps which has sent a registration.
    pub fn registration_token(&self, challenge: ChallengeId) -> String {
        self.current.token(Purpose::Registration, [challenge.0])
    }

    /// Reads the token of a registration; `None` if no secret made it.
    pub fn open_registration_token(&self, token: &str) -> Option<ChallengeId> {
        let (_, [challenge]) = self.open(Purpose::Registration, token)?;
        Some(ChallengeId(challenge))
    }

    /// Returns the token that a browser keeps which has asked for a code to log in with an address.
    pub fn login_code_token(&self, challenge: ChallengeId, email: &EmailAddress) -> String {
        let address = self.current.address_id(email);
        self.current
            .token(Purpose::LoginCode, [challenge.0, address])
    }

    /// Reads the token of a code to log in; `None` if no secret made it for this address.
    pub fn open_login_code_token(&self, token: &str, email: &EmailAddress) -> Option<ChallengeId> {
        let (secret, [challenge, of]) = self.open(Purpose::LoginCode, token)?;
        (of == secret.address_id(email)).then_some(ChallengeId(challenge))
    }

    /// Returns the token that a browser keeps which has asked for a change of the address.
    pub fn email_change_token(&self, challenge: ChallengeId) -> String {
        self.current.token(Purpose::EmailChangeAsked, [challenge.0])
    }

    /// Reads the token of a change of the address; `None` if no secret made it.
    pub fn open_email_change_token(&self, token: &str) -> Option<ChallengeId> {
        let (_, [challenge]) = self.open(Purpose::EmailChangeAsked, token)?;
        Some(ChallengeId(challenge))
    }

    /// Returns the token that a device keeps on which the owner of this account has logged in. It
    /// ends with the epoch of the account.
    pub fn device_token(&self, device: Id, account: AccountId, epoch: i64) -> String {
        let epoch = self.current.epoch_id(account, epoch);
        self.current.token(Purpose::Device, [device, epoch])
    }

    /// Returns the device of a token; `None` if no secret made it for this epoch of the account.
    pub fn open_device_token(&self, token: &str, account: AccountId, epoch: i64) -> Option<Id> {
        let (secret, [device, of]) = self.open(Purpose::Device, token)?;
        (of == secret.epoch_id(account, epoch)).then_some(device)
    }

    /// Reads a token, and finds the secret that made it for this purpose.
    fn open<const N: usize>(&self, purpose: Purpose, token: &str) -> Option<(&Secret, [Id; N])> {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let mut ids = [Id::from_bytes([0; 16]); N];
        for (at, id) in ids.iter_mut().enumerate() {
            *id = Id::from_bytes(bytes.get(at * 16..(at + 1) * 16)?.try_into().ok()?);
        }
        let (proof, id) = bytes.get(N * 16..)?.split_at_checked(32)?;
        let mut named = self.secrets().filter(|secret| secret.id.as_bytes() == id);
        let secret = named.find(|secret| secret.proof(purpose, &ids).ct_eq(proof).into())?;
        Some((secret, ids))
    }

    /// Returns a key of each secret for one purpose, the current one first. It tells nothing about
    /// the secret or about the keys of other purposes.
    pub fn derived_keys(&self, purpose: &str) -> Vec<[u8; 32]> {
        let key = |secret: &Secret| secret.mac(&[b"key", purpose.as_bytes()], &[]);
        self.secrets().map(key).collect()
    }

    /// Returns what an identity is called under each secret, the current one first. One by a
    /// tenant's connection has names of its own: its issuer says who somebody is there, and nowhere
    /// else.
    pub fn identity_ids(
        &self,
        scope: Option<Scope>,
        issuer: &str,
        subject: &str,
    ) -> Vec<IdentityId> {
        let (issuer, subject) = (issuer.as_bytes(), subject.as_bytes());
        let id = |secret: &Secret| match &scope {
            Some(Scope { tenant, connection }) => secret.derive(&[
                b"connection-identity",
                tenant.0.bytes(),
                connection.0.bytes(),
                issuer,
                subject,
            ]),
            None => secret.derive(&[b"identity", issuer, subject]),
        };
        self.secrets().map(id).map(IdentityId).collect()
    }

    /// Returns an id that nobody can guess or choose without the current secret, such as the id of
    /// a command whose client chose an `Idempotency-Key`.
    pub fn id(&self, parts: &[&[u8]]) -> Id {
        self.current.derive(parts)
    }
}

pub(crate) fn is_id(text: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC accepts a key of any length.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    for part in parts {
        mac.update(&length(part));
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Returns an id that follows from public facts, such as the command that a reaction derives from a
/// commit.
pub fn derived_id(parts: &[&[u8]]) -> Id {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(length(part));
        digest.update(part);
    }
    head(&digest.finalize().into())
}

/// Lengths are hashed, too; otherwise `("ab", "c")` and `("a", "bc")` would be the same.
fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

fn head(digest: &[u8; 32]) -> Id {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Id::from_bytes(bytes)
}

#[cfg(test)]
mod tests;
