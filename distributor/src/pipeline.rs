//! The steps of one profile in their order (api-semantics §3.3, 8 to 18): from a parsed pprof to encoded records.
//!
//! Pure: what comes out depends on the profile, the labels, the tenant's rules and `now`. Must not know: rate limits, the wire,
//! who takes the records.

use std::borrow::Cow;

use bytes::Bytes;
use hearth_common::{TenantLimits, TimestampNs};
use hearth_formats::pprof::Pprof;
use hearth_model::labels::{SAMPLED, TYPE, UNIT};

use crate::labels::{self, Label};
use crate::language::{self, Language};
use crate::normalize::{Input, Normalizer};
use crate::records::{Encoder, Outputs, PartId, Shared};
use crate::reject::Rejected;
use crate::split::Groups;
use crate::{go_repair, relabel, session, source_code, validate};

/// The label that names the profiler.
pub(crate) const SPY: &str = "pyroscope_spy";

/// A parsed profile with its surroundings.
#[derive(Debug)]
pub struct Part<'a> {
    /// What identifies it.
    pub id: PartId<'a>,
    /// Labels of its series, with defaults, sorted.
    pub series: Vec<Label<'a>>,
    /// The bytes that its strings borrow from; empty when it has none of its own.
    pub raw: &'a [u8],
    /// What is noted of it: keys and JSON.
    pub annotations: Vec<(&'static str, String)>,
    /// Its size as a pprof, decoded, or what it would be.
    pub size_bytes: usize,
    /// Of its samples only the sums are kept, without stacks and labels, marked by the label [`SAMPLED`].
    pub totals_only: bool,
}

/// A tenant's rules as they are now.
#[derive(Debug, Clone, Copy)]
pub struct TenantRules<'a> {
    /// Limits.
    pub limits: &'a TenantLimits,
    /// Relabelling of series.
    pub series: &'a relabel::Rules,
    /// Relabelling that drops sample types; `None` = there are no such rules.
    pub sample_types: Option<&'a relabel::Rules>,
    /// The time.
    pub now: TimestampNs,
}

/// What became of a profile, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Bytes of symbols as sent.
    pub symbols_bytes: usize,
    /// Records made.
    pub records: usize,
    /// Bytes of all its records.
    pub record_bytes: usize,
    /// Groups that a relabelling rule dropped.
    pub groups_dropped: usize,
}

/// Work space: reused, so that a warm thread allocates next to nothing.
#[derive(Debug, Default)]
pub struct Work {
    strings: Vec<&'static str>,
    columns: Vec<u32>,
    normalizer: Normalizer,
    encoder: Encoder,
}

impl Work {
    /// Runs all steps; appends the records. Nothing is appended when the profile is refused.
    pub fn run<'a>(
        &mut self,
        pprof: &mut Pprof<'a>,
        part: &Part<'a>,
        rules: TenantRules<'_>,
        out: &mut Vec<Bytes>,
    ) -> Result<Done, Rejected> {
        let before = out.len();
        let done = self.steps(pprof, part, rules, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }

    fn steps<'a>(
        &mut self,
        pprof: &mut Pprof<'a>,
        part: &Part<'a>,
        rules: TenantRules<'_>,
        out: &mut Vec<Bytes>,
    ) -> Result<Done, Rejected> {
        let spy = labels::get(&part.series, SPY).and_then(language::of_spy);
        let language = spy.unwrap_or_else(|| language::of_strings(&pprof.strings));
        let time = validate::profile(pprof, part.size_bytes, &part.series, rules.limits, rules.now)?;
        let symbols_bytes = pprof.strings.iter().map(|text| text.len() + 2).sum();
        let mut strings: Vec<&str> =
            std::mem::take(&mut self.strings).into_iter().map(|_| -> &'a str { "" }).collect();
        validate::utf8(&pprof.strings, &mut strings)?;
        let stripped = match language {
            Language::Go => go_repair::Stripped::new(part.raw, &strings),
            _ => go_repair::Stripped::default(),
        };
        if language == Language::Go {
            if !stripped.is_empty() {
                stripped.apply(&mut strings, pprof);
            }
            go_repair::complete_stacks(pprof);
        }
        if part.totals_only {
            totals(pprof);
        }
        self.columns(pprof, &strings, &part.series, rules.sample_types);
        let mut done = Done { symbols_bytes, ..Done::default() };
        let build_ids = source_code::build_ids(&part.series, pprof, &strings)?;
        let input = Input {
            pprof,
            strings: &strings,
            series: &part.series,
            columns: &self.columns,
            repeats: !stripped.is_empty(),
        };
        let mut groups = Groups::default();
        self.normalizer.run(&input, &mut groups);
        if !self.normalizer.rows.ends.is_empty() {
            let outputs = outputs(part, &groups, rules)?;
            done.groups_dropped = outputs.of_group.iter().filter(|at| **at == crate::idtable::NONE).count();
            let before = out.len();
            let shared = Shared {
                input: &input,
                part: part.id,
                time,
                build_ids: &build_ids,
                annotations: &part.annotations,
            };
            self.encoder.encode(&shared, &mut self.normalizer, &outputs, out)?;
            done.records = out.len() - before;
            done.record_bytes = out[before..].iter().map(Bytes::len).sum();
        }
        self.strings = strings.into_iter().map(|_| -> &'static str { "" }).collect();
        Ok(done)
    }

    /// The sample types that the tenant's rules keep.
    fn columns(
        &mut self,
        pprof: &Pprof<'_>,
        strings: &[&str],
        series: &[Label<'_>],
        rules: Option<&relabel::Rules>,
    ) {
        let text = |index: i64| usize::try_from(index).ok().and_then(|at| strings.get(at)).copied();
        let keep = |column: &u32| {
            let Some(rules) = rules else { return true };
            let ty = &pprof.sample_types[*column as usize];
            let mut labels = series.to_vec();
            labels::set(&mut labels, Cow::Borrowed(TYPE), Cow::Borrowed(text(ty.ty).unwrap_or_default()));
            labels::set(&mut labels, Cow::Borrowed(UNIT), Cow::Borrowed(text(ty.unit).unwrap_or_default()));
            rules.apply(&mut labels)
        };
        self.columns.clear();
        self.columns.extend((0..pprof.sample_types.len() as u32).filter(keep));
    }
}

/// Takes stacks and labels off all samples: they become one when equal samples are summed.
fn totals(pprof: &mut Pprof<'_>) {
    for sample in &mut pprof.samples {
        (sample.location_count, sample.label_count) = (0, 0);
    }
}

fn outputs<'s>(
    part: &Part<'s>,
    groups: &Groups<'s>,
    rules: TenantRules<'_>,
) -> Result<Outputs<'s>, Rejected> {
    let mut series = part.series.clone();
    session::limit(&mut series, rules.limits.max_sessions_per_series);
    if part.totals_only {
        labels::set(&mut series, Cow::Borrowed(SAMPLED), Cow::Borrowed("true"));
    }
    Outputs::new(&series, &groups.sets, |labels| {
        let kept = rules.series.apply(labels);
        if kept {
            labels::validate(labels, rules.limits)?;
        }
        Ok(kept)
    })
}
