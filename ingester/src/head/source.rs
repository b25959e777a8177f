//! A unit of a sealed head as the input of a block.

use hearth_block::input::{ProfileRow, SpanSample, UnitSource, UnitSymbols};
use hearth_model::Labels;

use super::rows::Row;
use super::unit::{HidesByType, UnitView};
use super::{Filter, admitted};

/// What of a unit goes into blocks: the rows that a filter admits.
#[derive(Debug)]
pub(crate) struct SealedUnit<'f> {
    pub(crate) view: UnitView,
    pub(crate) filter: &'f Filter,
}

/// Buffers of one visit.
#[derive(Debug, Default)]
struct Buffers {
    samples: Vec<(u32, i64)>,
    spans: Vec<SpanSample>,
}

impl SealedUnit<'_> {
    fn rows(&self, series: usize, day: i32, mut each: impl FnMut(&Row<'_>, &HidesByType<'_>)) {
        let hides = self.view.hides(&self.view.series[series], self.filter);
        for chunk in &self.view.series[series].chunks {
            if chunk.meta.min_time.day() > day || chunk.meta.max_time.day() < day {
                continue;
            }
            for row in admitted(chunk, self.filter).filter(|row| row.head.time.day() == day) {
                each(&row, &hides);
            }
        }
    }

    fn lend(
        &self,
        row: &Row<'_>,
        column: usize,
        ty: usize,
        buffers: &mut Buffers,
        annotations: &[(String, String)],
        visit: &mut dyn FnMut(&ProfileRow<'_>),
    ) {
        row.sorted_samples(column, &mut buffers.samples);
        if buffers.samples.is_empty() {
            return;
        }
        buffers.spans.clear();
        row.spans(column, |span| buffers.spans.push(span));
        let ty = &self.view.types[ty].ty;
        visit(&ProfileRow {
            sample_type: [&ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit],
            time: row.head.time,
            rid: row.head.rid,
            duration_ns: row.head.duration_ns,
            period: row.head.period,
            samples: &buffers.samples,
            spans: &buffers.spans,
            annotations,
        });
    }
}

impl UnitSource for SealedUnit<'_> {
    fn profile_name(&self) -> &str {
        &self.view.name
    }

    fn service(&self) -> &str {
        &self.view.service
    }

    fn symbols(&self) -> &dyn UnitSymbols {
        &self.view.symbols
    }

    fn series(&self) -> Vec<Labels> {
        self.view.series.iter().map(|series| series.labels.clone()).collect()
    }

    fn profiles(&self, series: usize, day: i32, visit: &mut dyn FnMut(&ProfileRow<'_>)) {
        let mut buffers = Buffers::default();
        self.rows(series, day, |row, hides| {
            let annotations = row.annotations();
            for (column, ty) in self.view.columns(row, hides) {
                self.lend(row, column, ty as usize, &mut buffers, &annotations, visit);
            }
        });
    }

    fn profiles_of_type(
        &self,
        series: usize,
        day: i32,
        sample_type: [&str; 4],
        visit: &mut dyn FnMut(&ProfileRow<'_>),
    ) {
        let is = |ty: &hearth_model::ProfileType| {
            [&*ty.sample_type, &*ty.sample_unit, &*ty.period_type, &*ty.period_unit] == sample_type
        };
        let Some(ty) = self.view.types.iter().position(|own| is(&own.ty)) else { return };
        let mut buffers = Buffers::default();
        self.rows(series, day, |row, hides| {
            if hides.has(ty as u32, &row.head) {
                return;
            }
            let types = &self.view.type_sets[row.head.type_set as usize];
            // A record may name one type twice.
            for (column, _) in types.iter().enumerate().filter(|(_, own)| **own as usize == ty) {
                if row.total(column).1 > 0 {
                    self.lend(row, column, ty, &mut buffers, &row.annotations(), visit);
                }
            }
        });
    }
}
