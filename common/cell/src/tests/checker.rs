//! What must hold in every history.

use std::collections::{BTreeMap, BTreeSet};

use hearth_common::{Position, Rid};

use super::disk::Image;
use crate::{Body, Entry, Term};

/// What has happened so far, as no member knows it.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The committed log from position 1 on.
    committed: Vec<Entry>,
    committed_rids: BTreeSet<Rid>,
    leaders: BTreeMap<Term, usize>,
    acked: BTreeSet<Rid>,
    /// The first rule that broke.
    pub(super) failure: Option<String>,
    pub(super) answers: u64,
}

impl Checker {
    pub(super) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// A node says that everything in `from + 1 ..= upto` is committed.
    pub(super) fn committed(&mut self, node: usize, image: &Image, from: Position, upto: Position) {
        for (position, entry) in image.behind(from, upto) {
            let index = usize::try_from(position.0 - 1).expect("a small log");
            match self.committed.get(index) {
                Some(known) if known == entry => {}
                Some(known) => {
                    return self.fail(format!(
                        "node {node} commits {entry:?} at {}, another has committed {known:?}",
                        position.0
                    ));
                }
                None if index > self.committed.len() => {
                    return self.fail(format!("node {node} commits {} before what is below it", position.0));
                }
                None => {
                    self.committed.push(entry.clone());
                    if let Body::Record { rid, .. } = &entry.body
                        && !self.committed_rids.insert(*rid)
                    {
                        return self.fail(format!("record {} is in the log twice", rid.0));
                    }
                }
            }
        }
    }

    pub(super) fn leads(&mut self, node: usize, term: Term) {
        if let Some(other) = self.leaders.insert(term, node)
            && other != node
        {
            self.fail(format!("nodes {other} and {node} lead in term {term}"));
        }
    }

    pub(super) fn acked(&mut self, rid: Rid) {
        self.acked.insert(rid);
    }

    /// What an answer that begins now must hold.
    pub(super) fn acked_so_far(&self) -> BTreeSet<Rid> {
        self.acked.clone()
    }

    pub(super) fn is_acked(&self, rid: Rid) -> bool {
        self.acked.contains(&rid)
    }

    /// An exact answer must hold every record acknowledged before it began, each record once, and none that may vanish.
    pub(super) fn answered(&mut self, node: usize, answer: &[Rid], must: &BTreeSet<Rid>) {
        self.answers += 1;
        let once: BTreeSet<Rid> = answer.iter().copied().collect();
        if once.len() != answer.len() {
            self.fail(format!("an answer of node {node} has a record twice: {answer:?}"));
        }
        if let Some(lost) = must.difference(&once).next() {
            self.fail(format!("an answer of node {node} lacks the acknowledged record {}", lost.0));
        }
        if let Some(early) = once.difference(&self.committed_rids).next() {
            self.fail(format!("an answer of node {node} has record {}, which is not committed", early.0));
        }
    }

    /// Logs that have the same term somewhere are the same up to there.
    pub(super) fn logs_match(&mut self, images: &[&Image]) {
        for (at, a) in images.iter().enumerate() {
            for b in &images[at + 1..] {
                let from = a.base.position.max(b.base.position);
                let upto = a.end().min(b.end());
                let mut differ = None;
                for (position, entry) in a.behind(from, upto) {
                    let Some(other) = b.entry(position) else { continue };
                    if entry != other {
                        differ.get_or_insert(position);
                    }
                    if let Some(below) = differ.filter(|_| entry.term == other.term) {
                        let (at, below) = (position.0, below.0);
                        return self
                            .fail(format!("two logs agree on the term at {at} and differ at {below}"));
                    }
                }
            }
        }
    }
}
