//! Which served rows a rebuild replaces.

/// The rows of a tenant, of an instrument, or of both; without either all rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only rows of this tenant.
    pub tenant: Option<String>,
    /// Only rows of this instrument, curve or derived series.
    pub instrument: Option<String>,
}

impl Scope {
    /// Whether it has every row.
    pub fn is_all(&self) -> bool {
        self.tenant.is_none() && self.instrument.is_none()
    }

    /// Whether it has the row of this tenant and name.
    pub fn has(&self, tenant: &str, name: &str) -> bool {
        self.tenant.as_deref().is_none_or(|only| only == tenant)
            && self.instrument.as_deref().is_none_or(|only| only == name)
    }

    /// As it is stored and shown: `tenant acme, instrument PJM.X`; empty if it has every row.
    pub fn text(&self) -> String {
        let named = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
        let parts = [named("tenant", &self.tenant), named("instrument", &self.instrument)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_the_rows_that_every_given_name_fits_and_says_so() {
        let scope = |tenant: Option<&str>, instrument: Option<&str>| Scope {
            tenant: tenant.map(str::to_owned),
            instrument: instrument.map(str::to_owned),
        };
        let rows = [("acme", "X"), ("acme", "Y"), ("other", "X")];
        for (scope, has, text) in [
            (scope(None, None), [true, true, true], ""),
            (scope(Some("acme"), None), [true, true, false], "tenant acme"),
            (scope(None, Some("X")), [true, false, true], "instrument X"),
            (
                scope(Some("acme"), Some("X")),
                [true, false, false],
                "tenant acme, instrument X",
            ),
        ] {
            assert_eq!(rows.map(|(tenant, name)| scope.has(tenant, name)), has, "{scope:?}");
            assert_eq!(scope.text(), text);
            assert_eq!(scope.is_all(), text.is_empty());
        }
    }
}
