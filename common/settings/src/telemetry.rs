//! Keys of what a process tells of itself: whether it lives, traces of requests, profiles of itself.

use hearth_common::units::GoDuration;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Settings;

/// A profile that is pushed spans this long at least, and at most.
const INTERVAL_MIN: GoDuration = GoDuration::from_secs(1);
const INTERVAL_MAX: GoDuration = GoDuration::from_secs(60);
/// A loop may be silent for this long at least: a disk or a busy machine makes it wait a second now and then.
const STALLED_AFTER_MIN: GoDuration = GoDuration::from_secs(1);

/// What `/healthz` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Liveness {
    /// A loop that is silent at work for longer is stuck, and the process is not alive: a write or fsync of the log that does
    /// not come back, tasks that do not run. Loops that wait for the object store get as much longer as its client tries.
    pub stalled_after: GoDuration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { stalled_after: GoDuration::from_secs(60) }
    }
}

/// Traces of requests, sent to a collector over OTLP. Headers for the collector, such as those that authenticate, come from
/// the variable `OTEL_EXPORTER_OTLP_HEADERS`, and more about the process from `OTEL_RESOURCE_ATTRIBUTES`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// The collector: `http://tempo:4318`, or `http://tempo:4317` for gRPC. Empty: nothing is sent; the trace of a request
    /// is in the log and is passed on to other processes all the same.
    pub otlp_endpoint: String,
    /// How the collector is spoken with.
    pub protocol: OtlpProtocol,
    /// Share of requests that are sampled, 0 to 1, of those whose client says nothing about it in `traceparent`.
    pub sample_ratio: f64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), protocol: OtlpProtocol::Http, sample_ratio: 0.01 }
    }
}

/// How a collector of traces is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpProtocol {
    /// Protobuf in HTTP or HTTPS; what names no path gets `/v1/traces`.
    #[serde(rename = "http/protobuf")]
    Http,
    /// gRPC, without TLS.
    #[serde(rename = "grpc")]
    Grpc,
}

/// Profiles of the process itself, at `/debug/pprof/`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profiling {
    /// Notes where memory is taken, one of each 512KiB, for `/debug/pprof/heap`. CPU time is profiled whenever it is asked for.
    pub heap: bool,
}

/// Profiles that the process takes of itself all the time, and pushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfProfiling {
    /// The switch.
    pub push: bool,
    /// Base URL of a Hearth, or of a distributor. Empty: the process itself, which only Hearth on one machine can be.
    pub url: String,
    /// The tenant that the profiles are pushed for, where tenants are told apart.
    pub tenant: String,
    /// The time that a CPU profile spans, and between two of the heap; at most 60s.
    pub interval: GoDuration,
    /// Where CPU time is spent, by 100 samples for each second of it.
    pub cpu: bool,
    /// Which memory is in use; as `profiling.heap`.
    pub heap: bool,
}

impl Default for SelfProfiling {
    fn default() -> Self {
        Self {
            push: false,
            url: String::new(),
            tenant: "hearth".to_owned(),
            interval: GoDuration::from_secs(15),
            cpu: true,
            heap: true,
        }
    }
}

/// What a type cannot say.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let stalled_after = &settings.liveness.stalled_after;
    if *stalled_after < STALLED_AFTER_MIN {
        let (key, value) = ("liveness.stalled_after", stalled_after.to_string());
        return Err(Error::Invalid { key, value, message: "it is at least 1s" });
    }
    check_self_profiling(&settings.self_profiling)?;
    check_tracing(&settings.tracing)
}

fn check_self_profiling(own: &SelfProfiling) -> Result<(), Error> {
    let invalid = |key, value: String, message| Err(Error::Invalid { key, value, message });
    if !own.url.is_empty() && !own.url.starts_with("http://") && !own.url.starts_with("https://") {
        let message = "write http://… or https://…, or leave it empty";
        return invalid("self_profiling.url", own.url.clone(), message);
    }
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&own.interval) {
        return invalid("self_profiling.interval", own.interval.to_string(), "it is 1s to 60s");
    }
    Ok(())
}

fn check_tracing(tracing: &Tracing) -> Result<(), Error> {
    let invalid = |key, value: String, message| Err(Error::Invalid { key, value, message });
    let Tracing { otlp_endpoint, protocol, sample_ratio } = tracing;
    let (http, https) = (otlp_endpoint.starts_with("http://"), otlp_endpoint.starts_with("https://"));
    if !otlp_endpoint.is_empty() && !http && !https {
        let message = "write http://… or https://…, or leave it empty";
        return invalid("tracing.otlp_endpoint", otlp_endpoint.clone(), message);
    }
    let host = otlp_endpoint.split('/').nth(2).unwrap_or_default();
    if host.contains('@') {
        // It would not be sent as a header, and be logged by the client.
        let message = "leave the user out: credentials stand in OTEL_EXPORTER_OTLP_HEADERS";
        return invalid("tracing.otlp_endpoint", otlp_endpoint.clone(), message);
    }
    if https && *protocol == OtlpProtocol::Grpc {
        let message = "with tracing.protocol grpc there is no TLS: use http/protobuf";
        return invalid("tracing.otlp_endpoint", otlp_endpoint.clone(), message);
    }
    if !(0.0..=1.0).contains(sample_ratio) {
        return invalid("tracing.sample_ratio", sample_ratio.to_string(), "it is 0 to 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl Fn(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        check(&settings).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(said(|_| ()), "");
        assert!(
            said(|s| s.liveness.stalled_after = GoDuration::from_secs(0)).contains("liveness.stalled_after")
        );
        assert!(said(|s| s.self_profiling.url = "x".to_owned()).contains("self_profiling.url"));
        let long = |s: &mut Settings| s.self_profiling.interval = GoDuration::from_secs(61);
        assert!(said(long).contains("self_profiling.interval"));
        assert!(said(|s| s.tracing.sample_ratio = 1.5).contains("tracing.sample_ratio"));
        assert!(said(|s| s.tracing.sample_ratio = f64::NAN).contains("tracing.sample_ratio"));
        assert!(
            said(|s| s.tracing.otlp_endpoint = "tempo:4317".to_owned()).contains("tracing.otlp_endpoint")
        );
        assert_eq!(said(|s| s.tracing.otlp_endpoint = "https://tempo".to_owned()), "");
        let user = |s: &mut Settings| s.tracing.otlp_endpoint = "https://u:p@tempo/x".to_owned();
        assert!(said(user).contains("OTEL_EXPORTER_OTLP_HEADERS"));
        let grpc = |s: &mut Settings| {
            s.tracing = Tracing {
                otlp_endpoint: "https://tempo".to_owned(),
                protocol: OtlpProtocol::Grpc,
                ..s.tracing
            };
        };
        assert!(said(grpc).contains("http/protobuf"));
    }
}
