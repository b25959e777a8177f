//! Why a profile is not taken: the kind for the wire, the reason for metrics, the text for people.

use hearth_common::{Classify, ErrorKind};

/// The closed set of reasons in `pyroscope_discarded_samples_total` that a distributor gives (api-semantics §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the reasons' own")]
pub enum Reason {
    Unknown,
    InvalidLabels,
    MissingLabels,
    RateLimited,
    NotInIngestionWindow,
    MaxLabelNamesPerSeries,
    LabelNameTooLong,
    LabelValueTooLong,
    DuplicateLabelNames,
    SeriesLimit,
    SamplesLimit,
    ProfileSizeLimit,
    SampleLabelsLimit,
    MalformedProfile,
    BodySizeLimitExceeded,
    DroppedByRelabelRules,
    IngestLimitReached,
    DroppedBySamplingRules,
}

impl Reason {
    /// Each of them, in their order.
    pub(crate) const ALL: [Self; Self::DroppedBySamplingRules as usize + 1] = [
        Self::Unknown,
        Self::InvalidLabels,
        Self::MissingLabels,
        Self::RateLimited,
        Self::NotInIngestionWindow,
        Self::MaxLabelNamesPerSeries,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::DuplicateLabelNames,
        Self::SeriesLimit,
        Self::SamplesLimit,
        Self::ProfileSizeLimit,
        Self::SampleLabelsLimit,
        Self::MalformedProfile,
        Self::BodySizeLimitExceeded,
        Self::DroppedByRelabelRules,
        Self::IngestLimitReached,
        // The last: the number of all follows from it.
        Self::DroppedBySamplingRules,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::InvalidLabels => "invalid_labels",
            Self::MissingLabels => "missing_labels",
            Self::RateLimited => "rate_limited",
            Self::NotInIngestionWindow => "not_in_ingestion_window",
            Self::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::DuplicateLabelNames => "duplicate_label_names",
            Self::SeriesLimit => "series_limit",
            Self::SamplesLimit => "samples_limit",
            Self::ProfileSizeLimit => "profile_size_limit",
            Self::SampleLabelsLimit => "sample_labels_limit",
            Self::MalformedProfile => "malformed_profile",
            Self::BodySizeLimitExceeded => "body_size_limit_exceeded",
            Self::DroppedByRelabelRules => "dropped_by_relabel_rules",
            Self::IngestLimitReached => "ingest_limit_reached",
            Self::DroppedBySamplingRules => "dropped_by_sampling_rules",
        }
    }
}

/// A profile that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejected {
    /// What went wrong, for the wire.
    pub kind: ErrorKind,
    /// For metrics.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Classify for Rejected {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl Rejected {
    /// The client's mistake.
    pub fn invalid(reason: Reason, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidArgument, reason, message: message.into() }
    }

    /// A limit that lets more through later.
    pub fn exhausted(reason: Reason, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::ResourceExhausted, reason, message: message.into() }
    }

    /// Bytes that are no profile.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::invalid(Reason::MalformedProfile, message)
    }
}
