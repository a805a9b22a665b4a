//! A map keyed by tenant and instrument as two values (INV-10): without a joined key, no two pairs can collide.

use rustc_hash::FxHashMap;

/// Values by tenant and instrument.
#[derive(Debug, Clone)]
pub(super) struct ByTenant<T> {
    tenants: FxHashMap<Box<str>, FxHashMap<Box<str>, T>>,
    len: usize,
}

impl<T> Default for ByTenant<T> {
    fn default() -> ByTenant<T> {
        ByTenant {
            tenants: FxHashMap::default(),
            len: 0,
        }
    }
}

impl<T> ByTenant<T> {
    pub fn get(&self, tenant_id: &str, instrument_id: &str) -> Option<&T> {
        self.tenants.get(tenant_id)?.get(instrument_id)
    }

    pub fn get_mut(&mut self, tenant_id: &str, instrument_id: &str) -> Option<&mut T> {
        self.tenants.get_mut(tenant_id)?.get_mut(instrument_id)
    }

    pub fn insert(&mut self, tenant_id: &str, instrument_id: &str, value: T) {
        // Not the entry API, which needs an owned key for every call.
        if !self.tenants.contains_key(tenant_id) {
            self.tenants.insert(tenant_id.into(), FxHashMap::default());
        }
        if let Some(instruments) = self.tenants.get_mut(tenant_id)
            && instruments.insert(instrument_id.into(), value).is_none()
        {
            self.len += 1;
        }
    }

    /// Number of values of all tenants.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of values of one tenant.
    pub fn len_of(&self, tenant_id: &str) -> usize {
        self.tenants.get(tenant_id).map_or(0, FxHashMap::len)
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.tenants.values().flat_map(FxHashMap::values)
    }

    pub fn clear(&mut self) {
        self.tenants.clear();
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_pair_has_its_own_value(pairs in proptest::collection::vec(("[ab|:]{0,3}", "[ab|:]{0,3}"), 0..40)) {
            let mut map = ByTenant::default();
            let mut model = BTreeMap::new();
            for (value, (tenant, instrument)) in pairs.iter().enumerate() {
                map.insert(tenant, instrument, value);
                model.insert((tenant.as_str(), instrument.as_str()), value);
            }
            for ((tenant, instrument), value) in &model {
                prop_assert_eq!(map.get(tenant, instrument), Some(value));
                prop_assert_eq!(map.len_of(tenant), model.keys().filter(|(other, _)| other == tenant).count());
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.values().count(), model.len());
        }
    }
}
