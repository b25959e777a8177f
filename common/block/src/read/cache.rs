//! Decoded symbols of an open block, kept up to a bound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::symbols::{SharedSymbols, UnitSymbols};

/// Most bytes of units that a reader keeps; what was not used longest goes first.
const CACHE_MAX_BYTES: usize = 256 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SymbolCache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shared: Option<Arc<SharedSymbols>>,
    units: HashMap<u32, (Arc<UnitSymbols>, u64)>,
    bytes: usize,
    uses: u64,
}

impl SymbolCache {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shared(&self) -> Option<Arc<SharedSymbols>> {
        self.state().shared.clone()
    }

    pub(crate) fn put_shared(&self, shared: &Arc<SharedSymbols>) {
        self.state().shared.get_or_insert_with(|| Arc::clone(shared));
    }

    pub(crate) fn unit(&self, at: u32) -> Option<Arc<UnitSymbols>> {
        let mut state = self.state();
        state.uses += 1;
        let now = state.uses;
        let (unit, used) = state.units.get_mut(&at)?;
        *used = now;
        Some(Arc::clone(unit))
    }

    pub(crate) fn put_unit(&self, at: u32, unit: &Arc<UnitSymbols>) {
        let mut state = self.state();
        state.uses += 1;
        let now = state.uses;
        if state.units.insert(at, (Arc::clone(unit), now)).is_none() {
            state.bytes += unit.bytes();
        }
        while state.bytes > CACHE_MAX_BYTES && state.units.len() > 1 {
            let Some(oldest) = state.units.iter().min_by_key(|(_, (_, used))| *used).map(|(at, _)| *at)
            else {
                break;
            };
            if let Some((unit, _)) = state.units.remove(&oldest) {
                state.bytes -= unit.bytes();
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let state = self.state();
        state.bytes + state.shared.as_ref().map_or(0, |shared| shared.bytes())
    }
}
