//! The process profiles itself all the time and pushes what it sees, to itself or to another Hearth. Failures are logged when
//! they begin and counted; nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::Clock;
use hearth_common::secrets::hide_in;
use hearth_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use hearth_proto::types::v1::LabelPair;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use prost::Message;

use super::{Gzipped, ProfilingError};

/// Samples for each second of CPU time.
const CPU_PER_SECOND: u32 = 100;
/// The longest that a push takes.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Where pushes go.
const PUSH_PATH: &str = "/push.v1.PusherService/Push";

/// What is pushed where.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Base URL of a Hearth.
    pub url: String,
    /// For whom; empty: no tenant is named.
    pub tenant: String,
    /// The length of a profile, and the time between two of the heap.
    pub interval: Duration,
    /// Whether CPU time is profiled.
    pub cpu: bool,
    /// Whether the heap is.
    pub heap: bool,
    /// `service_name` of the profiles.
    pub service: String,
    /// Their `service_instance_id`.
    pub instance: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    profile: &'static str,
    outcome: &'static str,
}

/// Profiles of the process itself.
#[derive(Debug, Clone, Default)]
pub struct SelfProfiling(Family<Outcome, Counter>);

/// Why a profile was not pushed.
#[derive(Debug, thiserror::Error)]
enum PushFailure {
    #[error(transparent)]
    Taking(#[from] ProfilingError),
    #[error("{0}")]
    Lost(String),
    #[error("it is not sent")]
    Sending(#[from] reqwest::Error),
    #[error("it was answered with {status}: {text}")]
    Refused { status: u16, text: String },
}

impl SelfProfiling {
    /// With its metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        let help = "Profiles that the process took of itself, by what became of them";
        registry.register("hearth_self_profiles", help, this.0.clone());
        this
    }

    /// Takes and pushes profiles for as long as the process runs.
    pub async fn run(self, options: PushOptions, clock: Arc<dyn Clock>) {
        let client = match reqwest::Client::builder().timeout(PUSH_TIMEOUT).build() {
            Ok(client) => client,
            Err(error) => {
                let error = hearth_common::error::chain(&error);
                return tracing::error!(error, "the process cannot profile itself: no HTTP client");
            }
        };
        let (mut cpu_failing, mut heap_failing) = (false, false);
        loop {
            if options.cpu {
                let taken = super::cpu(options.interval, CPU_PER_SECOND, &*clock).await;
                let pushed = push(&client, &options, "process_cpu", taken).await;
                let refused = pushed.is_err();
                self.note("cpu", pushed, &mut cpu_failing);
                if refused {
                    // It may have failed at once.
                    tokio::time::sleep(options.interval).await;
                }
            } else {
                tokio::time::sleep(options.interval).await;
            }
            if options.heap {
                let taken = tokio::task::spawn_blocking(super::heap_since_start).await;
                let pushed = match taken {
                    Ok(taken) => push(&client, &options, "memory", taken).await,
                    Err(error) => Err(PushFailure::Lost(error.to_string())),
                };
                self.note("heap", pushed, &mut heap_failing);
            }
        }
    }

    fn note(&self, profile: &'static str, pushed: Result<(), PushFailure>, failing: &mut bool) {
        let outcome = if pushed.is_ok() { "pushed" } else { "failed" };
        self.0.get_or_create(&Outcome { profile, outcome }).inc();
        match &pushed {
            Err(error) if !*failing => {
                let error = hide_in(&hearth_common::error::chain(error));
                tracing::warn!(profile, error, "a profile of the process itself is not pushed; going on");
            }
            _ => {}
        }
        *failing = pushed.is_err();
    }
}

async fn push(
    client: &reqwest::Client,
    options: &PushOptions,
    name: &str,
    taken: Result<Gzipped, ProfilingError>,
) -> Result<(), PushFailure> {
    let label = |name: &str, value: &str| LabelPair { name: name.to_owned(), value: value.to_owned() };
    let labels = vec![
        label("__name__", name),
        label("service_name", &options.service),
        label("service_instance_id", &options.instance),
    ];
    let sample = RawSample { raw_profile: taken?.into(), id: String::new() };
    let series = RawProfileSeries { labels, samples: vec![sample], ..RawProfileSeries::default() };
    let body = PushRequest { series: vec![series] }.encode_to_vec();
    let url = format!("{}{PUSH_PATH}", options.url.trim_end_matches('/'));
    let mut request = client.post(url).header("content-type", "application/proto").body(body);
    if !options.tenant.is_empty() {
        request = request.header("X-Scope-OrgID", &options.tenant);
    }
    // An address may hold a password.
    let answer = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = answer.status().as_u16();
    if status != 200 {
        let text: String = answer.text().await.unwrap_or_default().chars().take(200).collect();
        return Err(PushFailure::Refused { status, text });
    }
    Ok(())
}
