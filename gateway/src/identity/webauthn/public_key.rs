//! Public keys of passkeys, as COSE (RFC 9053) writes them: ES256, EdDSA and RS256, which all
//! authenticators know at least one of.

use ciborium::Value;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ring::{
    agreement::{self, ECDH_P256, EphemeralPrivateKey, agree_ephemeral},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};

/// The algorithms by their number in COSE, the best first.
pub(super) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// The bytes of an RSA modulus: of 2,048 to 4,096 bits. A longer one would cost too much.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;
/// The longest exponent of RSA, in bytes.
const MAX_EXPONENT: usize = 4;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// A point of P-256, not compressed.
    Es256(Vec<u8>),
    Ed25519(Vec<u8>),
    Rs256 {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl PublicKey {
    /// Reads a key; `None` if it is malformed or of another algorithm.
    pub(super) fn parse(cose: &[u8]) -> Option<Self> {
        let Value::Map(pairs) = ciborium::from_reader(cose).ok()? else {
            return None;
        };
        match (number(&pairs, 1)?, number(&pairs, 3)?) {
            (2, ES256) if number(&pairs, -1)? == 1 => {
                let (x, y) = (bytes(&pairs, -2)?, bytes(&pairs, -3)?);
                let is_point = x.len() == 32 && y.len() == 32;
                is_point.then(|| Self::Es256([&[4], x, y].concat()))
            }
            (1, EDDSA) if number(&pairs, -1)? == 6 => {
                let key = bytes(&pairs, -2)?;
                (key.len() == 32).then(|| Self::Ed25519(key.to_vec()))
            }
            (3, RS256) => {
                let (modulus, exponent) = (bytes(&pairs, -1)?, bytes(&pairs, -2)?);
                let is_bounded = MODULUS.contains(&modulus.len())
                    && (1..=MAX_EXPONENT).contains(&exponent.len());
                is_bounded.then(|| Self::Rs256 {
                    modulus: modulus.to_vec(),
                    exponent: exponent.to_vec(),
                })
            }
            _ => None,
        }
    }

    /// Whether somebody may have the private key, and nobody can sign without it, as far as the key
    /// itself shows.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Es256(point) => is_on_p256(point),
            Self::Ed25519(key) => {
                let key = CompressedEdwardsY::from_slice(key).ok();
                let point = key.and_then(|key| key.decompress());
                point.is_some_and(|point| !point.is_small_order())
            }
            Self::Rs256 { modulus, exponent } => {
                is_modulus(modulus) && is_odd(exponent) && !is_below_three(exponent)
            }
        }
    }

    /// Whether the private key has made this signature of the message.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::Rs256 { modulus, exponent } => {
                let (n, e) = (modulus, exponent);
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.is_ok()
    }
}

/// Whether this is a point of the curve: `ring` agrees on a key with no other.
fn is_on_p256(point: &[u8]) -> bool {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, point);
    own.is_ok_and(|own| agree_ephemeral(own, &peer, |_| ()).is_ok())
}

