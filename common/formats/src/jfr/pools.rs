//! Constants: where each stands in its chunk. They are read when something needs them, and most never are.

use hashbrown::HashMap;

use super::cursor::Cursor;
use super::layout::{Form, Layouts};
use super::{Broken, Fault};

/// The classes whose constants are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Stack,
    Method,
    Class,
    Symbol,
    State,
    Text,
}

const POOLS: [(Pool, &str); 6] = [
    (Pool::Stack, "jdk.types.StackTrace"),
    (Pool::Method, "jdk.types.Method"),
    (Pool::Class, "java.lang.Class"),
    (Pool::Symbol, "jdk.types.Symbol"),
    (Pool::State, "jdk.types.ThreadState"),
    (Pool::Text, "java.lang.String"),
];

/// The constants of a chunk, those of all its checkpoints together.
pub(super) struct Pools<'a> {
    place: Cursor<'a>,
    /// Id of the class of each pool.
    ids: [Option<i64>; POOLS.len()],
    /// Key to offset.
    offsets: [HashMap<i64, u32>; POOLS.len()],
}

impl<'a> Pools<'a> {
    /// Nothing yet; `place` is anywhere in the chunk.
    pub(super) fn new(place: Cursor<'a>, layouts: &Layouts<'_, 'a>) -> Self {
        let ids = POOLS.map(|(_, name)| layouts.metadata.id_of(name));
        Self { place, ids, offsets: Default::default() }
    }

    /// Adds the constants of one checkpoint, from the body of its event. What was there before stays: a constant is written
    /// again as it was.
    pub(super) fn checkpoint(
        &mut self,
        mut body: Cursor<'a>,
        layouts: &mut Layouts<'_, 'a>,
    ) -> Result<(), Broken> {
        // Begin, duration and the distance to the checkpoint before. That is not followed: all events are walked anyway.
        body.skip_numbers(8, 3)?;
        body.skip(1)?;
        let pools = body.count(2)?;
        for _ in 0..pools {
            let at = body.at();
            let id = body.long()?;
            let class = layouts.metadata.class(id).ok_or(Broken { at, fault: Fault::PoolClass { id } })?;
            layouts.ensure(class).map_err(|fault| Broken { at, fault })?;
            let count = body.count(1)?;
            let kept = self.ids.iter().position(|kept| *kept == Some(id));
            let mut kept = kept.map(|pool| &mut self.offsets[pool]);
            for _ in 0..count {
                let key = body.long()?;
                if let Some(offsets) = &mut kept {
                    offsets.entry(key).or_insert(body.at() as u32);
                }
                layouts.skip(&mut body, class)?;
            }
        }
        Ok(())
    }

    /// Where a constant stands.
    pub(super) fn get(&self, pool: Pool, key: i64) -> Option<Cursor<'a>> {
        self.offsets[pool as usize].get(&key).map(|at| self.place.from(*at as usize))
    }

    /// The class of a pool.
    pub(super) fn class(&self, pool: Pool, layouts: &Layouts<'_, 'a>) -> Option<u32> {
        layouts.metadata.class(self.ids[pool as usize]?)
    }

    /// Whether a field holds keys of this pool.
    pub(super) fn is_key(&self, form: Form, pool: Pool) -> bool {
        matches!(form, Form::Key(id) if self.ids[pool as usize] == Some(id))
    }

    /// Anywhere in the chunk.
    pub(super) fn place(&self) -> Cursor<'a> {
        self.place
    }

    /// The id of the class of texts.
    pub(super) fn text_id(&self) -> Option<i64> {
        self.ids[Pool::Text as usize]
    }
}
