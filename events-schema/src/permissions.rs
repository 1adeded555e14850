//! Sets of permissions, as bits. Each request unites and compares them.

use std::{collections::BTreeSet, fmt, vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Permission;

/// A set of permissions. Its stored form is the list of their names, in order.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(inline, with = "BTreeSet<Permission>")
)]
pub struct Permissions {
    /// Bit 0 is for the first one of [`Permission::all`], and so on.
    bits: u128,
    /// Those that have no bit: permissions of newer releases.
    others: BTreeSet<Permission>,
}

impl Permissions {
    /// Makes an empty set.
    pub const fn new() -> Self {
        Self {
            bits: 0,
            others: BTreeSet::new(),
        }
    }

    /// Adds a permission.
    pub fn insert(&mut self, permission: Permission) {
        match bit(permission) {
            Some(bit) => self.bits |= bit,
            None => _ = self.others.insert(permission),
        }
    }

    /// Adds all permissions of another set.
    pub fn add_all(&mut self, other: &Self) {
        self.bits |= other.bits;
        self.others.extend(&other.others);
    }

    /// Keeps only permissions that another set has, too.
    pub fn keep_only(&mut self, other: &Self) {
        self.bits &= other.bits;
        self.others.retain(|one| other.others.contains(one));
    }

    /// Whether the set has this permission.
    pub fn contains(&self, permission: &Permission) -> bool {
        match bit(*permission) {
            Some(bit) => self.bits & bit != 0,
            None => self.others.contains(permission),
        }
    }

    /// Whether another set has all permissions of this one.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.bits & !other.bits == 0 && self.others.is_subset(&other.others)
    }

    /// Whether the set has no permission.
    pub fn is_empty(&self) -> bool {
        self.bits == 0 && self.others.is_empty()
    }

    /// Returns the permissions in the order of their names.
    pub fn iter(&self) -> vec::IntoIter<Permission> {
        let known = Permission::all().iter().copied();
        let known = known.filter(|one| bit(*one).is_some_and(|bit| self.bits & bit != 0));
        let mut all: Vec<_> = known.chain(self.others.iter().copied()).collect();
        all.sort();
        all.into_iter()
    }
}

/// Returns the bit of a permission. One of a newer release has none, and is kept by its name; so
/// would be one beyond the last bit.
fn bit(permission: Permission) -> Option<u128> {
    let at = Permission::all().binary_search(&permission).ok()?;
    1_u128.checked_shl(u32::try_from(at).ok()?)
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Self {
        let mut set = Self::new();
        set.extend(all);
        set
    }
}

impl Extend<Permission> for Permissions {
    fn extend<I: IntoIterator<Item = Permission>>(&mut self, more: I) {
        more.into_iter().for_each(|one| self.insert(one));
    }
}

impl IntoIterator for Permissions {
    type Item = Permission;
    type IntoIter = vec::IntoIter<Permission>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<const N: usize> From<[Permission; N]> for Permissions {
    fn from(all: [Permission; N]) -> Self {
        all.into_iter().collect()
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Permission::as_str))
            .finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Permission>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Permissions of this release and of a newer one.
    fn some() -> Vec<Permission> {
        let newer = ["add_zebra", "read_ant"].map(|name| Permission::from_stored(name).unwrap());
        let known = Permission::all().iter().copied();
        known.step_by(3).chain(newer).collect()
    }

    #[test]
    fn a_set_has_what_was_added_and_nothing_else() {
        let set: Permissions = some().into_iter().collect();
        let newest = Permission::from_stored("zap_ant").unwrap();
        for permission in Permission::all()
            .iter()
            .copied()
            .chain(some())
            .chain([newest])
        {
            assert_eq!(
                set.contains(&permission),
                some().contains(&permission),
                "{permission}"
            );
        }
        assert!(!set.is_empty() && Permissions::new().is_empty());
        assert!(!Permissions::from([newest]).is_empty());
    }

    #[test]
    fn every_permission_of_this_release_has_a_bit_of_its_own() {
        let bits: BTreeSet<_> = Permission::all().iter().map(|one| bit(*one)).collect();
        assert_eq!(bits.len(), Permission::all().len());
        assert!(!bits.contains(&None));
    }

    #[test]
    fn sets_are_united_cut_and_compared_like_sets_of_names() {
        let all = some();
        for (one, other) in [(0..4, 2..9), (0..9, 3..5), (0..0, 0..9), (7..10, 0..10)] {
            let (one, other) = (&all[one], &all[other]);
            let set = |of: &[Permission]| of.iter().copied().collect::<Permissions>();
            let names = |of: &[Permission]| of.iter().copied().collect::<BTreeSet<_>>();
            let expected = |of: BTreeSet<Permission>| of.into_iter().collect::<Permissions>();
            let (mut united, mut cut) = (set(one), set(one));
            united.add_all(&set(other));
            assert_eq!(united, expected(&names(one) | &names(other)));
            cut.keep_only(&set(other));
            assert_eq!(cut, expected(&names(one) & &names(other)));
            let is_subset = names(one).is_subset(&names(other));
            assert_eq!(set(one).is_subset(&set(other)), is_subset);
        }
    }

    #[test]
    fn a_set_is_stored_as_the_sorted_list_of_its_names() {
        let set: Permissions = some().into_iter().collect();
        let names: BTreeSet<&str> = some().iter().map(|one| one.as_str()).collect();
        let stored = serde_json::to_string(&set).unwrap();
        assert_eq!(stored, serde_json::to_string(&names).unwrap());
        assert_eq!(serde_json::from_str::<Permissions>(&stored).unwrap(), set);
    }
}
