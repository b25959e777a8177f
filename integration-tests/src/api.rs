//! The wire as a client sees it: Connect with JSON for questions, Connect with protobuf for pushes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsConfigBuilder};

use crate::profile;

/// The one profile type that the tests push.
pub const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// A client for one tenant.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    tenant: String,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
    /// Why the answer is not exact, if it says so.
    pub inexact: Option<String>,
    /// Whether it lacks what could not be asked.
    pub partial: bool,
}

/// TLS that trusts the authorities of a file alone.
pub fn tls(authorities: Option<&Path>) -> TlsConfigBuilder {
    let pem = authorities.map(|file| std::fs::read(file).expect("readable")).unwrap_or_default();
    let certificates = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let roots: RootCerts = certificates.into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider)
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }
}

impl Api {
    /// A client.
    pub fn new(url: &str, tenant: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .max_idle_connections_per_host(16)
            .build();
        Self { url: url.to_owned(), tenant: tenant.to_owned(), agent: ureq::Agent::new_with_config(config) }
    }

    /// GET that takes an answer which lacks what cannot be asked.
    pub fn get_partial(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("X-Scope-OrgID", &self.tenant);
        read(request.header("X-Hearth-Allow-Partial", "true").call()?)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if !self.tenant.is_empty() {
            request = request.header("X-Scope-OrgID", &self.tenant);
        }
        read(request.call()?)
    }

    /// POST.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        if !self.tenant.is_empty() {
            request = request.header("X-Scope-OrgID", &self.tenant);
        }
        read(request.send(body)?)
    }

    /// POST of a body that is gzipped as a whole.
    pub fn post_gzipped(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        request = request.header("content-encoding", "gzip").header("X-Scope-OrgID", &self.tenant);
        read(request.send(body)?)
    }

    /// Pushes one profile (gzip or not) of one series.
    pub fn push(&self, labels: &[(&str, &str)], pprof: &[u8]) -> Result<Answer, ureq::Error> {
        self.post("/push.v1.PusherService/Push", "application/proto", &profile::push_request(labels, pprof))
    }

    /// Asks the querier.
    pub fn query(&self, method: &str, question: &Value) -> Answer {
        let body = question.to_string();
        self.post(&format!("/querier.v1.QuerierService/{method}"), "application/json", body.as_bytes())
            .expect("an answer")
    }

    /// Publishes all heads.
    pub fn flush(&self) {
        let answer = self.post("/flush", "application/json", b"").expect("an answer");
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
    }

    /// Sum of one type over what a selector selects, asked three ways that must agree: the flame graph's total, the sum
    /// of its self values, and the sum of a series.
    pub fn total(&self, selector: &str, start_ms: i64, end_ms: i64) -> Result<i64, String> {
        let range =
            json!({"profile_typeID": CPU, "label_selector": selector, "start": start_ms, "end": end_ms});
        let flame = self.query("SelectMergeStacktraces", &range);
        if flame.status != 200 {
            return Err(flame.text());
        }
        let graph = &flame.json()["flamegraph"];
        let total = number(&graph["total"]);
        let selfs: i64 = graph["levels"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|level| level["values"].as_array().cloned().unwrap_or_default())
            .skip(2)
            .step_by(4)
            .map(|value| number(&value))
            .sum();
        let series = self.series_total(selector, start_ms, end_ms)?;
        if total != selfs || total != series {
            return Err(format!("flame graph {total}, its selfs {selfs}, series {series}"));
        }
        Ok(total)
    }

    /// Sum of a series with one point at the end of the range; an error if the server is not there, too.
    pub fn series_total(&self, selector: &str, start_ms: i64, end_ms: i64) -> Result<i64, String> {
        self.series_total_marked(selector, start_ms, end_ms).map(|(total, _)| total)
    }

    /// As [`Api::series_total`], with what the answer says of being inexact.
    pub fn series_total_marked(
        &self,
        selector: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<(i64, Option<String>), String> {
        let step_ms = end_ms - start_ms;
        let question = json!({"profile_typeID": CPU, "label_selector": selector, "start": start_ms,
            "end": end_ms, "step": step_ms as f64 / 1000.0});
        let path = "/querier.v1.QuerierService/SelectSeries";
        let answer = self
            .post(path, "application/json", question.to_string().as_bytes())
            .map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(answer.text());
        }
        let json = answer.json();
        let points = json["series"].as_array().into_iter().flatten();
        let values = points.flat_map(|s| s["points"].as_array().cloned().unwrap_or_default());
        let total = values.map(|point| point["value"].as_f64().unwrap_or_default() as i64).sum();
        Ok((total, answer.inexact))
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.parse().expect("a number"),
        Value::Number(number) => number.as_i64().expect("an integer"),
        _ => 0,
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let inexact = response.headers().get("x-hearth-inexact");
    let inexact = inexact.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let partial = response.headers().get("x-hearth-partial").is_some_and(|value| value == "true");
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    Ok(Answer { status, body, inexact, partial })
}
