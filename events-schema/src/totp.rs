//! Codes of authenticator apps (TOTP, RFC 6238: SHA-1, six digits, steps of 30 seconds), and
//! recovery codes. Seeds and recovery codes derive from a secret of the deployment and an id, so
//! the log has ids only.

use data_encoding::{BASE32, BASE32_NOPAD};
use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use subtle::ConstantTimeEq;

use crate::{AccountId, CredentialId, EmailAddress, Time, secret::ServerKey};

/// Seconds of one step.
const STEP_SECONDS: i64 = 30;
/// Steps by which the clock of a phone may differ.
const DRIFT: i64 = 1;
/// The bytes of a seed: as many as a hash of SHA-1 has (RFC 4226).
const SEED: usize = 20;
/// The bytes of a recovery code: 16 letters and digits.
const RECOVERY_CODE: usize = 10;
/// How many recovery codes a person gets.
pub const RECOVERY_CODES: u8 = 10;

/// What an authenticator app shares with the server.
#[derive(Clone)]
pub struct Seed([u8; SEED]);

impl Seed {
    /// Returns the seed as people type it: 32 letters and digits in Base32.
    pub fn text(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// Returns the URI that an authenticator app reads as a QR code.
    pub fn uri(&self, issuer: &str, email: &EmailAddress) -> String {
        let (issuer, email) = (encoded(issuer), encoded(email.as_str()));
        let seed = self.text();
        format!("otpauth://totp/{issuer}:{email}?secret={seed}&issuer={issuer}")
    }

    /// Returns the step whose code was given, if it is the present one or next to it. Spaces are
    /// ignored.
    pub fn step_of(&self, given: &str, now: Time) -> Option<i64> {
        let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
        let present = now.0.div_euclid(1000 * STEP_SECONDS);
        let mut steps = present - DRIFT..=present + DRIFT;
        steps.find(|step| self.code(*step).as_bytes().ct_eq(given.as_bytes()).into())
    }

    /// Returns the code of a step (RFC 4226, section 5.3).
    fn code(&self, step: i64) -> String {
        let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let hash = sign(&key, &step.to_be_bytes());
        let hash = hash.as_ref();
        let offset = hash.last().map_or(0, |last| usize::from(last & 0xf));
        let mut head = [0; 4];
        head.copy_from_slice(&hash[offset..offset + 4]);
        format!(
            "{:06}",
            (u32::from_be_bytes(head) & 0x7fff_ffff) % 1_000_000
        )
    }
}

impl ServerKey {
    /// Returns the seed of an authenticator app, for each secret with this id: at most one, unless
    /// the secrets have no id.
    pub fn totp_seeds(
        &self,
        secret_id: &str,
        account: AccountId,
        credential: CredentialId,
    ) -> impl Iterator<Item = Seed> {
        let ids = [account.0, credential.0];
        self.secrets()
            .filter(move |secret| secret.id() == secret_id)
            .map(move |secret| {
                let mac = secret.mac(&[b"totp"], &[ids[0].bytes(), ids[1].bytes()]);
                let mut seed = [0; SEED];
                seed.copy_from_slice(&mac[..SEED]);
                Seed(seed)
            })
    }

    /// Returns the recovery codes that derive from the current secret, such as
    /// `ABCD-EFGH-IJKL-MNOP`.
    pub fn recovery_codes(&self, account: AccountId, credential: CredentialId) -> Vec<String> {
        let secret = self.current();
        let code = |index| grouped(&recovery_code(secret, account, credential, index));
        (0..RECOVERY_CODES).map(code).collect()
    }

    /// Returns the index of a recovery code, if it derives from a secret with this id. Hyphens,
    /// spaces and case are ignored.
    pub fn recovery_code_index(
        &self,
        secret_id: &str,
        account: AccountId,
        credential: CredentialId,
        given: &str,
    ) -> Option<u8> {
        let given = given.chars().filter(char::is_ascii_alphanumeric);
        let given: String = given.map(|c| c.to_ascii_uppercase()).collect();
        let secrets = self.secrets().filter(|secret| secret.id() == secret_id);
        let mut codes = secrets.flat_map(|secret| {
            let code = move |index| (index, recovery_code(secret, account, credential, index));
            (0..RECOVERY_CODES).map(code)
        });
        let found = codes.find(|(_, code)| code.as_bytes().ct_eq(given.as_bytes()).into());
        found.map(|(index, _)| index)
    }

