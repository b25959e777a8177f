//! Members on a ring of 2^32 points; a key belongs to the first member at or behind it.

use hashring::HashRing;
use hearth_common::InstanceId;
use std::hash::{BuildHasher, Hash, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Points of each member. With 512 the shares of members differ by some percent.
pub const TOKENS_PER_MEMBER: u32 = 512;

/// The points of a member: a fixed function of its id. The generator SplitMix64 (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, 2014), begun with the hash of the id: hashes of a short id with one seed after the other
/// are too much alike.
pub fn tokens_of(member: &InstanceId) -> impl Iterator<Item = u32> + use<> {
    let begin = xxh3_64_with_seed(member.0.as_bytes(), 0);
    (1..=TOKENS_PER_MEMBER).map(move |n| {
        let at = begin.wrapping_add(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (at ^ (at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as u32
    })
}

/// The point of something that has an identity of 128 bits, such as a block: its owner is the member that the point
/// belongs to.
pub fn token_of(id: u128) -> u32 {
    xxh3_64_with_seed(&id.to_be_bytes(), 0) as u32
}

/// The point of something that is known by a text.
pub fn token_of_text(text: &str) -> u32 {
    xxh3_64_with_seed(text.as_bytes(), 0) as u32
}

/// A point on the ring: hashes as its token, so that the ring sorts by tokens.
#[derive(Debug, Clone, Copy)]
struct Point {
    token: u32,
    owner: u16,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.token);
    }
}

/// Passes one u32 through: tokens are hashes already, and std's hashing is not the same in all versions.
#[derive(Debug, Clone, Copy, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value);
    }
}

impl BuildHasher for Identity {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

/// Members in a circle.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Sorted.
    members: Vec<InstanceId>,
    points: HashRing<Point, Identity>,
}

impl Ring {
    /// The ring of a set of members; their order and repetitions do not matter. Members beyond 65,536 are left out.
    pub fn new(members: &[InstanceId]) -> Self {
        let mut members = members.to_vec();
        members.sort();
        members.dedup();
        members.truncate(usize::from(u16::MAX) + 1);
        let mut points: Vec<Point> = Vec::with_capacity(members.len() * TOKENS_PER_MEMBER as usize);
        for (owner, member) in members.iter().enumerate() {
            points.extend(tokens_of(member).map(|token| Point { token, owner: owner as u16 }));
        }
        // Of two members with one token the lesser id has it, whatever else is on the ring.
        points.sort_by_key(|point| (point.token, point.owner));
        points.dedup_by_key(|point| point.token);
        let mut ring = HashRing::with_hasher(Identity::default());
        ring.batch_add(points);
        Self { members, points: ring }
    }

    /// All members, sorted.
    pub fn members(&self) -> &[InstanceId] {
        &self.members
    }

    /// The member that a point belongs to; `None` if there is none.
    pub fn owner(&self, token: u32) -> Option<&InstanceId> {
        self.members.get(usize::from(self.points.get(&token)?.owner))
    }

    /// The members from a point on, in the order in which they come first.
    pub fn successors(&self, token: u32) -> Successors<'_> {
        Successors { ring: self, token, seen: vec![false; self.members.len()], left: self.members.len() }
    }
}

/// Distinct members in ring order.
#[derive(Debug)]
pub struct Successors<'a> {
    ring: &'a Ring,
    token: u32,
    seen: Vec<bool>,
    left: usize,
}

impl<'a> Iterator for Successors<'a> {
    type Item = &'a InstanceId;

    fn next(&mut self) -> Option<&'a InstanceId> {
        while self.left > 0 {
            let point = self.ring.points.get(&self.token)?;
            self.token = point.token.wrapping_add(1);
            let owner = usize::from(point.owner);
            if !std::mem::replace(&mut self.seen[owner], true) {
                self.left -= 1;
                return Some(&self.ring.members[owner]);
            }
        }
        None
    }
}
