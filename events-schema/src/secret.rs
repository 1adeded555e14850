//! Codes, links and ids are derived, not stored: programs with the same server key derive the same
//! value, and no secret is written to the log.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{AccountId, ChallengeId, EmailAddress, Id, Invalid, MemberId, RecipientId, TenantKey};

/// The key of the deployment (`UB_SECRET`). Its holder can forge codes and links.
#[derive(Clone)]
pub struct ServerKey(Vec<u8>);

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
        }
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(..)")
    }
}

impl ServerKey {
    /// Checks a key of 32 to 1,024 characters.
    ///
    /// # Errors
    /// If the key is shorter or longer.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if (32..=1024).contains(&text.len()) {
            Ok(Self(text.as_bytes().to_vec()))
        } else {
            Err(Invalid(
                "must have 32 to 1024 characters; make one with `openssl rand -hex 32`",
            ))
        }
    }

    /// Returns the six-digit code of a challenge.
    pub fn code(&self, purpose: Purpose, challenge: ChallengeId) -> String {
        let mac = self.mac(&[b"code", purpose.label(), challenge.0.bytes()]);
        let mut head = [0; 8];
        head.copy_from_slice(&mac[..8]);
        format!("{:06}", u64::from_be_bytes(head) % 1_000_000)
    }

    /// Whether `given` is the code of the challenge, compared in constant time. Spaces are ignored.
    pub fn code_matches(&self, purpose: Purpose, challenge: ChallengeId, given: &str) -> bool {
        let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
        self.code(purpose, challenge)
            .as_bytes()
            .ct_eq(given.as_bytes())
            .into()
    }

    /// Returns the token of a challenge's link: account, challenge and proof.
    pub fn link_token(
        &self,
        purpose: Purpose,
        account: AccountId,
        challenge: ChallengeId,
    ) -> String {
        self.token(purpose, [account.0, challenge.0])
    }

    /// Reads a link's token; `None` if this key did not make it for this purpose.
    pub fn open_link_token(
        &self,
        purpose: Purpose,
        token: &str,
    ) -> Option<(AccountId, ChallengeId)> {
        let [account, challenge] = self.open(purpose, token)?;
        Some((AccountId(account), ChallengeId(challenge)))
    }

    /// Returns the token of an invitation's link: tenant, member, challenge and proof.
    pub fn invitation_token(
        &self,
        tenant: TenantKey,
        member: MemberId,
        challenge: ChallengeId,
    ) -> String {
        self.token(Purpose::Invitation, [tenant.0, member.0, challenge.0])
    }

    /// Reads an invitation's token; `None` if this key did not make it.
    pub fn open_invitation_token(&self, token: &str) -> Option<(TenantKey, MemberId, ChallengeId)> {
        let [tenant, member, challenge] = self.open(Purpose::Invitation, token)?;
        Some((TenantKey(tenant), MemberId(member), ChallengeId(challenge)))
    }

    /// Returns the recipient with this address. Without the key, nobody can tell the address.
    pub fn recipient(&self, email: &EmailAddress) -> RecipientId {
        RecipientId(self.id(&[b"recipient", email.as_str().as_bytes()]))
    }

    /// Returns the token of the link that stops invitations to this recipient. It never ends.
    pub fn stop_token(&self, recipient: RecipientId) -> String {
        self.token(Purpose::StopInvitations, [recipient.0])
    }

    /// Reads the token of a link that stops invitations; `None` if this key did not make it.
    pub fn open_stop_token(&self, token: &str) -> Option<RecipientId> {
        let [recipient] = self.open(Purpose::StopInvitations, token)?;
        Some(RecipientId(recipient))
    }

    /// Returns the token that a browser keeps which has sent a registration.
    pub fn registration_token(&self, challenge: ChallengeId) -> String {
        self.token(Purpose::Registration, [challenge.0])
    }

    /// Reads the token of a registration; `None` if this key did not make it.
    pub fn open_registration_token(&self, token: &str) -> Option<ChallengeId> {
        let [challenge] = self.open(Purpose::Registration, token)?;
        Some(ChallengeId(challenge))
    }

    /// Returns the token that a device keeps on which the owner of this account has logged in. It
    /// ends with the epoch of the account.
    pub fn device_token(&self, device: Id, account: AccountId, epoch: i64) -> String {
        self.token(Purpose::Device, [device, self.epoch_id(account, epoch)])
    }

    /// Returns the device of a token; `None` if this key did not make it for this epoch of the
    /// account.
    pub fn open_device_token(&self, token: &str, account: AccountId, epoch: i64) -> Option<Id> {
        let [device, of] = self.open(Purpose::Device, token)?;
        (of == self.epoch_id(account, epoch)).then_some(device)
    }

    fn epoch_id(&self, account: AccountId, epoch: i64) -> Id {
        self.id(&[b"epoch", account.0.bytes(), &epoch.to_be_bytes()])
    }

    fn token<const N: usize>(&self, purpose: Purpose, ids: [Id; N]) -> String {
        let mut bytes = ids.iter().flat_map(|id| *id.bytes()).collect::<Vec<u8>>();
        let parts: Vec<&[u8]> = [b"link", purpose.label()]
            .into_iter()
            .chain(ids.iter().map(|id| id.bytes().as_slice()))
            .collect();
        bytes.extend(self.mac(&parts));
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn open<const N: usize>(&self, purpose: Purpose, token: &str) -> Option<[Id; N]> {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let mut ids = [Id::from_bytes([0; 16]); N];
        for (at, id) in ids.iter_mut().enumerate() {
            *id = Id::from_bytes(bytes.get(at * 16..(at + 1) * 16)?.try_into().ok()?);
        }
        bool::from(self.token(purpose, ids).as_bytes().ct_eq(token.as_bytes())).then_some(ids)
    }

    /// Returns an id that nobody can guess or choose without the key, such as the id of a command
    /// whose client chose an `Idempotency-Key`.
    pub fn id(&self, parts: &[&[u8]]) -> Id {
        head(&self.mac(parts))
    }

    /// Returns a key for one purpose. It tells nothing about this key or about those of other
    /// purposes.
    pub fn derived_key(&self, purpose: &str) -> [u8; 32] {
        self.mac(&[b"key", purpose.as_bytes()])
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC accepts a key of any length.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        for part in parts {
            mac.update(&length(part));
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
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
mod tests {
    use super::*;

    fn key(c: &str) -> ServerKey {
        ServerKey::parse(&c.repeat(32)).unwrap()
    }
    const ACCOUNT: AccountId = AccountId(Id::from_bytes([1; 16]));
    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));

    #[test]
    fn a_code_has_six_digits_and_belongs_to_one_key_purpose_and_challenge() {
        let code = key("a").code(Purpose::Verification, CHALLENGE);
        assert_eq!(code.len(), 6);
        assert!(code.bytes().all(|c| c.is_ascii_digit()));
        assert!(key("a").code_matches(
            Purpose::Verification,
            CHALLENGE,
            &format!(" {} {} ", &code[..3], &code[3..])
        ));
        assert!(!key("b").code_matches(Purpose::Verification, CHALLENGE, &code));
        assert!(!key("a").code_matches(Purpose::PasswordReset, CHALLENGE, &code));
        assert!(!key("a").code_matches(
            Purpose::Verification,
            ChallengeId(Id::from_bytes([3; 16])),
            &code
        ));
    }

    #[test]
    fn a_link_token_opens_only_as_it_was_made() {
        let token = key("a").link_token(Purpose::PasswordReset, ACCOUNT, CHALLENGE);
        assert_eq!(
            key("a").open_link_token(Purpose::PasswordReset, &token),
            Some((ACCOUNT, CHALLENGE))
        );
        assert_eq!(
            key("a").open_link_token(Purpose::Verification, &token),
            None
        );
        assert_eq!(
            key("b").open_link_token(Purpose::PasswordReset, &token),
            None
        );
        for at in 0..token.len() {
            let mut forged = token.clone();
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            forged.replace_range(at..=at, other);
            assert_eq!(
                key("a").open_link_token(Purpose::PasswordReset, &forged),
                None,
                "{at}"
            );
        }
        for garbage in ["", "x", "=", &token[1..], &format!("{token}A"), "ä"] {
            assert_eq!(
                key("a").open_link_token(Purpose::PasswordReset, garbage),
                None,
                "{garbage}"
            );
        }
    }

    #[test]
    fn the_token_of_a_device_belongs_to_one_epoch_of_one_account() {
        let (device, bob) = (Id::from_bytes([7; 16]), AccountId(Id::from_bytes([3; 16])));
        let token = key("a").device_token(device, ACCOUNT, 1);
        let opened = key("a").open_device_token(&token, ACCOUNT, 1);
        assert_eq!(opened, Some(device));
        assert_eq!(key("a").open_device_token(&token, ACCOUNT, 2), None);
        assert_eq!(key("a").open_device_token(&token, bob, 1), None);
        assert_eq!(key("b").open_device_token(&token, ACCOUNT, 1), None);
        assert_eq!(key("a").open_registration_token(&token), None);
    }

    #[test]
    fn a_recipient_and_its_link_belong_to_one_address_and_key() {
        let recipient = |c, email| key(c).recipient(&EmailAddress::parse(email).unwrap());
        let ada = recipient("a", "ada@example.com");
        assert_eq!(ada, recipient("a", "Ada@Example.com"));
        assert_ne!(ada, recipient("a", "bob@example.com"));
        assert_ne!(ada, recipient("b", "ada@example.com"));
        let token = key("a").stop_token(ada);
        assert_eq!(key("a").open_stop_token(&token), Some(ada));
        assert_eq!(key("b").open_stop_token(&token), None);
        assert_eq!(key("a").open_registration_token(&token), None);
    }

    #[test]
    fn a_derived_id_depends_on_where_its_parts_end() {
        assert_ne!(derived_id(&[b"ab", b"c"]), derived_id(&[b"a", b"bc"]));
        assert_ne!(key("a").id(&[b"ab", b"c"]), key("a").id(&[b"a", b"bc"]));
    }
}
