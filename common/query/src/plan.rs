//! Which blocks a question needs: by time, type and service, without opening any; and what their entries alone can answer.

use std::sync::Arc;

use hearth_block::{BlockEntry, Deletion};
use hearth_common::TimeRange;
use hearth_model::question::Stats;
use hearth_model::{Answer, AnswerError, ProfileType, Question, Selector, labels};

/// What a question asks of a root's blocks.
#[derive(Debug)]
pub struct Plan {
    /// The part of the answer that the entries of blocks give.
    pub known: Answer,
    /// Blocks that must be read, in the order given.
    pub read: Vec<Arc<BlockEntry>>,
}

/// Plans a question over the blocks of one root and its deletions.
pub fn plan(
    question: &Question,
    blocks: &[Arc<BlockEntry>],
    deletions: &[Deletion],
) -> Result<Plan, AnswerError> {
    let mut plan = Plan { known: Answer::empty(question), read: Vec::new() };
    for block in blocks.iter().filter(|block| may_answer(question, block)) {
        // An entry counts rows that are deleted, too.
        let is_whole = !deletions.iter().any(|deletion| deletion.hides_in(block));
        match from_entry(question, block).filter(|_| is_whole) {
            Some(answer) => plan.known.merge(answer)?,
            None => plan.read.push(Arc::clone(block)),
        }
    }
    Ok(plan)
}

/// What an entry answers without its block: exactly what the block would.
fn from_entry(question: &Question, block: &BlockEntry) -> Option<Answer> {
    let span = TimeRange { start: block.min_time, end: block.max_time };
    match question {
        Question::Stats => {
            Some(Answer::Stats(Stats { oldest_newest: Some((block.min_time, block.max_time)) }))
        }
        Question::ProfileTypes { range } if range.is_none_or(|range| range.covers(span)) => {
            let types = block.types.iter().map(|id| ProfileType::parse(id).ok());
            Some(Answer::ProfileTypes(types.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn may_answer(question: &Question, block: &BlockEntry) -> bool {
    let span = TimeRange { start: block.min_time, end: block.max_time };
    if question.range().is_some_and(|range| !range.overlaps(span)) {
        return false;
    }
    match question {
        Question::Tree(query) | Question::Pprof(query) | Question::Points { query, .. } => {
            block.types.contains(&query.profile_type.id()) && may_hold(&query.selector, block)
        }
        Question::LabelNames { matchers, .. }
        | Question::LabelValues { matchers, .. }
        | Question::Series { matchers, .. } => {
            matchers.is_empty() || matchers.iter().any(|selector| may_hold(selector, block))
        }
        Question::Estimate { selector, .. } | Question::Tally { selector, .. } => may_hold(selector, block),
        Question::ProfileTypes { .. } | Question::Stats => true,
    }
}

/// Whether a block's services and types can satisfy a selector.
pub fn may_hold(selector: &Selector, block: &BlockEntry) -> bool {
    let service =
        selector.equal_to(labels::SERVICE_NAME).or_else(|| selector.equal_to(labels::SERVICE_NAME_COPY));
    let service_fits = service.is_none_or(|s| *block.first_service <= *s && *s <= *block.last_service);
    let ty = selector.equal_to(labels::PROFILE_TYPE);
    service_fits && ty.is_none_or(|ty| block.types.iter().any(|known| known == ty))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hearth_block::Hidden;
    use hearth_common::{BlockId, TimestampNs};
    use hearth_model::{ProfileQuery, ProfileType};

    use super::*;

    fn block(min: i64, max: i64, services: (&str, &str)) -> Arc<BlockEntry> {
        Arc::new(BlockEntry {
            id: BlockId(1),
            attempt: "a".to_owned(),
            format: 1,
            day: 0,
            level: 0,
            min_time: TimestampNs(min),
            max_time: TimestampNs(max),
            first_service: services.0.to_owned(),
            last_service: services.1.to_owned(),
            types: vec!["cpu:cpu:ns:cpu:ns".to_owned()],
            objects: Vec::new(),
            index_directory_offset: 0,
            profiles: 1,
            samples: 1,
            series: 1,
            units: 1,
            sources: Vec::new(),
        })
    }

    fn tree(ty: &str, selector: &str, start: i64, end: i64) -> Question {
        Question::Tree(ProfileQuery {
            profile_type: ProfileType::parse(ty).expect("valid"),
            selector: Selector::parse(selector).expect("valid"),
            range: TimeRange { start: TimestampNs(start), end: TimestampNs(end) },
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        })
    }

    #[test]
    fn blocks_are_pruned_by_time_type_and_service() {
        let blocks = [block(10, 20, ("a", "f")), block(21, 30, ("g", "z"))];
        let count = |question: &Question| plan(question, &blocks, &[]).expect("small").read.len();
        let cpu = "cpu:cpu:ns:cpu:ns";
        assert_eq!(count(&tree(cpu, "{}", 0, 100)), 2);
        assert_eq!(count(&tree(cpu, "{}", 20, 20)), 1);
        assert_eq!(count(&tree(cpu, "{}", 31, 99)), 0);
        assert_eq!(count(&tree(cpu, r#"{service_name="b"}"#, 0, 100)), 1);
        assert_eq!(count(&tree(cpu, r#"{service_name=~"b"}"#, 0, 100)), 2, "a regex prunes nothing here");
        assert_eq!(count(&tree("other:cpu:ns:cpu:ns", "{}", 0, 100)), 0);
    }

    #[test]
    fn an_entry_that_counts_deleted_rows_answers_nothing() {
        let blocks = [block(10, 20, ("a", "f")), block(21, 30, ("g", "z"))];
        let mut deletion = Deletion {
            id: 1,
            hidden: Arc::new(Hidden {
                selector: Selector::default(),
                range: TimeRange { start: TimestampNs(12), end: TimestampNs(40) },
            }),
            upto: BTreeMap::new(),
            blocks: BTreeSet::from([BlockId(1)]),
        };
        let read = |deletion: &Deletion| {
            let plan = plan(&Question::Stats, &blocks, std::slice::from_ref(deletion)).expect("small");
            plan.read.iter().map(|block| block.min_time.0).collect::<Vec<_>>()
        };
        assert_eq!(read(&deletion), [10, 21], "both have this id");
        deletion.hidden = Arc::new(Hidden {
            selector: Selector::default(),
            range: TimeRange { start: TimestampNs(21), end: TimestampNs(40) },
        });
        assert_eq!(read(&deletion), [21]);
        deletion.blocks.clear();
        assert!(read(&deletion).is_empty());
    }

    #[test]
    fn entries_answer_what_they_know() {
        let blocks = [block(10, 20, ("a", "f")), block(21, 30, ("g", "z"))];
        let planned = |question| plan(&question, &blocks, &[]).expect("small");
        let stats = planned(Question::Stats);
        assert!(stats.read.is_empty());
        let Answer::Stats(stats) = stats.known else { panic!("{:?}", stats.known) };
        assert_eq!(stats.oldest_newest, Some((TimestampNs(10), TimestampNs(30))));
        let types = |start, end| {
            let range = TimeRange { start: TimestampNs(start), end: TimestampNs(end) };
            let planned = planned(Question::ProfileTypes { range: Some(range) });
            let Answer::ProfileTypes(types) = planned.known else { panic!("{:?}", planned.known) };
            (planned.read.len(), types.len())
        };
        assert_eq!(types(0, 100), (0, 1));
        assert_eq!(types(0, 25), (1, 1), "a block at the edge may have its profiles of a type outside");
        assert_eq!(types(12, 18), (1, 0));
    }
}
