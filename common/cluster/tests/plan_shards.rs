//! What the planner makes of loud services and of tenants with a share of the cells.

#![allow(clippy::unwrap_used)]

mod world;

use hearth_cluster::roster::{Change, Homes, PlaceKey, Presence, Volume, service_key};
use hearth_common::{TenantId, TimestampNs};
use world::World;

const MIB: u64 = 1 << 20;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn world() -> World {
    let mut world = World::begun(3, &["a1", "b1", "c1", "a2"]);
    world.options.shard_bytes_per_second = 4 * MIB;
    world
}

fn push(world: &mut World, mib: u64) {
    world.volumes = Some(vec![Volume { tenant: tenant("t"), service_hash: 7, bytes_per_second: mib * MIB }]);
}

fn shards(world: &World) -> u32 {
    let last = world.roster().schedule.last().unwrap();
    last.shards.get(&tenant("t")).and_then(|services| services.get(&service_key(7))).copied().unwrap_or(1)
}

#[test]
fn a_loud_service_is_spread_and_comes_together_again() {
    let mut world = world();
    push(&mut world, 10);
    let changes = world.settle();
    assert!(
        matches!(&changes[..], [Change::AddEntry(entry), Change::SetEffective(time)]
            if entry.announced && *time >= entry.effective && entry.effective > world.wall()),
        "{changes:?}"
    );
    assert_eq!(shards(&world), 3);

    push(&mut world, 100);
    world.pass(599);
    assert_eq!((world.settle(), shards(&world)), (vec![], 3), "not so soon after the last change");
    world.pass(120);
    world.settle();
    assert_eq!(shards(&world), 4, "there are four cells");

    push(&mut world, 6);
    world.pass(700);
    assert_eq!(world.settle().iter().filter(|change| matches!(change, Change::AddEntry(_))).count(), 0);
    push(&mut world, 1);
    world.pass(700);
    world.settle();
    assert_eq!(shards(&world), 1);
}

#[test]
fn without_all_leaders_nothing_is_decided_and_a_new_cell_keeps_shards() {
    let mut world = world();
    push(&mut world, 10);
    world.settle();
    world.volumes = None;
    world.pass(1_000);
    world.settle();
    assert_eq!(shards(&world), 3);
    world.see("b2", 1, Presence::Active);
    world.settle();
    assert_eq!((world.placed(), shards(&world)), ("a1 a2 b1 b2 c1".to_owned(), 3));
}

#[test]
fn tenants_have_their_share_of_the_cells() {
    let mut world = world();
    world.options.shuffle_size = 2;
    world.options.shuffle_sizes.insert(tenant("large"), 0);
    world.pass(100);
    assert!(matches!(world.settle()[..], [Change::AddEntry(_), Change::SetEffective(_)]));
    world.pass(100);
    assert_eq!(world.settle(), [], "once");
    let homes = Homes::new(world.roster()).unwrap();
    let now = world.wall();
    let cells = |name: &str| {
        let key = |service_hash| PlaceKey { service_hash, series_hash: 0, profile_time: now };
        let cells: std::collections::BTreeSet<_> =
            (0..200).map(|service| homes.place_record(&tenant(name), key(service), now).cell).collect();
        cells.len()
    };
    assert_eq!((cells("small"), cells("large")), (2, 4));
}

#[test]
fn series_of_a_spread_service_meet_in_their_shards_by_profile_time() {
    let mut world = world();
    push(&mut world, 100);
    world.settle();
    let homes = Homes::new(world.roster()).unwrap();
    let effective = world.roster().schedule.last().unwrap().effective;
    let cell = |series_hash, profile_time: TimestampNs| {
        let key = PlaceKey { service_hash: 7, series_hash, profile_time };
        homes.place_record(&tenant("t"), key, effective).cell
    };
    let before = TimestampNs(effective.0 - 1);
    let cells_at =
        |time| (0..100).map(|series| cell(series, time)).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(cells_at(before), 1);
    assert!(cells_at(effective) > 1);
    assert_eq!(cell(5, effective), cell(5, TimestampNs(effective.0 + 1_000)), "a series stays where it is");
}
