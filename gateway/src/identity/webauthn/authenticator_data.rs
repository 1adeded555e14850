//! What an authenticator says about itself and a passkey. Its signature covers these bytes.

/// The longest id of a passkey, in bytes.
const MAX_ID: usize = 1023;
/// The longest public key, in bytes: more than an RSA key of 4,096 bits needs.
const MAX_KEY: usize = 1024;

/// What an authenticator says.
#[derive(Clone, Copy, Debug)]
pub(super) struct AuthenticatorData<'a> {
    /// The SHA-256 of the domain that the passkey was made for.
    pub(super) rp_id_hash: &'a [u8; 32],
    pub(super) flags: Flags,
    /// How often it has signed; 0 if it does not count.
    pub(super) counter: u32,
    rest: &'a [u8],
}

/// Whether something is true of a passkey and of the person who uses it: one bit for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags(u8);

/// A passkey that was just made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attested<'a> {
    /// The model of the authenticator.
    pub(super) aaguid: &'a [u8; 16],
    pub(super) credential_id: &'a [u8],
    /// The public key, as COSE writes it.
    pub(super) key: &'a [u8],
}

impl Flags {
    pub(super) const fn is_user_present(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Whether the person was verified, by a PIN or by biometrics.
    pub(super) const fn is_user_verified(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Whether the passkey may have copies. This never changes.
    pub(super) const fn is_backup_eligible(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// Whether the passkey has copies.
    pub(super) const fn is_backed_up(self) -> bool {
        self.0 & 0x10 != 0
    }

    const fn has_attested(self) -> bool {
        self.0 & 0x40 != 0
    }
}

impl<'a> AuthenticatorData<'a> {
    /// Reads the fixed part; `None` if there is less.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_first_chunk()?;
        let (flags, rest) = rest.split_first()?;
        let (counter, rest) = rest.split_first_chunk()?;
        Some(Self {
            rp_id_hash,
            flags: Flags(*flags),
            counter: u32::from_be_bytes(*counter),
            rest,
        })
    }

    /// Reads the passkey that was made; `None` if there is none, or it is malformed.
    pub(super) fn attested(&self) -> Option<Attested<'a>> {
        let rest = Some(self.rest).filter(|_| self.flags.has_attested())?;
        let (aaguid, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (credential_id, rest) = rest.split_at_checked(length)?;
        let key = first_item(rest)?;
        let is_bounded = (1..=MAX_ID).contains(&length) && key.len() <= MAX_KEY;
        is_bounded.then_some(Attested {
            aaguid,
            credential_id,
            key,
        })
    }
}

/// Returns the bytes of the first CBOR item. Extensions of the authenticator may follow it.
fn first_item(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    let _item: ciborium::Value = ciborium::from_reader(&mut rest).ok()?;
    bytes.get(..bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags, the id of a passkey, and a key, followed by an empty map of extensions.
    fn bytes(flags: u8, id: &[u8], key: &[u8]) -> Vec<u8> {
        let length = u16::try_from(id.len()).unwrap().to_be_bytes();
        let head = [&[7; 32], &[flags][..], &9_u32.to_be_bytes(), &[1; 16]];
        [&head.concat(), &length[..], id, key, &[0xa0]].concat()
    }

    #[test]
    fn a_passkey_is_read_with_its_counter_and_flags() {
        // A map of one pair.
        let key = [0xa1, 0x01, 0x02];
        let bytes = bytes(0x5d, b"id", &key);
        let data = AuthenticatorData::parse(&bytes).unwrap();
        assert_eq!((data.rp_id_hash, data.counter), (&[7; 32], 9));
        let flags = data.flags;
        assert!(flags.is_user_present() && flags.is_user_verified());
        assert!(flags.is_backup_eligible() && flags.is_backed_up());
        let attested = data.attested().unwrap();
        assert_eq!(attested.aaguid, &[1; 16]);
        assert_eq!(
            (attested.credential_id, attested.key),
            (&b"id"[..], &key[..])
        );
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_no_passkey() {
        let key = [0xa1, 0x01, 0x02];
        let whole = bytes(0x45, b"id", &key);
        for length in 0..whole.len() - 1 {
            let data = AuthenticatorData::parse(&whole[..length]);
            assert!(
                data.is_none_or(|data| data.attested().is_none()),
                "{length}"
            );
        }
        let is_read = |bytes: &[u8]| {
            let data = AuthenticatorData::parse(bytes).unwrap();
            data.attested().is_some()
        };
        assert!(is_read(&bytes(0x45, &[1; MAX_ID], &key)));
        assert!(!is_read(&bytes(0x45, &[1; MAX_ID + 1], &key)));
        assert!(!is_read(&bytes(0x45, &[], &key)));
        assert!(!is_read(&bytes(0x05, b"id", &key)), "without its flag");
        let long = [&[0x59, 0x04, 0x00][..], &[0; 1024]].concat();
        assert!(!is_read(&bytes(0x45, b"id", &long)));
    }
}
