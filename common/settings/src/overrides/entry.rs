//! What an overrides file says of one tenant, each value read by the type of its key.
//!
//! Such files are written for Go's reader, which gives a text as it stands: in a tree, `replacement: 007` would be 7 and
//! `regex: yes` true. Names that are wrong are found in the tree before. Must not know: files, other tenants.

use std::collections::BTreeMap;
use std::fmt;

use hearth_common::TenantLimits;
use hearth_common::limits::ignored::{own_key, why};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Tree;

/// The limit that has limits of its own.
const SYMBOLIZER: &str = "symbolizer";

/// Values by what their keys are called here; `None`: the key stands there without a value.
#[derive(Debug, Default)]
pub(super) struct Entry(BTreeMap<String, Option<Value>>);

impl Entry {
    /// Puts these values into `limits`, which hold for all. `named` is the same as a tree, `unset` are limits of which nothing was
    /// said. A key without a value is, as for Go's reader, an empty list or map, or leaves a text or a number as it is for all.
    pub(super) fn put_into(self, limits: &mut Value, named: &Tree, unset: &Value) {
        for (key, said) in self.0 {
            let Some(place) = limits.get_mut(&key) else { continue };
            match said {
                Some(said) if key == SYMBOLIZER => {
                    let inner = named.get(&key).and_then(Value::as_object);
                    for name in inner.into_iter().flat_map(serde_json::Map::keys) {
                        if let (Some(place), Some(said)) = (place.get_mut(name), said.get(name)) {
                            *place = said.clone();
                        }
                    }
                }
                Some(said) => *place = said,
                None if key == SYMBOLIZER => {}
                None if place.is_array() || place.is_object() => {
                    *place = unset.get(&key).cloned().unwrap_or_default();
                }
                None => {}
            }
        }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("limits of a tenant")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut values = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if why(&key).is_some() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value_seed(Limit(&key))?;
            values.insert(own_key(&key).to_owned(), value);
        }
        Ok(Entry(values))
    }
}

/// The value of one key.
struct Limit<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Limit<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Limit<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {}", self.0)
    }

    fn visit_none<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        // Limits of which this one alone is given: their type knows how each is read.
        let one = One { key: Some(self.0), value: Some(deserializer) };
        let limits = TenantLimits::deserialize(MapAccessDeserializer::new(one))?;
        let mut tree = serde_json::to_value(&limits).map_err(D::Error::custom)?;
        Ok(tree.get_mut(own_key(self.0)).map(Value::take))
    }
}

/// A map of one key.
struct One<'k, D> {
    key: Option<&'k str>,
    value: Option<D>,
}

impl<'de, D: Deserializer<'de>> MapAccess<'de> for One<'_, D> {
    type Error = D::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, D::Error> {
        self.key.take().map(|key| seed.deserialize(key.into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, D::Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(D::Error::custom("a key has one value")),
        }
    }
}
