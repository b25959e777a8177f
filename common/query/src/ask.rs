//! What a request on profile data says, checked and turned into a query: range, type, selector, spans, profiles.

use hearth_common::{Classify, ErrorKind, TenantLimits, TimestampNs};
use hearth_model::profile_type::InvalidProfileType;
use hearth_model::selector::InvalidSelector;
use hearth_model::spans::{SpanFilter, parse_span_id, parse_trace_id};
use hearth_model::{ProfileQuery, ProfileType, Selector, StepGrid};

use crate::nodes::NodesError;
use crate::range::{self, AskedRange, RangeError};

/// Most entries of a list of spans, traces or profiles in one request.
pub const IDS_MAX: usize = 10_000;
/// Most selectors of one question about labels.
pub const MATCHERS_MAX: usize = 64;
/// Most function names of one call site.
pub const CALL_SITE_MAX: usize = 4096;
/// Most labels by which one question about series groups or that it wants to see.
pub const NAMES_MAX: usize = 256;
/// Most steps of one series.
pub const STEPS_MAX: i64 = u32::MAX as i64;

/// A request on profile data as it came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProfileAsk {
    /// The five-part id.
    pub profile_type: String,
    /// PromQL selector.
    pub selector: String,
    /// Milliseconds.
    pub range: AskedRange,
    /// Function names, outermost first.
    pub call_site: Vec<String>,
    /// 16 hex digits each.
    pub spans: Vec<String>,
    /// 32 hex digits each.
    pub traces: Vec<String>,
    /// UUIDs.
    pub profile_ids: Vec<String>,
}

