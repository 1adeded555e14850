//! How many security events each gateway keeps for their readers. The operator's log and metrics
//! have all of them.

use std::{num::NonZeroU32, sync::Arc};

use events_schema::{AccountId, TenantKey};

use crate::identity::{
    limits::{Bucket, Rate},
    network::Network,
};

/// Events an hour of one client, one person or one account: far more than an honest one causes.
/// Somebody who floods for 90 days fills a fifth of the stream.
const OF_ONE: u32 = 60;
/// Events an hour of all members of a tenant.
const OF_TENANT: u32 = 600;
/// Attempts an hour of all clients on all accounts, so that a flood from many networks takes weeks
/// to fill the stream.
const OF_ALL_OTHERS: u32 = 1_200;

/// Token buckets for the events that are kept.
#[derive(Clone, Debug)]
pub(super) struct Bounds(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    owners: Bucket<AccountId>,
    networks: Bucket<Network>,
    attempted_accounts: Bucket<AccountId>,
    all_others: Bucket<()>,
    members: Bucket<(TenantKey, AccountId)>,
    tenants: Bucket<TenantKey>,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self(Arc::new(Buckets {
            owners: Bucket::new("security_owner", an_hour(OF_ONE)),
            networks: Bucket::new("security_network", an_hour(OF_ONE)),
            attempted_accounts: Bucket::new("security_account", an_hour(OF_ONE)),
            all_others: Bucket::new("security_total", an_hour(OF_ALL_OTHERS)),
            members: Bucket::new("security_member", an_hour(OF_ONE)),
            tenants: Bucket::new("security_tenant", an_hour(OF_TENANT)),
        }))
    }

    /// Whether to keep another event of the owner of this account.
    pub(super) fn admit_of_owner(&self, account: AccountId) -> bool {
        self.0.owners.take(&account).is_ok()
    }

    /// Whether to keep another attempt of a client on this account. The client's own bucket comes
    /// first, so that one client uses up nothing of what all others share.
    pub(super) fn admit_of_others(&self, network: Network, account: AccountId) -> bool {
        self.0.networks.take(&network).is_ok()
            && self.0.attempted_accounts.take(&account).is_ok()
            && self.0.all_others.take(&()).is_ok()
    }

    /// Whether to keep another refusal of this member, together with their access tokens.
    pub(super) fn admit_of_member(&self, tenant: TenantKey, member: AccountId) -> bool {
        self.0.members.take(&(tenant, member)).is_ok() && self.0.tenants.take(&tenant).is_ok()
    }
}

fn an_hour(count: u32) -> Rate {
    Rate::per_hour(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;

    use events_schema::{Address, Device, Id, Origin};

    use super::*;

    const ADA: AccountId = AccountId(Id::from_bytes([1; 16]));
    const BOB: AccountId = AccountId(Id::from_bytes([2; 16]));
    const ACME: TenantKey = TenantKey(Id::from_bytes([3; 16]));
    const LOOM: TenantKey = TenantKey(Id::from_bytes([4; 16]));

    fn network(address: &str) -> Network {
        Network::of(&Origin {
            address: Some(Address::parse(address).unwrap()),
            device: Device::from_user_agent(""),
        })
    }

    /// How many of a thousand events are kept.
    fn kept(admit: impl FnMut() -> bool) -> usize {
        repeat_with(admit).take(1_000).filter(|kept| *kept).count()
    }

    #[test]
    fn a_client_that_floods_leaves_room_for_the_attempts_of_others() {
        let bounds = Bounds::new();
        let eve = network("192.0.2.1");
        assert_eq!(kept(|| bounds.admit_of_others(eve, ADA)), 60);
        assert!(!bounds.admit_of_others(eve, BOB));
        assert!(bounds.admit_of_others(network("192.0.2.2"), BOB));
    }

    #[test]
    fn attempts_on_an_account_are_bounded_and_leave_room_for_what_its_owner_does() {
        let bounds = Bounds::new();
        for last in 1..=10 {
            let eve = network(&format!("192.0.2.{last}"));
            repeat_with(|| bounds.admit_of_others(eve, ADA))
                .take(20)
                .count();
        }
        assert!(!bounds.admit_of_others(network("192.0.2.99"), ADA));
        assert!(bounds.admit_of_owner(ADA));
    }

    #[test]
    fn all_attempts_together_are_bounded() {
        let bounds = Bounds::new();
        let mut admitted = 0;
        for number in 0..=255 {
            let account = AccountId(Id::from_bytes([number; 16]));
            let client = network(&format!("198.51.100.{number}"));
            admitted += kept(|| bounds.admit_of_others(client, account));
        }
        assert_eq!(admitted, 1_200);
    }

    #[test]
    fn a_member_who_floods_leaves_room_for_other_members_and_tenants() {
        let bounds = Bounds::new();
        assert_eq!(kept(|| bounds.admit_of_member(ACME, BOB)), 60);
        assert!(bounds.admit_of_member(ACME, ADA));
        assert!(bounds.admit_of_member(LOOM, BOB));
    }
}
