//! The tenant of a request, and the ids that a request may contain.
//!
//! Invariant (INV-10): a request is for exactly one tenant: the one in header `X-Tenant-Id` or parameter `tenant_id`, else
//! the configured default. Conflicting names are rejected. Ids that no tick can have are rejected before any store is
//! queried.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use domain::instrument::check_identifier;
use serde::Deserialize;
use serde_json::json;

use super::{Problem, State};

/// Name of the tenant parameter in a query string.
pub(super) const TENANT_PARAMETER: &str = "tenant_id";
pub(super) const TENANT_HEADER: &str = "X-Tenant-Id";

/// The tenant of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    id: String,
    /// Where the request names it; `None` for the default.
    named_by: Option<&'static str>,
}

impl Tenant {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Checks the tenant that the request also names elsewhere, such as in its body.
    ///
    /// # Errors
    /// If that is another tenant, or an invalid id.
    pub fn also_named(self, place: &'static str, id: Option<&str>) -> Result<Tenant, Problem> {
        let Some(id) = id else {
            return Ok(self);
        };
        if let Err(error) = check_identifier(id) {
            return Err(Problem::bad_request(format!("the tenant that {place} names {error}")));
        }
        match self.named_by {
            Some(before) if self.id != id => {
                let message = format!(
                    "{before} names tenant '{}' and {place} names tenant '{id}'; a request is for one tenant",
                    self.id
                );
                Err(Problem::bad_request(message).with_details(json!({before: self.id, place: id})))
            }
            _ => Ok(Tenant {
                id: id.to_owned(),
                named_by: Some(place),
            }),
        }
    }

    fn of(request: &HttpRequest) -> Result<Tenant, Problem> {
        let Some(state) = request.app_data::<web::Data<State>>() else {
            return Err(Problem::unavailable("the server has no default tenant"));
        };
        let mut tenant = Tenant {
            id: state.shown.default_tenant.clone(),
            named_by: None,
        };
        for value in request.headers().get_all(TENANT_HEADER) {
            let id = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Problem::bad_request(format!("header {TENANT_HEADER} is not UTF-8")))?;
            tenant = tenant.also_named(TENANT_HEADER, Some(id))?;
        }
        let unreadable = |_| Problem::bad_request("the query string cannot be read");
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).map_err(unreadable)?;
        for (_, id) in pairs.iter().filter(|(name, _)| name == TENANT_PARAMETER) {
            tenant = tenant.also_named(TENANT_PARAMETER, Some(id))?;
        }
        Ok(tenant)
    }
}

impl FromRequest for Tenant {
    type Error = Problem;
    type Future = Ready<Result<Tenant, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Tenant::of(request))
    }
}

/// An instrument id in a path, a query or a body; ids that no tick can have are rejected.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct InstrumentId(String);

impl InstrumentId {
    /// The id.
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl TryFrom<String> for InstrumentId {
    type Error = String;

    fn try_from(id: String) -> Result<InstrumentId, String> {
        match check_identifier(&id) {
            Ok(()) => Ok(InstrumentId(id)),
            Err(error) => Err(format!("instrument_id {error}")),
        }
    }
}
