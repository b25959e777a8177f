//! The order in which the members of one cell are asked for one thing, until one of them does it. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use hearth_common::InstanceId;

/// The shortest pause before everybody is asked again, …
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// … and the longest: an election takes a second or two, and its end should be met soon.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Most instances whose words are kept; a cell has up to seven members.
const SAID_MAX: usize = 16;
/// Most bytes that are kept of what one said.
const SAID_BYTES_MAX: usize = 200;

/// What became of asking a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Not here; and who leads, if it knows.
    Elsewhere(Option<InstanceId>),
    /// Here, and not now.
    Later,
    /// It said nothing in time.
    Nothing,
}

/// Rounds over the members of a cell. In one round each is asked once, named leaders first.
#[derive(Debug, Default)]
pub struct Trail {
    next: VecDeque<InstanceId>,
    asked: BTreeSet<InstanceId>,
    /// Said nothing when they were last asked: in later rounds they come last.
    mute: BTreeSet<InstanceId>,
    said: BTreeMap<InstanceId, String>,
    rounds: u32,
}

impl Trail {
    /// Begins a round over members in this order.
    pub fn begin(&mut self, mut order: Vec<InstanceId>) {
        order.sort_by_key(|instance| self.mute.contains(instance));
        self.next = order.into();
        self.asked.clear();
        self.rounds = self.rounds.saturating_add(1);
    }

    /// Rounds that have begun.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Whom [`Trail::take`] would give.
    pub fn peek(&self) -> Option<&InstanceId> {
        self.next.front()
    }

    /// Whom to ask now; `None` at the end of a round.
    pub fn take(&mut self) -> Option<InstanceId> {
        let instance = self.next.pop_front()?;
        self.asked.insert(instance.clone());
        Some(instance)
    }

    /// Takes what a member said, in words for people, too.
    pub fn heard(&mut self, instance: &InstanceId, said: Said, words: &str) {
        if said == Said::Nothing {
            self.mute.insert(instance.clone());
        } else {
            self.mute.remove(instance);
        }
        match said {
            Said::Elsewhere(Some(leader)) if !self.asked.contains(&leader) => {
                self.next.retain(|other| *other != leader);
                self.next.push_front(leader);
            }
            Said::Elsewhere(_) | Said::Nothing => {}
            Said::Later => self.next.clear(),
        }
        if self.said.len() < SAID_MAX || self.said.contains_key(instance) {
            let end = words.floor_char_boundary(SAID_BYTES_MAX);
            self.said.insert(instance.clone(), words[..end].to_owned());
        }
    }

    /// The last words of everybody, for people.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for (instance, words) in &self.said {
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{instance}: {words}");
        }
        if text.is_empty() { "nobody was asked".to_owned() } else { text }
    }
}

/// How long to wait after so many rounds: longer each time, with up to half of it by chance, so that many who wait for one
/// election do not come at once.
pub fn pause(rounds: u32, random: u128) -> Duration {
    let full = PAUSE_MIN.saturating_mul(1 << rounds.saturating_sub(1).min(8)).min(PAUSE_MAX);
    let half = full / 2;
    // The remainder is less than the pause, so it fits.
    half + Duration::from_nanos((random % half.as_nanos().max(1)) as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn instance(name: &str) -> InstanceId {
        InstanceId(Arc::from(name))
    }

    fn order(names: &str) -> Vec<InstanceId> {
        names.split_whitespace().map(instance).collect()
    }

    /// Asks until the end of the round; each name says what `says` has for it, else "not here".
    fn round(trail: &mut Trail, says: &[(&str, Said)]) -> String {
        let mut asked = Vec::new();
        while let Some(next) = trail.take() {
            let said = says.iter().find(|(name, _)| *name == &*next.0).map(|(_, said)| said.clone());
            trail.heard(&next, said.unwrap_or(Said::Elsewhere(None)), "no");
            asked.push(next.to_string());
        }
        asked.join(" ")
    }

    #[test]
    fn a_named_leader_comes_next_and_nobody_twice() {
        let to = |name| Said::Elsewhere(Some(instance(name)));
        let check = |says: &[(&str, Said)], expect: &str| {
            let mut trail = Trail::default();
            trail.begin(order("a b c"));
            assert_eq!(round(&mut trail, says), expect);
        };
        check(&[], "a b c");
        check(&[("a", to("c"))], "a c b");
        check(&[("a", to("c")), ("c", to("a"))], "a c b");
        check(&[("b", to("new"))], "a b new c");
        check(&[("b", Said::Later)], "a b");
    }

    #[test]
    fn the_mute_come_last_until_they_speak() {
        let mut trail = Trail::default();
        trail.begin(order("a b c"));
        assert_eq!(round(&mut trail, &[("a", Said::Nothing)]), "a b c");
        trail.begin(order("a b c"));
        assert_eq!(round(&mut trail, &[]), "b c a");
        trail.begin(order("a b c"));
        assert_eq!(round(&mut trail, &[]), "a b c");
        assert_eq!((trail.rounds(), trail.words()), (3, "a: no; b: no; c: no".to_owned()));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let checked = |rounds, expect_ms| {
            let (least, most) = (pause(rounds, 0), pause(rounds, u128::MAX));
            assert_eq!(least, Duration::from_millis(expect_ms) / 2, "{rounds}");
            assert!(most < Duration::from_millis(expect_ms), "{rounds}: {most:?}");
        };
        checked(0, 20);
        checked(1, 20);
        checked(2, 40);
        checked(5, 200);
        checked(u32::MAX, 200);
    }
}