    /// Returns the id of the secret that new seeds and recovery codes derive from.
    pub fn current_id(&self) -> &str {
        self.current().id()
    }
}

fn recovery_code(
    secret: &crate::secret::Secret,
    account: AccountId,
    credential: CredentialId,
    index: u8,
) -> String {
    let parts: [&[u8]; 3] = [account.0.bytes(), credential.0.bytes(), &[index]];
    let mac = secret.mac(&[b"recovery-code"], &parts);
    BASE32.encode(&mac[..RECOVERY_CODE])
}

/// Writes a code in groups of four.
fn grouped(code: &str) -> String {
    let groups = code.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join("-")
}

/// Writes a text as a part of a URI.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    let encode = |byte: u8| match byte {
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, secret::Secret};

    const ACCOUNT: AccountId = AccountId(Id::from_bytes([1; 16]));
    const OTHER: AccountId = AccountId(Id::from_bytes([2; 16]));
    const CREDENTIAL: CredentialId = CredentialId(Id::from_bytes([3; 16]));

    fn key(text: &str) -> ServerKey {
        ServerKey::new(Secret::parse(text).unwrap(), Vec::new())
    }
    fn k1() -> ServerKey {
        key(&format!("k1:{}", "k".repeat(32)))
    }
    fn seed(key: &ServerKey, id: &str, account: AccountId) -> Option<String> {
        let mut seeds = key.totp_seeds(id, account, CREDENTIAL);
        seeds.next().map(|seed| seed.text())
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        let seed = Seed(*b"12345678901234567890");
        // The appendix has eight digits, of which six are the last ones.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = Time(seconds * 1000);
            assert_eq!(seed.code(seconds / 30), code, "{seconds}");
            assert_eq!(seed.step_of(code, now), Some(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_accepted_one_step_early_and_one_step_late() {
        let seed = Seed([7; SEED]);
        let code = seed.code(100);
        let at = |step: i64| seed.step_of(&code, Time(step * 30_000));
        assert_eq!([99, 100, 101].map(at), [Some(100); 3]);
        assert_eq!([97, 98, 102, 103].map(at), [None; 4]);
        let spaced = format!(" {} {}", &code[..3], &code[3..]);
        assert_eq!(seed.step_of(&spaced, Time(100 * 30_000)), Some(100));
        for wrong in ["", "1", &format!("{code}0"), &code[1..]] {
            assert_eq!(seed.step_of(wrong, Time(100 * 30_000)), None, "{wrong}");
        }
    }

    #[test]
    fn an_app_reads_the_seed_from_a_uri() {
        let email = EmailAddress::parse("ada+x@example.com").unwrap();
        let seed = Seed(*b"12345678901234567890");
        let expected = "otpauth://totp/My%20App:ada%2Bx@example.com\
                        ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=My%20App";
        assert_eq!(seed.uri("My App", &email), expected);
    }

    #[test]
    fn a_seed_belongs_to_one_secret_and_account() {
        let own = seed(&k1(), "k1", ACCOUNT).unwrap();
        assert_eq!(seed(&k1(), "k1", ACCOUNT), Some(own.clone()));
        assert_ne!(seed(&k1(), "k1", OTHER), Some(own.clone()));
        assert_eq!(seed(&k1(), "k2", ACCOUNT), None);
        let other = key(&format!("k1:{}", "x".repeat(32)));
        assert_ne!(seed(&other, "k1", ACCOUNT), Some(own.clone()));
        // An accepted secret goes on to serve.
        let old = Secret::parse(&format!("k1:{}", "k".repeat(32))).unwrap();
        let new = Secret::parse(&format!("k2:{}", "n".repeat(32))).unwrap();
        let ring = ServerKey::new(new, vec![old]);
        assert_eq!(seed(&ring, "k1", ACCOUNT), Some(own));
        assert_eq!(ring.current_id(), "k2");
    }

    #[test]
    fn a_recovery_code_is_found_however_it_is_typed() {
        let codes = k1().recovery_codes(ACCOUNT, CREDENTIAL);
        let index = |code: &str| k1().recovery_code_index("k1", ACCOUNT, CREDENTIAL, code);
        assert_eq!(codes.len(), 10);
        for (at, code) in codes.iter().enumerate() {
            assert_eq!(code.len(), 19, "{code}");
            let at = u8::try_from(at).ok();
            let typed = code.to_lowercase().replace('-', " ");
            assert_eq!((index(code), index(&typed)), (at, at), "{code}");
        }
        for wrong in ["", "AAAA-AAAA-AAAA-AAAA", &codes[0][..18]] {
            assert_eq!(index(wrong), None, "{wrong}");
        }
        let other = k1().recovery_code_index("k1", OTHER, CREDENTIAL, &codes[0]);
        assert_eq!(other, None);
    }

    /// It measures, so run it alone in a release build:
    /// `cargo test --release --lib -- --ignored --nocapture takes_at_most`.
    #[test]
    #[ignore = "it measures"]
    fn the_check_of_a_code_takes_at_most_100_microseconds() {
        const TIMES: u32 = 10_000;
        let key = k1();
        let began = std::time::Instant::now();
        for _ in 0..TIMES {
            let mut seeds = key.totp_seeds("k1", ACCOUNT, CREDENTIAL);
            assert_eq!(seeds.next().unwrap().step_of("000000x", Time(0)), None);
        }
        let each = began.elapsed() / TIMES;
        println!("the check of a code takes {each:?}");
        assert!(each <= std::time::Duration::from_micros(100), "{each:?}");
    }
}
