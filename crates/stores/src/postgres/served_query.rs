//! Which rows of a tenant a reader asks for, as a condition of SQL.
//!
//! Role: pure; [`super::served::ServedStore`] asks the server.
//! Invariant: the order by name is that of the primary key, so that a page of it needs no sort.

use tokio_postgres::types::Type;

use super::Parameter;
use super::served::Columns;
use crate::served::Projection;

/// Which rows of a tenant a reader asks for.
pub(super) struct Wanted<'a> {
    pub(super) projection: Projection,
    pub(super) generation: &'a str,
    pub(super) tenant_id: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) horizon: Option<&'a str>,
    pub(super) limit: i64,
}

impl Wanted<'_> {
    /// The condition of [`super::served::ServedStore::select`] and its parameters; `$3` is the limit.
    fn condition(&self) -> (String, Vec<Parameter<'_>>) {
        let mut values: Vec<Parameter<'_>> = vec![
            (&self.generation, Type::TEXT),
            (&self.tenant_id, Type::TEXT),
            (&self.limit, Type::INT8),
        ];
        let mut condition = "tenant_id = $2".to_owned();
        if let Some(name) = &self.name {
            values.push((name, Type::TEXT));
            condition += &format!(" AND {} = ${}", Columns::of(self.projection).name, values.len());
        }
        if let (Some(horizon), Projection::CurveSnapshot) = (&self.horizon, self.projection) {
            values.push((horizon, Type::TEXT));
            condition += &format!(" AND horizon = ${}", values.len());
        }
        (condition, values)
    }

    pub(super) fn newest_first(&self) -> (String, Vec<Parameter<'_>>) {
        let (mut condition, values) = self.condition();
        let Columns { time, key, .. } = Columns::of(self.projection);
        condition += &format!(" ORDER BY {time} DESC, {key} LIMIT $3");
        (condition, values)
    }

    /// In the order of the primary key, which finds the rows after `after` (name and horizon) too.
    pub(super) fn by_name<'v>(&'v self, after: Option<&'v (&'v str, &'v str)>) -> (String, Vec<Parameter<'v>>) {
        let (mut condition, mut values) = self.condition();
        let key = Columns::of(self.projection).key;
        if let Some((name, horizon)) = after {
            values.push((name, Type::TEXT));
            let mut bound = format!("${}", values.len());
            if self.projection == Projection::CurveSnapshot {
                values.push((horizon, Type::TEXT));
                bound += &format!(", ${}", values.len());
            }
            condition += &format!(" AND ({key}) > ({bound})");
        }
        condition += &format!(" ORDER BY {key} LIMIT $3");
        (condition, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_in_the_order_of_the_key_and_the_newest_rows_in_that_of_time() {
        let wanted = |projection, name, horizon| Wanted {
            projection,
            generation: "",
            tenant_id: "t",
            name,
            horizon,
            limit: 3,
        };
        let after = ("C", "1y");
        for (projection, (name, horizon), after, expected, parameters) in [
            (
                Projection::CurveSnapshot,
                (None, None),
                None,
                "tenant_id = $2 ORDER BY curve_id, horizon LIMIT $3",
                3,
            ),
            (
                Projection::CurveSnapshot,
                (Some("C"), Some("1y")),
                Some(&after),
                "tenant_id = $2 AND curve_id = $4 AND horizon = $5 AND (curve_id, horizon) > ($6, $7) ORDER BY curve_id, horizon LIMIT $3",
                7,
            ),
            (
                Projection::DerivedPrice,
                (None, Some("1y")),
                Some(&after),
                "tenant_id = $2 AND (series) > ($4) ORDER BY series LIMIT $3",
                4,
            ),
        ] {
            let wanted = wanted(projection, name, horizon);
            let (condition, values) = wanted.by_name(after);
            assert_eq!((condition.as_str(), values.len()), (expected, parameters));
        }
        let wanted = wanted(Projection::CurveSnapshot, None, Some("1y"));
        let (condition, values) = wanted.newest_first();
        assert_eq!(
            (condition.as_str(), values.len()),
            (
                "tenant_id = $2 AND horizon = $4 ORDER BY as_of DESC, curve_id, horizon LIMIT $3",
                4
            )
        );
    }
}
