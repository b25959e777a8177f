use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::TOKENS_PER_MEMBER;

fn member(n: usize) -> InstanceId {
    InstanceId(Arc::from(format!("ingester-{n}")))
}

fn members(numbers: impl IntoIterator<Item = usize>) -> Vec<InstanceId> {
    numbers.into_iter().map(member).collect()
}

fn tenant(n: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{n}")).expect("valid")
}

fn homes(entry: &ScheduleEntry, keys: usize) -> Vec<InstanceId> {
    let home =
        |n: usize| entry.home(&tenant(n % 7), &format!("service-{n}"), 0).expect("has members").clone();
    (0..keys).map(home).collect()
}

#[test]
fn places_are_the_same_for_ever() {
    // Golden: a change here moves every tenant's data to other cells.
    let tokens: Vec<u32> = crate::tokens_of(&member(0)).take(3).collect();
    let entry = ScheduleEntry::new(TimestampNs(0), &members(0..5));
    let names: Vec<String> =
        homes(&entry, 12).iter().map(|m| m.to_string().replace("ingester-", "")).collect();
    let found = format!("{tokens:?} {} {}", names.join(","), key_token(&tenant(1), "checkout", 3));
    assert_eq!(found, "[3186713180, 3665140835, 195672970] 1,2,1,2,1,0,4,0,3,4,2,2 3108797145");
}

#[test]
fn shares_are_even_enough() {
    // Short names that differ in one letter have points as far apart as others.
    for prefix in ["ingester-", "i", ""] {
        let names = (0..10).map(|n| InstanceId(Arc::from(format!("{prefix}{n}")))).collect::<Vec<_>>();
        let entry = ScheduleEntry::new(TimestampNs(0), &names);
        let mut counts: BTreeMap<InstanceId, usize> = BTreeMap::new();
        for home in homes(&entry, 50_000) {
            *counts.entry(home).or_default() += 1;
        }
        assert_eq!(counts.len(), 10);
        for (member, count) in counts {
            assert!((4_000..6_000).contains(&count), "{member} has {count} of 50,000");
        }
    }
}

#[test]
fn an_entry_holds_from_its_time_on() {
    let first = ScheduleEntry::new(TimestampNs(100), &members([0]));
    let second = ScheduleEntry::new(TimestampNs(200), &members([1]));
    let schedule = Schedule::new(vec![first, second]).expect("valid");
    let home = |at| {
        let home = schedule.home(&tenant(0), "s", 0, TimestampNs(at));
        (home.cell.0.to_string(), home.before_schedule)
    };
    assert_eq!(home(99), ("ingester-0".to_owned(), true));
    assert_eq!(home(100), ("ingester-0".to_owned(), false));
    assert_eq!(home(199), ("ingester-0".to_owned(), false));
    assert_eq!(home(200), ("ingester-1".to_owned(), false));
    assert_eq!(schedule.cells_since(&tenant(0), TimestampNs(250)), [CellId(member(1))]);
    assert_eq!(schedule.cells_since(&tenant(0), TimestampNs(150)), [CellId(member(0)), CellId(member(1))]);
}

#[test]
fn wrong_schedules_are_refused() {
    let entry = |at, count| ScheduleEntry::new(TimestampNs(at), &members(0..count));
    assert_eq!(Schedule::new(vec![]).expect_err("empty"), ScheduleError::Empty);
    let nobody = Schedule::new(vec![entry(0, 0)]).expect_err("nobody");
    assert_eq!(nobody, ScheduleError::NoMembers(TimestampNs(0)));
    let twice = Schedule::new(vec![entry(5, 1), entry(5, 1)]).expect_err("order");
    assert_eq!(twice, ScheduleError::Order(TimestampNs(5)));
}

#[test]
fn members_with_one_token_are_told_apart_by_id() {
    let ring = Ring::new(&members(0..200));
    let points = 200 * TOKENS_PER_MEMBER as usize;
    assert!(points > 100_000, "so many that some tokens are equal");
    let again = Ring::new(&members((0..200).rev()));
    for token in (0..u32::MAX).step_by(1 << 16) {
        assert_eq!(ring.owner(token), again.owner(token));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A member that joins takes its share from the others, and nothing moves between the others.
    #[test]
    fn a_join_moves_its_share_only(count in 2usize..20, keys in 3_000usize..6_000) {
        let before = homes(&ScheduleEntry::new(TimestampNs(0), &members(0..count)), keys);
        let after = homes(&ScheduleEntry::new(TimestampNs(0), &members(0..=count)), keys);
        let moved: Vec<&InstanceId> =
            before.iter().zip(&after).filter(|(b, a)| b != a).map(|(_, a)| a).collect();
        prop_assert!(moved.iter().all(|to| **to == member(count)), "only to the new member");
        let share = keys / (count + 1);
        prop_assert!(moved.len() > share / 2 && moved.len() < share * 2, "{} of {keys} moved, share {share}", moved.len());
    }

    /// A tenant's subset has its size, is the same whatever the order of members, and a join changes at most one cell by
    /// the new one.
    #[test]
    fn subsets_are_stable(count in 4usize..30, size in 1u32..8, who in 0usize..1000) {
        let entry = |numbers: Vec<usize>| {
            let mut entry = ScheduleEntry::new(TimestampNs(0), &members(numbers));
            entry.shuffle_size = size;
            entry
        };
        let small = entry((0..count).collect()).cells(&tenant(who));
        prop_assert_eq!(small.len(), (size as usize).min(count));
        let reversed = entry((0..count).rev().collect()).cells(&tenant(who));
        prop_assert_eq!(&small, &reversed);
        let large = entry((0..=count).collect()).cells(&tenant(who));
        let new: Vec<_> = large.iter().filter(|cell| !small.contains(cell)).collect();
        prop_assert!(new.len() <= 1 || large.len() == count + 1, "{new:?} of {large:?}");
        prop_assert!(new.iter().all(|cell| cell.0 == member(count)));
    }

    /// Homes lie in the subset, and shards of a service spread.
    #[test]
    fn homes_lie_in_the_subset(count in 3usize..20, who in 0usize..1000) {
        let mut entry = ScheduleEntry::new(TimestampNs(0), &members(0..count));
        entry.shuffle_size = 2;
        let cells = entry.cells(&tenant(who));
        let schedule = Schedule::new(vec![entry]).expect("valid");
        for shard in 0..20 {
            let home = schedule.home(&tenant(who), "checkout", shard, TimestampNs(1));
            prop_assert!(cells.contains(&home.cell));
        }
    }
}
