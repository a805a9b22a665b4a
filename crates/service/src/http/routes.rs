//! The routes of a service: declared once, served, listed in `GET /info`, described in `GET /openapi.json`, and enumerated by
//! tests.
//!
//! Invariants: the handler of a tenant route gets its [`Tenant`] as the first argument, so it cannot be written without one
//! (INV-10). Every route rejects parameters that it does not declare. A known path with an unsupported method returns 405
//! with `Allow`. Every GET route also supports HEAD.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, Responder, Route, web};
use serde::Serialize;

use super::Problem;
use super::openapi::Shape;
use super::tenant::{TENANT_PARAMETER, Tenant};

/// Whose data a route returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The data of exactly one tenant.
    Tenant,
    /// No tenant data: the process, its configuration, its progress.
    Service,
}

/// One route, as `GET /info` lists it.
#[derive(Clone, Serialize)]
pub struct Declared {
    #[serde(serialize_with = "name")]
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) scope: Scope,
    /// Names in the query string, including `tenant_id` for tenant routes.
    pub(super) parameters: Vec<&'static str>,
    /// Media type of the request body; `None` if the route reads none.
    #[serde(skip)]
    pub(super) accepts: Option<&'static str>,
    /// The body of a 200, if it is described.
    #[serde(skip)]
    pub(super) returns: Option<&'static Shape>,
    /// How long a request may take beyond the limit of all requests.
    #[serde(skip)]
    lasts: Duration,
    #[serde(skip)]
    make: Arc<dyn Fn(Method) -> Route + Send + Sync>,
}

fn name<S: serde::Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_str())
}

type Add = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// The arguments of a handler whose first argument is the tenant.
pub trait OfTenant {}
impl OfTenant for (Tenant,) {}
impl<A> OfTenant for (Tenant, A) {}
impl<A, B> OfTenant for (Tenant, A, B) {}
impl<A, B, C> OfTenant for (Tenant, A, B, C) {}

/// Routes, and the data that their handlers share.
#[derive(Clone, Default)]
pub struct Routes {
    declared: Vec<Declared>,
    shared: Vec<Add>,
}

impl Routes {
    /// Adds a route that returns the data of one tenant.
    #[must_use]
    pub fn of_tenant<F, Args>(
        self,
        method: Method,
        path: &'static str,
        summary: &'static str,
        parameters: &[&'static str],
        handler: F,
    ) -> Routes
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + OfTenant + 'static,
        F::Output: Responder + 'static,
    {
        let mut parameters = parameters.to_vec();
        parameters.push(TENANT_PARAMETER);
        self.add((method, path, summary), Scope::Tenant, parameters, handler)
    }

    /// Adds a route that returns no tenant data.
    #[must_use]
    pub fn of_service<F, Args>(self, method: Method, path: &'static str, summary: &'static str, handler: F) -> Routes
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add((method, path, summary), Scope::Service, Vec::new(), handler)
    }

    /// The route declared last reads a request body of this media type.
    #[must_use]
    pub fn accepting(mut self, media_type: &'static str) -> Routes {
        if let Some(route) = self.declared.last_mut() {
            route.accepts = Some(media_type);
        }
        self
    }

    /// The route declared last has these parameters in its query string.
    #[must_use]
    pub fn asking(mut self, parameters: &[&'static str]) -> Routes {
        if let Some(route) = self.declared.last_mut() {
            route.parameters.extend_from_slice(parameters);
        }
        self
    }

    /// A request of the route declared last may take this much longer than others.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Routes {
        if let Some(route) = self.declared.last_mut() {
            route.lasts = time;
        }
        self
    }

    /// The route declared last returns a body of this shape.
    #[must_use]
    pub fn returning(mut self, body: &'static Shape) -> Routes {
        if let Some(route) = self.declared.last_mut() {
            route.returns = Some(body);
        }
        self
    }

    /// Adds data that the handlers extract as `web::Data`, or their configuration.
    #[must_use]
    pub fn sharing(mut self, add: impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static) -> Routes {
        self.shared.push(Arc::new(add));
        self
    }

    fn add<F, Args>(
        mut self,
        (method, path, summary): (Method, &'static str, &'static str),
        scope: Scope,
        parameters: Vec<&'static str>,
        handler: F,
    ) -> Routes
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.declared.push(Declared {
            method,
            path,
            summary,
            scope,
            parameters,
            accepts: None,
            returns: None,
            lasts: Duration::ZERO,
            make: Arc::new(move |method| web::method(method).to(handler.clone())),
        });
        self
    }

    pub(super) fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// Merges two sets of routes.
    #[must_use]
    pub(crate) fn and(mut self, others: Routes) -> Routes {
        self.declared.extend(others.declared);
        self.shared.extend(others.shared);
        self
    }

    pub(super) fn configure(&self, config: &mut web::ServiceConfig) {
        self.shared.iter().for_each(|add| add(config));
        let mut paths: Vec<&'static str> = self.declared.iter().map(|route| route.path).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let mut resource = web::resource(path);
            let mut allowed = Vec::new();
            for route in self.declared.iter().filter(|route| route.path == path) {
                for method in methods(&route.method) {
                    allowed.push(method.to_string());
                    resource = resource.route((route.make)(method));
                }
            }
            let allowed = allowed.join(", ");
            config.service(
                resource.default_service(web::to(move |request: actix_web::HttpRequest| {
                    let problem = Problem::method_not_allowed(request.method().as_str(), request.path(), &allowed);
                    std::future::ready(Err::<actix_web::HttpResponse, Problem>(problem))
                })),
            );
        }
    }

    fn find(&self, method: &Method, pattern: &str) -> Option<&Declared> {
        let is_it = |route: &&Declared| route.path == pattern && methods(&route.method).contains(method);
        self.declared.iter().find(is_it)
    }

    /// How long a request may take beyond the limit of all requests.
    pub(super) fn lasts(&self, method: &Method, pattern: &str) -> Duration {
        self.find(method, pattern).map_or(Duration::ZERO, |route| route.lasts)
    }

    /// Rejects parameters that the route does not declare, and parameters that are given twice.
    pub(super) fn check_parameters(&self, method: &Method, pattern: &str, query: &str) -> Result<(), Problem> {
        let Some(route) = self.find(method, pattern) else {
            return Ok(());
        };
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = decoded(pair.split_once('=').map_or(pair, |(name, _)| name))?;
            if !route.parameters.contains(&name.as_ref()) {
                let known = match route.parameters.as_slice() {
                    [] => "it has none".to_owned(),
                    names => format!("it has {}", names.join(", ")),
                };
                let shown: String = name.chars().take(64).collect();
                return Err(Problem::bad_request(format!(
                    "{method} {pattern} has no parameter '{shown}'; {known}"
                )));
            }
            // A tenant may be named twice: the check in `Tenant` rejects names that differ.
            if name != TENANT_PARAMETER && seen.contains(&name) {
                return Err(Problem::bad_request(format!("parameter {name} is given twice")));
            }
            seen.push(name);
        }
        Ok(())
    }
}

fn methods(method: &Method) -> Vec<Method> {
    if method == Method::GET {
        vec![Method::GET, Method::HEAD]
    } else {
        vec![method.clone()]
    }
}

/// A part of a path or a query. Invalid UTF-8 is rejected, since replacement characters would name something else.
pub(super) fn decoded(part: &str) -> Result<Cow<'_, str>, Problem> {
    percent_encoding::percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| Problem::bad_request("the URL contains percent-encoded bytes that are not UTF-8"))
}
