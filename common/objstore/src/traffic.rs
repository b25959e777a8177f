//! What is counted of requests to a remote store: how many, how they ended, which were repeated, who waited for a place.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::class::Class;
use crate::metrics::Operation;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// It was answered: also with "no such object", "exists already".
    Ok,
    /// It was refused, and would be again.
    Refused,
    /// The server has a failure, or asks for less.
    Failed,
    /// There was no answer.
    Unanswered,
}

impl Ending {
    const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Failed, Self::Unanswered];

    /// What a status means.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            // Conditions that do not hold, and ranges of empty objects, are answers.
            0..400 | 404 | 409 | 412 | 416 => Self::Ok,
            408 | 429 | 500.. => Self::Failed,
            _ => Self::Refused,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// What became of the second request of a slow read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hedge {
    /// It was sent.
    Sent,
    /// It answered first.
    Won,
    /// It was not sent: too many are on their way.
    Refused,
}

impl Hedge {
    const ALL: [Self; 3] = [Self::Sent, Self::Won, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Won => "won",
            Self::Refused => "refused",
        }
    }
}

macro_rules! label_value {
    ($($of:ty),*) => {$(
        impl EncodeLabelValue for $of {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    )*};
}
label_value!(Class, Ending, Hedge, Operation);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    class: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCall {
    operation: Operation,
    class: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    operation: Operation,
    class: Class,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHedge {
    outcome: Hedge,
}

/// The counters. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    requests: Family<OfRequest, Counter>,
    retries: Family<OfCall, Counter>,
    exhausted: Family<OfCall, Counter>,
    refused: Family<OfClass, Counter>,
    upload_retries: Family<OfClass, Counter>,
    fetched: Family<OfClass, Counter>,
    sent: Family<OfClass, Counter>,
    in_flight: Family<OfClass, Gauge>,
    waiting: Family<OfClass, Gauge>,
    waited: Family<OfClass, Counter>,
    hedges: Family<OfHedge, Counter>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        let this = Self::default();
        for class in Class::ALL {
            let of = OfClass { class };
            for family in [&this.refused, &this.upload_retries, &this.fetched, &this.sent, &this.waited] {
                drop(family.get_or_create(&of));
            }
            drop(this.in_flight.get_or_create(&of));
            drop(this.waiting.get_or_create(&of));
            for operation in Operation::ALL {
                drop(this.retries.get_or_create(&OfCall { operation, class }));
                drop(this.exhausted.get_or_create(&OfCall { operation, class }));
                for ending in Ending::ALL {
                    drop(this.requests.get_or_create(&OfRequest { operation, class, ending }));
                }
            }
        }
        for outcome in Hedge::ALL {
            drop(this.hedges.get_or_create(&OfHedge { outcome }));
        }
        this
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_objstore");
        registry.register("requests", "Requests to a bucket, each retry by itself", self.requests.clone());
        registry.register("retries", "Requests that were tried again", self.retries.clone());
        let help = "Calls that failed although they were tried again";
        registry.register("retries_exhausted", help, self.exhausted.clone());
        let help = "Retries that were not made because the budget of their class was used up";
        registry.register("retry_budget_refused", help, self.refused.clone());
        let help = "Steps of uploads that were begun anew after all retries of their requests";
        registry.register("upload_retries", help, self.upload_retries.clone());
        registry.register("fetched_bytes", "Bytes read", self.fetched.clone());
        registry.register("sent_bytes", "Bytes written", self.sent.clone());
        registry.register("requests_in_flight", "Requests on their way", self.in_flight.clone());
        registry.register("requests_waiting", "Requests that wait for a place", self.waiting.clone());
        registry.register("requests_waited", "Requests that had to wait for a place", self.waited.clone());
        let help = "Second requests of slow reads";
        registry.register("hedges", help, self.hedges.clone());
    }

    pub(crate) fn request(&self, operation: Operation, class: Class, ending: Ending) {
        self.requests.get_or_create(&OfRequest { operation, class, ending }).inc();
    }

    pub(crate) fn retry(&self, operation: Operation, class: Class) {
        self.retries.get_or_create(&OfCall { operation, class }).inc();
    }

    pub(crate) fn exhausted(&self, operation: Operation, class: Class) {
        self.exhausted.get_or_create(&OfCall { operation, class }).inc();
    }

    pub(crate) fn budget_refused(&self, class: Class) {
        self.refused.get_or_create(&OfClass { class }).inc();
    }

    pub(crate) fn upload_retry(&self, class: Class) {
        self.upload_retries.get_or_create(&OfClass { class }).inc();
    }

    /// Bytes of an operation that succeeded.
    pub(crate) fn moved(&self, operation: Operation, class: Class, bytes: u64) {
        let family = match operation {
            Operation::Get | Operation::GetRange => &self.fetched,
            Operation::Upload | Operation::Create => &self.sent,
            _ => return,
        };
        family.get_or_create(&OfClass { class }).inc_by(bytes);
    }

    pub(crate) fn in_flight(&self, class: Class) -> Gauge {
        self.in_flight.get_or_create(&OfClass { class }).clone()
    }

    pub(crate) fn waiting(&self, class: Class) -> Gauge {
        self.waiting.get_or_create(&OfClass { class }).clone()
    }

    pub(crate) fn waited(&self, class: Class) {
        self.waited.get_or_create(&OfClass { class }).inc();
    }

    pub(crate) fn hedge(&self, outcome: Hedge) {
        self.hedges.get_or_create(&OfHedge { outcome }).inc();
    }
}