/// Whether this is an odd number of as many bits as its bytes have.
fn is_modulus(modulus: &[u8]) -> bool {
    modulus.first().is_some_and(|first| *first >= 0x80) && is_odd(modulus)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

/// Whether this number is less than three, or begins with zeros: no exponent does.
fn is_below_three(number: &[u8]) -> bool {
    matches!(number, [] | [0, ..] | [1 | 2])
}

fn value(pairs: &[(Value, Value)], label: i64) -> Option<&Value> {
    let label = Value::from(label);
    let mut found = pairs.iter().filter(|(key, _)| *key == label);
    found.next().map(|(_, value)| value)
}

fn number(pairs: &[(Value, Value)], label: i64) -> Option<i64> {
    let number = value(pairs, label)?.as_integer()?;
    number.try_into().ok()
}

fn bytes(pairs: &[(Value, Value)], label: i64) -> Option<&[u8]> {
    value(pairs, label)?.as_bytes().map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };

    use super::*;

    type Pairs = Vec<(i64, Value)>;

    fn cose(pairs: Pairs) -> Vec<u8> {
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(key, value)| (Value::from(key), value));
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(pairs.collect()), &mut bytes).unwrap();
        bytes
    }
    fn es256(x: &[u8], y: &[u8]) -> Pairs {
        let (x, y) = (Value::from(x), Value::from(y));
        vec![
            (1, 2.into()),
            (3, ES256.into()),
            (-1, 1.into()),
            (-2, x),
            (-3, y),
        ]
    }
    fn eddsa(key: &[u8]) -> Pairs {
        vec![
            (1, 1.into()),
            (3, EDDSA.into()),
            (-1, 6.into()),
            (-2, key.into()),
        ]
    }
    fn rs256(modulus: usize, exponent: &[u8]) -> Pairs {
        vec![
            (1, 3.into()),
            (3, RS256.into()),
            (-1, vec![0xff_u8; modulus].into()),
            (-2, exponent.into()),
        ]
    }

    #[test]
    fn a_signature_is_valid_for_its_key_and_message_only() {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = || {
            let secret = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(kind, secret.as_ref(), &random).unwrap()
        };
        let (own, other) = (pair(), pair());
        let key = |pair: &EcdsaKeyPair| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
            PublicKey::parse(&cose(es256(x, y))).unwrap()
        };
        let signature = own.sign(&random, b"message").unwrap();
        assert!(key(&own).verifies(b"message", signature.as_ref()));
        assert!(!key(&own).verifies(b"massage", signature.as_ref()));
        assert!(!key(&other).verifies(b"message", signature.as_ref()));
        assert!(!key(&own).verifies(b"message", &[]));

        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = PublicKey::parse(&cose(eddsa(pair.public_key().as_ref()))).unwrap();
        let signature = pair.sign(b"message");
        assert!(key.verifies(b"message", signature.as_ref()));
        assert!(!key.verifies(b"massage", signature.as_ref()));
    }

    /// By OpenSSL, so that the three are not checked by the library that verifies them alone.
    #[test]
    fn a_signature_of_rsa_is_valid_for_its_message_only() {
        let decode = |text: &str| {
            data_encoding::HEXLOWER
                .decode(text.trim().as_bytes())
                .unwrap()
        };
        let modulus = decode(include_str!("tests/rsa_modulus.txt"));
        let signature = decode(include_str!("tests/rsa_signature.txt"));
        let key = vec![
            (1, 3.into()),
            (3, RS256.into()),
            (-1, modulus.into()),
            (-2, vec![1_u8, 0, 1].into()),
        ];
        let key = PublicKey::parse(&cose(key)).unwrap();
        assert!(key.verifies(b"message", &signature));
        assert!(!key.verifies(b"massage", &signature));
    }

    #[test]
    fn a_key_that_can_never_sign_or_that_anybody_can_sign_with_is_not_valid() {
        let is_valid = |pairs| PublicKey::parse(&cose(pairs)).unwrap().is_valid();
        assert!(!is_valid(es256(&[1; 32], &[1; 32])));
        assert!(!is_valid(es256(&[0; 32], &[0; 32])));
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let secret = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, secret.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        assert!(is_valid(es256(x, y)));
        assert!(!is_valid(es256(y, x)));

        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        assert!(is_valid(eddsa(pair.public_key().as_ref())));
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(!is_valid(eddsa(&no_point)));
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(!is_valid(eddsa(&neutral)), "of small order");

        for exponent in [&[1, 0, 1][..], &[3], &[1, 1]] {
            assert!(is_valid(rs256(256, exponent)), "{exponent:?}");
        }
        for exponent in [&[1, 0, 0][..], &[1], &[2], &[0], &[0, 1, 0, 1], &[0, 0, 0]] {
            assert!(!is_valid(rs256(256, exponent)), "{exponent:?}");
        }
        let with_modulus = |first: u8, last: u8| {
            let mut modulus = vec![0xff; 256];
            (modulus[0], modulus[255]) = (first, last);
            let (modulus, exponent) = (modulus, vec![1, 0, 1]);
            PublicKey::Rs256 { modulus, exponent }.is_valid()
        };
        assert!(with_modulus(0x80, 1));
        assert!(!with_modulus(0x7f, 1), "weaker than it is long");
        assert!(!with_modulus(0, 1));
        assert!(!with_modulus(0x80, 2), "even");
    }

    #[test]
    fn a_key_of_another_kind_or_length_is_not_read() {
        let is_read = |pairs| PublicKey::parse(&cose(pairs)).is_some();
        assert!(is_read(es256(&[1; 32], &[2; 32])));
        assert!(!is_read(es256(&[1; 31], &[2; 32])));
        assert!(!is_read(es256(&[1; 32], &[2; 33])));
        assert!(!is_read(eddsa(&[1; 31])));
        assert!(is_read(rs256(256, &[1, 0, 1])));
        assert!(is_read(rs256(512, &[1, 0, 1])));
        assert!(!is_read(rs256(255, &[1, 0, 1])), "weak");
        assert!(!is_read(rs256(513, &[1, 0, 1])), "giant");
        assert!(!is_read(rs256(256, &[1; 5])));
        let with = |label, value: i64| {
            let mut pairs = es256(&[1; 32], &[2; 32]);
            pairs.retain(|(key, _)| *key != label);
            pairs.push((label, value.into()));
            pairs
        };
        assert!(is_read(with(3, ES256)));
        assert!(!is_read(with(3, -35)), "ES384");
        assert!(!is_read(with(3, EDDSA)));
        assert!(!is_read(with(1, 1)));
        assert!(!is_read(with(-1, 2)), "P-384");
        for garbage in [&b""[..], b"\x00", b"\xa1", b"\xff", &[0x81; 4_000]] {
            assert_eq!(PublicKey::parse(garbage), None);
        }
    }
}
