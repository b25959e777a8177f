//! A client of a running server, over the same wire as every other client.

mod access;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_common::secrets::hide_url;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::cli::LoginArgs;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// One server, one tenant.
#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    /// Without a password.
    shown: String,
    tenant: Option<String>,
    /// The header of the same name.
    authorization: Option<String>,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.shown)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// One that asks for nothing but a tenant.
    pub(crate) fn new(url: &str, tenant: Option<&str>) -> Result<Self> {
        Self::with(url, tenant, &LoginArgs::default())
    }

    /// With certificates and credentials as the flags and the environment say.
    pub(crate) fn login(url: &str, tenant: Option<&str>, login: &LoginArgs) -> Result<Self> {
        let authorization = access::authorization(login)?;
        Ok(Self { authorization, ..Self::with(url, tenant, login)? })
    }

    fn with(url: &str, tenant: Option<&str>, login: &LoginArgs) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let shown = hide_url(&url);
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            bail!("--url {shown}: write http://HOST:PORT or https://HOST");
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(300)))
            .timeout_connect(Some(Duration::from_secs(5)))
            .max_idle_connections_per_host(64)
            .tls_config(access::tls(login.ca_file.as_deref())?)
            .build();
        let (tenant, agent) = (tenant.map(str::to_owned), ureq::Agent::new_with_config(config));
        Ok(Self { url, shown, tenant, authorization: None, agent })
    }

    /// Puts on a request who asks.
    fn as_whom<B>(&self, mut request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        request
    }

    /// Its address, without a password.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.url));
        self.read(self.as_whom(request).call())
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer> {
        let request = self.agent.delete(format!("{}{path}", self.url));
        self.read(self.as_whom(request).call())
    }

    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        self.read(self.as_whom(request).send(body))
    }

    /// Sends a large body and shows how far it is.
    pub(crate) fn post_watched(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
        progress: &ProgressBar,
    ) -> Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        let request = request.header("content-length", body.len());
        let mut watched = progress.wrap_read(body);
        self.read(self.as_whom(request).send(ureq::SendBody::from_reader(&mut watched)))
    }

    /// Asks the querier in JSON.
    pub(crate) fn ask(&self, method: &str, question: &Value) -> Result<Value> {
        self.call(&format!("/querier.v1.QuerierService/{method}"), question)
    }

    /// Calls a method by its path, in JSON.
    pub(crate) fn call(&self, path: &str, question: &Value) -> Result<Value> {
        let answer = self.post(path, "application/json", question.to_string().as_bytes())?.ok()?;
        let method = path.rsplit('/').next().unwrap_or_default();
        serde_json::from_slice(&answer.body)
            .with_context(|| format!("{}: the answer to {method} is no JSON", self.shown))
    }

    fn read(&self, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer> {
        let mut response = response.map_err(|error| self.unreachable(error))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(Answer { status, body: body.with_context(|| format!("the answer of {} breaks off", self.shown))? })
    }

    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        match &error {
            ureq::Error::Io(io) if refused(io) => {
                anyhow::anyhow!(
                    "nobody listens at {}: start a server with `hearth`, or name one with --url",
                    self.shown
                )
            }
            _ => {
                let hint = access::hint(&error);
                anyhow::Error::new(error).context(format!("cannot reach {}{hint}", self.shown))
            }
        }
    }
}

impl Answer {
    /// The answer if it is a success, else the server's words.
    pub(crate) fn ok(self) -> Result<Self> {
        if self.status / 100 == 2 {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body).trim().to_owned();
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|json| json["message"].as_str().map(str::to_owned))
            .unwrap_or(text);
        let hint = match self.status {
            401 => {
                " (the server tells tenants apart: name one with --tenant, or log in at a gateway with --user or HEARTH_TOKEN)"
            }
            _ if message.contains("ingestion window") => " (give it the present time with --now)",
            _ => "",
        };
        bail!("the server refuses with {}: {message}{hint}", self.status)
    }
}
