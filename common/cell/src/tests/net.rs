//! A network that loses, repeats, delays and reorders.

use std::collections::{BTreeMap, BTreeSet};

use super::Dice;
use crate::Message;

/// How bad it is, each of 10,000 messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) repeated: u64,
    /// Comes up to a second late.
    pub(super) late: u64,
    /// Comes up to five seconds late.
    pub(super) very_late: u64,
}

impl Weather {
    pub(super) const FINE: Self = Self { lost: 0, repeated: 0, late: 0, very_late: 0 };

    pub(super) fn draw(dice: &mut Dice) -> Self {
        Self {
            lost: dice.below(1_500),
            repeated: dice.below(500),
            late: [100, 1_000, 3_000][dice.index(3)],
            very_late: dice.below(100),
        }
    }
}

/// A message under way, between nodes by index.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) message: Message,
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) weather: Weather,
    /// By due time in ms and a running number.
    under_way: BTreeMap<(u64, u64), Letter>,
    sent: u64,
    /// Directed pairs that do not reach each other.
    cut: BTreeSet<(usize, usize)>,
}

impl Net {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather, under_way: BTreeMap::new(), sent: 0, cut: BTreeSet::new() }
    }

    pub(super) fn send(&mut self, letter: Letter, now_ms: u64, dice: &mut Dice) {
        if self.cut.contains(&(letter.from, letter.to)) || dice.chance(self.weather.lost) {
            return;
        }
        if dice.chance(self.weather.repeated) {
            self.send_once(letter.clone(), now_ms, dice);
        }
        self.send_once(letter, now_ms, dice);
    }

    fn send_once(&mut self, letter: Letter, now_ms: u64, dice: &mut Dice) {
        let most_ms = if dice.chance(self.weather.very_late) {
            5_000
        } else if dice.chance(self.weather.late) {
            1_000
        } else if matches!(letter.message, Message::Vote(_)) && dice.chance(self.weather.late) {
            150
        } else {
            15
        };
        self.put_back(letter, now_ms + 1 + dice.below(most_ms));
    }

    /// A message that its receiver cannot take now.
    pub(super) fn put_back(&mut self, letter: Letter, due_ms: u64) {
        self.sent += 1;
        self.under_way.insert((due_ms, self.sent), letter);
    }

    pub(super) fn due(&mut self, now_ms: u64) -> Option<Letter> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now_ms).then(|| first.remove())
    }

    /// Cuts the nodes off from all others, in one direction or both.
    pub(super) fn cut_off(&mut self, island: &[usize], nodes: usize, dice: &mut Dice) {
        let (out, into) = *[(true, true), (true, true), (true, false), (false, true)]
            .get(dice.index(4))
            .expect("one of four");
        for inner in island {
            for outer in (0..nodes).filter(|outer| !island.contains(outer)) {
                if out {
                    self.cut.insert((*inner, outer));
                }
                if into {
                    self.cut.insert((outer, *inner));
                }
            }
        }
    }

    pub(super) fn mend(&mut self) {
        self.cut.clear();
    }
}
