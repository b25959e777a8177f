//! The tail of the index and the block's entry: what a writer of any kind knows at its end.

use hearth_common::TimestampNs;
use hearth_model::ProfileType;

use super::table::GroupLayout;
use crate::FORMAT_MAJOR;
use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::frame::{IndexWriter, section};
use crate::input::BlockSpec;
use crate::meta::datasets::{Dataset, put_datasets};
use crate::meta::origin::{Origin, put_origin};
use crate::meta::pages::put_layouts;
use crate::meta::series::{SeriesRow, put_series};
use crate::meta::{put_annotations, put_types, put_units};

/// What stands in the tail.
pub(crate) struct Tail<'a> {
    /// (name, service), sorted.
    pub(crate) units: &'a [(&'a str, &'a str)],
    pub(crate) types: &'a [ProfileType],
    pub(crate) series: &'a [SeriesRow],
    pub(crate) datasets: &'a [Dataset],
    pub(crate) layouts: &'a [(&'a str, &'a [GroupLayout])],
    pub(crate) annotations: &'a [(u32, Vec<(String, String)>)],
    pub(crate) origin: &'a Origin,
    /// The section of rollups, if there are some.
    pub(crate) rollups: Option<&'a [u8]>,
}

impl Tail<'_> {
    /// Appends all sections of the tail.
    pub(crate) fn put(&self, index: &mut IndexWriter) -> Result<(), BlockError> {
        let (labels, series) = put_series(self.series);
        index.stream(section::UNITS, &put_units(self.units.iter().copied()))?;
        index.stream(section::TYPES, &put_types(self.types))?;
        index.stream(section::LABELS, &labels)?;
        index.stream(section::SERIES, &series)?;
        index.stream(section::DATASETS, &put_datasets(self.datasets))?;
        index.stream(section::PAGES, &put_layouts(self.layouts))?;
        if !self.annotations.is_empty() {
            let rows: Vec<(u32, &[(String, String)])> =
                self.annotations.iter().map(|(row, pairs)| (*row, pairs.as_slice())).collect();
            index.stream(section::ANNOTATIONS, &put_annotations(&rows))?;
        }
        index.stream(section::ORIGIN, &put_origin(self.origin))?;
        self.rollups.map_or(Ok(()), |rollups| index.stream(section::ROLLUPS, rollups))
    }

    /// The entry but for what follows from the objects and the attempt.
    pub(crate) fn entry(&self, spec: &BlockSpec, samples: u64) -> BlockEntry {
        let runs = || self.datasets.iter().flat_map(|d| &d.slices).flat_map(|s| &s.runs);
        let services = || self.units.iter().map(|(_, service)| *service);
        BlockEntry {
            id: spec.id_of_part(self.origin.part),
            attempt: String::new(),
            format: FORMAT_MAJOR,
            day: spec.day,
            level: spec.level,
            min_time: TimestampNs(runs().map(|run| run.min_time).min().unwrap_or_default()),
            max_time: TimestampNs(runs().map(|run| run.max_time).max().unwrap_or_default()),
            first_service: services().min().unwrap_or_default().to_owned(),
            last_service: services().max().unwrap_or_default().to_owned(),
            types: self.types.iter().map(ProfileType::id).collect(),
            objects: Vec::new(),
            index_directory_offset: 0,
            profiles: self.origin.records,
            samples,
            series: self.series.len() as u64,
            units: self.units.len() as u64,
            sources: spec.sources.clone(),
        }
    }
}