/// The request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The number of nodes.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// The profile type.
    #[error(transparent)]
    ProfileType(#[from] InvalidProfileType),
    /// A selector.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// An empty selector.
    #[error("unknown position: parse error: unexpected end of input")]
    NoSelector,
    /// An id has the wrong form.
    #[error("invalid {what} \"{text}\": expected {form}")]
    Id {
        /// Which kind of id.
        what: &'static str,
        /// What was given.
        text: String,
        /// What it should look like.
        form: &'static str,
    },
    /// Too many ids.
    #[error("{count} entries in {what} are more than {IDS_MAX}, the most that one query takes: ask in parts")]
    TooManyIds {
        /// Which kind of id.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// Too many names of functions or labels.
    #[error("{count} entries in {what} are more than {max}, the most that one query takes: leave some out")]
    TooManyNames {
        /// Which field.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Too many selectors.
    #[error("{count} matchers are more than {MATCHERS_MAX}, the most that one question takes")]
    TooManyMatchers {
        /// How many.
        count: usize,
    },
    /// Spans and traces at once.
    #[error("span_selector and trace_id_selector cannot be combined: send one of them")]
    SpansAndTraces,
    /// Steps are too small.
    #[error("step must be >= 1ms")]
    Step,
    /// Too many steps.
    #[error("the range holds {steps} steps, more than {STEPS_MAX}: ask for a longer step or a shorter range")]
    Steps {
        /// How many.
        steps: i64,
    },
    /// LabelValues without a name.
    #[error("name is required")]
    NoName,
}

impl Classify for AskError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A request that is in order.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedAsk {
    /// The query, with the range as cut.
    pub query: ProfileQuery,
    /// The range as cut.
    pub range: AskedRange,
    /// All of the range lies before the tenant's lookback: the answer is empty without looking.
    pub is_empty: bool,
}

impl ProfileAsk {
    /// Checks everything, in the order of the reference: range first.
    pub fn check(&self, now: TimestampNs, limits: &TenantLimits) -> Result<CheckedAsk, AskError> {
        self.check_with(None, now, limits)
    }

    /// The same with a selector that was parsed before; the text is not looked at then.
    pub fn check_with(
        &self,
        selector: Option<Selector>,
        now: TimestampNs,
        limits: &TenantLimits,
    ) -> Result<CheckedAsk, AskError> {
        let resolved = range::resolve(self.range, now, limits)?;
        let range = resolved.unwrap_or(self.range);
        let query = ProfileQuery {
            profile_type: ProfileType::parse(&self.profile_type)?,
            selector: selector.map_or_else(|| parse_selector(&self.selector), Ok)?,
            range: range.into(),
            call_site: self.checked_call_site()?,
            spans: self.span_filter()?,
            profile_ids: self.profile_ids()?,
            native: false,
        };
        Ok(CheckedAsk { query, range, is_empty: resolved.is_none() })
    }

    fn checked_call_site(&self) -> Result<Vec<String>, AskError> {
        at_most(CALL_SITE_MAX, "stack_trace_selector.call_site", &self.call_site)?;
        Ok(self.call_site.clone())
    }

    fn span_filter(&self) -> Result<Option<SpanFilter>, AskError> {
        match (&self.spans[..], &self.traces[..]) {
            ([], []) => Ok(None),
            (spans, []) => {
                let form = "16 hex digits";
                let mut ids = parse_all("span id", form, spans, parse_span_id)?;
                ids.sort_unstable();
                Ok(Some(SpanFilter::Spans(ids)))
            }
            ([], traces) => {
                let form = "32 hex digits";
                let mut ids = parse_all("trace id", form, traces, parse_trace_id)?;
                ids.sort_unstable();
                Ok(Some(SpanFilter::Traces(ids)))
            }
            _ => Err(AskError::SpansAndTraces),
        }
    }

    fn profile_ids(&self) -> Result<Vec<u128>, AskError> {
        parse_all("profile id", "a UUID", &self.profile_ids, parse_uuid)
    }
}

fn parse_all<T>(
    what: &'static str,
    form: &'static str,
    texts: &[String],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, AskError> {
    if texts.len() > IDS_MAX {
        return Err(AskError::TooManyIds { what, count: texts.len() });
    }
    let one = |text: &String| parse(text).ok_or_else(|| AskError::Id { what, text: text.clone(), form });
    texts.iter().map(one).collect()
}

/// Refuses more names than a field takes.
fn at_most(max: usize, what: &'static str, names: &[String]) -> Result<(), AskError> {
    match names.len() {
        count if count > max => Err(AskError::TooManyNames { what, count, max }),
        _ => Ok(()),
    }
}

/// The labels by which series are grouped: sorted, each once.
pub fn group_by(names: Vec<String>) -> Result<Vec<String>, AskError> {
    distinct("group_by", names)
}

/// The labels that are asked for of series: sorted, each once.
pub fn label_names(names: Vec<String>) -> Result<Vec<String>, AskError> {
    distinct("label_names", names)
}

fn distinct(what: &'static str, mut names: Vec<String>) -> Result<Vec<String>, AskError> {
    at_most(NAMES_MAX, what, &names)?;
    names.sort();
    names.dedup();
    Ok(names)
}

/// `8-4-4-4-12` hex digits, or 32 without dashes.
fn parse_uuid(text: &str) -> Option<u128> {
    let dashes = text.bytes().enumerate().filter(|(_, b)| *b == b'-').map(|(at, _)| at);
    if !matches!(dashes.collect::<Vec<_>>()[..], [] | [8, 13, 18, 23]) {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    hearth_common::Rid::from_hex(&digits).map(|rid| rid.0)
}

/// A selector; the empty text is none.
pub fn parse_selector(text: &str) -> Result<Selector, AskError> {
    if text.trim().is_empty() {
        return Err(AskError::NoSelector);
    }
    Ok(Selector::parse(text)?)
}

/// The matchers of a question about labels; none if one of them selects everything.
pub fn parse_matchers(texts: &[String]) -> Result<Vec<Selector>, AskError> {
    if texts.len() > MATCHERS_MAX {
        return Err(AskError::TooManyMatchers { count: texts.len() });
    }
    let selectors = texts.iter().map(|text| parse_selector(text)).collect::<Result<Vec<_>, _>>()?;
    match selectors.iter().any(|selector| selector.matchers.is_empty()) {
        true => Ok(Vec::new()),
        false => Ok(selectors),
    }
}

/// The steps of a series, and the query's range widened by the one step that the first point reaches back.
pub fn steps(ask: &mut CheckedAsk, step_secs: f64) -> Result<StepGrid, AskError> {
    if step_secs.is_nan() || step_secs < 0.001 {
        return Err(AskError::Step);
    }
    let step_ms = (step_secs * 1000.0) as i64;
    let AskedRange { start_ms, end_ms } = ask.range;
    let steps = end_ms.saturating_sub(start_ms) / step_ms;
    if steps >= STEPS_MAX {
        return Err(AskError::Steps { steps });
    }
    let widened = AskedRange { start_ms: start_ms.saturating_sub(step_ms), end_ms };
    ask.query.range = widened.into();
    Ok(StepGrid::new(start_ms, end_ms, step_ms))
}

#[cfg(test)]
mod tests {
    use hearth_common::TimeRange;

    use super::*;

    fn ask() -> ProfileAsk {
        ProfileAsk {
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
            selector: "{}".to_owned(),
            range: AskedRange { start_ms: 100_000, end_ms: 130_500 },
            ..ProfileAsk::default()
        }
    }

    fn check(ask: &ProfileAsk) -> Result<CheckedAsk, String> {
        ask.check(TimestampNs::from_ms(200_000), &TenantLimits::default()).map_err(|error| error.to_string())
    }

    fn refused(change: impl Fn(&mut ProfileAsk)) -> String {
        let mut ask = ask();
        change(&mut ask);
        check(&ask).expect_err("refused")
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(refused(|a| a.range = AskedRange::default()), "missing time range in the query");
        assert_eq!(
            refused(|a| a.profile_type = "cpu".to_owned()),
            "profile-type selection must be of the form <name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>\
             (:delta), got(1): \"cpu\""
        );
        assert_eq!(
            refused(|a| a.selector = String::new()),
            "unknown position: parse error: unexpected end of input"
        );
        assert_eq!(
            refused(|a| a.spans = vec!["nothex".to_owned()]),
            "invalid span id \"nothex\": expected 16 hex digits"
        );
        assert!(refused(|a| a.profile_ids = vec!["1-2".to_owned()]).contains("expected a UUID"));
        let both = |a: &mut ProfileAsk| {
            a.spans = vec!["c717c11b87121639".to_owned()];
            a.traces = vec!["c717c11b87121639c717c11b87121639".to_owned()];
        };
        assert!(refused(both).contains("cannot be combined"));
    }

    #[test]
    fn names_have_a_bound() {
        let many = |count: usize| vec!["f".to_owned(); count];
        let mut deep = ask();
        deep.call_site = many(CALL_SITE_MAX);
        assert_eq!(check(&deep).expect("as many as may be").query.call_site.len(), CALL_SITE_MAX);
        assert_eq!(
            refused(|a| a.call_site = many(CALL_SITE_MAX + 1)),
            "4097 entries in stack_trace_selector.call_site are more than 4096, the most that one query takes: leave \
             some out"
        );
        assert_eq!(group_by(many(NAMES_MAX)), Ok(vec!["f".to_owned()]));
        for (what, got) in
            [("group_by", group_by(many(NAMES_MAX + 1))), ("label_names", label_names(many(NAMES_MAX + 1)))]
        {
            assert_eq!(got, Err(AskError::TooManyNames { what, count: 257, max: 256 }));
        }
        let named = |names: &[&str]| label_names(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(named(&["b", "a", "b"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn ids_are_read() {
        let mut ask = ask();
        ask.profile_ids = vec!["00000000-0000-0000-0000-0000000000ff".to_owned()];
        ask.spans = vec!["0100000000000000".to_owned()];
        let query = check(&ask).expect("valid").query;
        assert_eq!(query.profile_ids, [255]);
        assert_eq!(query.spans, Some(SpanFilter::Spans(vec![1])));
    }

    #[test]
    fn the_range_of_a_series_reaches_back_one_step() {
        let mut checked = check(&ask()).expect("valid");
        let grid = steps(&mut checked, 10.0).expect("valid");
        assert_eq!((grid.first_ms, grid.last_ms, grid.step_ms), (100_000, 130_000, 10_000));
        assert_eq!(checked.query.range, TimeRange::from_ms(90_000, 130_500));
        for bad in [0.0, -5.0, 0.000_9, f64::NAN] {
            assert_eq!(steps(&mut checked, bad), Err(AskError::Step));
        }
    }

    #[test]
    fn a_matcher_of_everything_is_no_matcher() {
        let matchers = |texts: &[&str]| {
            parse_matchers(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()).map(|all| all.len())
        };
        assert_eq!(matchers(&[]), Ok(0));
        assert_eq!(matchers(&["{a=\"b\"}", "{c=\"d\"}"]), Ok(2));
        assert_eq!(matchers(&["{a=\"b\"}", "{}"]), Ok(0));
        assert!(matchers(&["{a="]).is_err());
    }
}
