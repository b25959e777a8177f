//! Who asks, and what they can read: taken from headers once, before any handler (api-semantics §4.4).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use bytes::Bytes;
use hearth_common::ids::{InvalidTenantId, TENANTS_MAX};
use hearth_common::{ErrorKind, TenantId};
use hearth_formats::gunzip::InflateError;
use hearth_telemetry::trace;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::accept::Capabilities;
use crate::body::Held;
use crate::compress::{Gunzip, gunzip};
use crate::error::RpcError;
use crate::http_error::HttpError;

const TENANT_HEADER: &str = "x-scope-orgid";

/// Whether tenants are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenancy {
    /// Every request is tenant `anonymous`; the header is ignored.
    Single,
    /// The header names the tenant and must be there.
    Multi,
}

/// The tenants of a request: sorted, each once. Several (`a|b`) are for reads that can merge them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tenants(Vec<TenantId>);

impl Tenants {
    /// The tenants named by the header.
    pub fn from_headers(headers: &HeaderMap, tenancy: Tenancy) -> Result<Self, InvalidTenantId> {
        if tenancy == Tenancy::Single {
            return Ok(Self(vec![TenantId::anonymous()]));
        }
        let mut values = headers.get_all(TENANT_HEADER).iter();
        let text = values.next().map(|value| value.to_str().unwrap_or("\u{fffd}")).unwrap_or_default();
        match values.count() {
            0 => {}
            more => return Err(InvalidTenantId::Repeated(more + 1)),
        }
        let mut tenants = Vec::new();
        for part in text.split('|') {
            let id = part.split_once(':').map_or(part, |(id, _)| id);
            tenants.push(TenantId::parse(id)?);
        }
        tenants.sort();
        tenants.dedup();
        if tenants.len() > TENANTS_MAX {
            return Err(InvalidTenantId::TooMany(tenants.len()));
        }
        Ok(Self(tenants))
    }

    /// Says in the log and in the trace of the request who asks.
    pub(crate) fn say(&self) {
        match &self.0[..] {
            [] => {}
            [tenant] => trace::set_tenant(tenant.as_str()),
            tenants => trace::set_tenant(&tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join("|")),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[TenantId] {
        &self.0
    }

    /// The only one; an error when there are several.
    pub fn single(&self) -> Result<&TenantId, RpcError> {
        match &self.0[..] {
            [tenant] => Ok(tenant),
            [] => Err(InvalidTenantId::Missing.into()),
            _ => Err(RpcError::new(ErrorKind::Unauthenticated, "multiple org IDs present")),
        }
    }
}

/// What was found out about a request before its body was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// Nobody where no tenant is needed.
    pub(crate) tenants: Tenants,
    pub(crate) capabilities: Capabilities,
    /// What the request holds of the port's memory.
    pub(crate) held: Option<Arc<Held>>,
}

/// What a handler knows of its request beside the message.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Who asks; empty for methods that need no tenant.
    pub tenants: Tenants,
    /// Whether the client can read label names that are not `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub allow_utf8_label_names: bool,
    /// Time that the client will wait, if it said. The port drops the handler at its end.
    pub timeout: Option<Duration>,
    /// All headers.
    pub headers: HeaderMap,
    /// Headers that the answer gets, if there is one. Clones of the context share them.
    pub(crate) response_headers: Arc<Mutex<HeaderMap>>,
    /// What the request holds of the port's memory.
    held: Option<Arc<Held>>,
}

impl RequestContext {
    /// Adds a header to the answer to come; characters that a header cannot hold become `?`. In plain handlers the caller
    /// puts [`Self::response_headers`] on its response itself.
    pub fn set_response_header(&self, name: &'static str, value: &str) {
        let text: String =
            value.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
        if let Ok(value) = HeaderValue::from_str(&text) {
            let mut headers = self.response_headers.lock().unwrap_or_else(PoisonError::into_inner);
            headers.insert(HeaderName::from_static(name), value);
        }
    }

    /// Inflates a gzipped body to at most `limit` bytes, which count among those that all requests may hold together until the
    /// answer. The outer error: they hold too much.
    pub async fn gunzip(&self, bytes: Bytes, limit: usize) -> Result<Result<Bytes, InflateError>, RpcError> {
        match gunzip(bytes, limit, self.held.as_ref()).await {
            Ok(inflated) => Ok(Ok(inflated)),
            Err(Gunzip::Inflate(error)) => Ok(Err(error)),
            Err(Gunzip::Held(fault)) => Err(fault.into()),
        }
    }

    /// Gives back bytes of the body that a plain handler has passed on and does not hold any more: a body that streams through
    /// would otherwise count as a whole until the answer.
    pub fn let_go(&self, bytes: usize) {
        if let Some(held) = &self.held {
            held.give_back(bytes);
        }
    }

    /// The headers that were set for the answer.
    pub fn response_headers(&self) -> HeaderMap {
        self.response_headers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn new(caller: Caller, headers: HeaderMap, timeout: Option<Duration>) -> Self {
        let Caller { tenants, capabilities, held } = caller;
        let response_headers = Arc::default();
        let allow_utf8_label_names = capabilities.utf8_label_names;
        Self { tenants, allow_utf8_label_names, timeout, headers, response_headers, held }
    }
}

/// For plain handlers: the tenant is required.
impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        let tenancy = parts.extensions.get::<Tenancy>().copied().unwrap_or(Tenancy::Multi);
        let capabilities = parts.extensions.get::<Capabilities>().copied().unwrap_or_default();
        let tenants = match Tenants::from_headers(&parts.headers, tenancy) {
            Ok(tenants) => tenants,
            Err(InvalidTenantId::Missing) => return Err(HttpError::no_tenant()),
            Err(error) => return Err(error.into()),
        };
        tenants.say();
        let held = parts.extensions.get::<Arc<Held>>().cloned();
        Ok(Self::new(Caller { tenants, capabilities, held }, parts.headers.clone(), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Option<&'static str>) -> Result<Vec<String>, String> {
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(TENANT_HEADER, HeaderValue::from_static(text));
        }
        Tenants::from_headers(&headers, Tenancy::Multi)
            .map(|tenants| tenants.all().iter().map(ToString::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_rules_of_tenants() {
        assert_eq!(check(None), Err("no org id".to_owned()));
        assert_eq!(check(Some("")), Err("no org id".to_owned()));
        assert_eq!(check(Some("b|a|b")), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(check(Some("team:key=value")), Ok(vec!["team".to_owned()]));
        assert_eq!(check(Some("a/b")), Err("tenant ID 'a/b' contains unsupported character '/'".to_owned()));
        assert!(check(Some("..")).is_err());
        let many: &'static str = (0..=TENANTS_MAX).map(|n| format!("t{n}|")).collect::<String>().leak();
        let error = check(Some(many.trim_end_matches('|'))).expect_err("too many");
        assert!(error.contains("names 101 tenants, at most 100"), "{error}");
        let mut twice = HeaderMap::new();
        twice.append(TENANT_HEADER, HeaderValue::from_static("a"));
        twice.append(TENANT_HEADER, HeaderValue::from_static("b"));
        let repeated = Tenants::from_headers(&twice, Tenancy::Multi);
        assert_eq!(repeated, Err(InvalidTenantId::Repeated(2)));
        let single = Tenants::from_headers(&HeaderMap::new(), Tenancy::Single).expect("anonymous");
        assert_eq!(single.single().map(TenantId::as_str), Ok("anonymous"));
    }
}
