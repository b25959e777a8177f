//! The JSON of speedscope. Arrays of arrays are read into flat ones, so that memory is a small multiple of the text.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// The whole file; what is not named here is passed over.
#[derive(Debug, Deserialize)]
pub(super) struct File<'a> {
    #[serde(rename = "$schema", borrow, default)]
    pub(super) schema: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) shared: Shared<'a>,
    #[serde(borrow, default)]
    pub(super) profiles: Vec<Profile<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Shared<'a> {
    #[serde(borrow, default)]
    pub(super) frames: Vec<Frame<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
}

/// A profile of either kind.
#[derive(Debug, Deserialize)]
#[serde(try_from = "AnyProfile<'a>", bound(deserialize = "'de: 'a"))]
pub(super) struct Profile<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) unit: Cow<'a, str>,
    pub(super) start: f64,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Sampled { samples: Samples, weights: Vec<f64> },
    Evented(Events),
}

#[derive(Debug)]
pub(super) struct Events {
    pub(super) end: f64,
    pub(super) events: Vec<Event>,
}

/// A frame opens or closes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type", deserialize_with = "opens")]
    pub(super) opens: bool,
    pub(super) frame: u32,
    pub(super) at: f64,
}

/// Stacks, frames root first.
#[derive(Debug, Default)]
pub(super) struct Samples {
    frames: Vec<u32>,
    ends: Vec<u32>,
}

impl Samples {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.frames[start as usize..*end as usize])
    }
}

/// The fields of both kinds.
#[derive(Debug, Deserialize)]
struct AnyProfile<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    unit: Cow<'a, str>,
    #[serde(rename = "startValue", default)]
    start: f64,
    #[serde(rename = "endValue", default)]
    end: f64,
    #[serde(default)]
    events: Option<Vec<Event>>,
    #[serde(default)]
    samples: Option<Samples>,
    #[serde(default)]
    weights: Option<Vec<f64>>,
}

impl<'a> TryFrom<AnyProfile<'a>> for Profile<'a> {
    type Error = String;

    fn try_from(any: AnyProfile<'a>) -> Result<Self, String> {
        let missing = |field: &str| format!("a profile of type {:?} without {field}", any.kind);
        let kind = match &*any.kind {
            "sampled" => Kind::Sampled {
                samples: any.samples.ok_or_else(|| missing("samples"))?,
                weights: any.weights.ok_or_else(|| missing("weights"))?,
            },
            "evented" => {
                Kind::Evented(Events { end: any.end, events: any.events.ok_or_else(|| missing("events"))? })
            }
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(format!("profile type {shown:?} is neither \"sampled\" nor \"evented\""));
            }
        };
        Ok(Self { name: any.name, unit: any.unit, start: any.start, kind })
    }
}

fn opens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Letter;
    impl Visitor<'_> for Letter {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("\"O\" or \"C\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
            match text {
                "O" => Ok(true),
                "C" => Ok(false),
                other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
            }
        }
    }
    deserializer.deserialize_str(Letter)
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut samples = Self::default();
        deserializer.deserialize_seq(Outer(&mut samples))?;
        Ok(samples)
    }
}

/// The list of stacks.
struct Outer<'s>(&'s mut Samples);

impl<'de> Visitor<'de> for Outer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of stacks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Stack(self.0))?.is_some() {}
        Ok(())
    }
}

/// One stack.
struct Stack<'s>(&'s mut Samples);

impl<'de> DeserializeSeed<'de> for Stack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Stack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of indices of frames")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(frame) = seq.next_element()? {
            self.0.frames.push(frame);
        }
        // Documents are far smaller than 4 GiB.
        self.0.ends.push(self.0.frames.len() as u32);
        Ok(())
    }
}
