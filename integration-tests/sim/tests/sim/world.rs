//! A cluster of a few processes, and what goes wrong with it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_catalog::CatalogOptions;
use hearth_cell::Status;
use hearth_cluster::roster::PlanOptions;
use hearth_common::{DiskId, InstanceId, MemberId};
use hearth_distributor::ClusterPushOptions;
use hearth_objstore::{Store, StoreOptions};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Plant;
use crate::checker::Truth;
use crate::disk::FaultyDisk;
use crate::gossip::Said;
use crate::net::{CLIENTS, Net};
use crate::parts::{Dice, SimClock, Trace, Weather};
pub(crate) use crate::process::Life;
use crate::process::{Kind, Node, kill, start};

/// A process that does not stop by then is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
const NS_PER_S: i64 = 1_000_000_000;
/// Most seconds that a wall clock is off where times are short.
const CLOCK_OFF_HASTY_S: i64 = 2;
/// And how long a front tries to get a push to its cells.
const PUSH_MAX_HASTY: Duration = Duration::from_secs(5);

/// What is chosen once for a world.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) plan: PlanOptions,
    /// Times are so short that schedules, replacements and collections overlap.
    pub(crate) hasty: bool,
    /// Members come and go, and those who ask them hear of it by no other way than their answers.
    pub(crate) unheard: bool,
    /// One front takes pushes and the other one questions: neither hears of a roster from what the other was told.
    apart: bool,
    /// Most seconds that a wall clock is off.
    clock_off_s: i64,
    /// Ingesters at the beginning.
    pub(crate) first: usize,
}

impl Rules {
    /// Either times are so short that schedules, replacements and collections overlap, or clocks may be off by an hour.
    fn new(dice: &Dice) -> Self {
        let factor = [1, 2, 3, 3, 3][dice.below(5) as usize];
        let unheard = dice.chance(15);
        let hasty = unheard || dice.chance(60);
        let s = Duration::from_secs;
        let plan = PlanOptions {
            settle: s(1),
            settle_without_zones: s(2),
            replace_after: s(if hasty { 10 + dice.below(20) } else { 600 }),
            entry_ahead: s(2 + dice.below(4)),
            // A push that was young enough when it came may be under way for its deadline, and clocks differ.
            window_margin: if hasty {
                PUSH_MAX_HASTY + 2 * s(CLOCK_OFF_HASTY_S as u64) + s(1)
            } else {
                s(600)
            },
            shard_bytes_per_second: if dice.chance(30) { 1 } else { 0 },
            shards_every: s(10),
            shuffle_size: if dice.chance(30) { 2 } else { 0 },
            ..PlanOptions::new(
                "sim",
                factor as u32,
                s(if unheard {
                    8
                } else if hasty {
                    20
                } else {
                    2 * 3600
                }),
            )
        };
        let first = factor + dice.below(3) as usize;
        let apart = dice.chance(if unheard { 60 } else { 20 });
        Self { plan, hasty, unheard, apart, clock_off_s: if hasty { CLOCK_OFF_HASTY_S } else { 3600 }, first }
    }

    pub(crate) fn catalog(&self) -> CatalogOptions {
        let usual = CatalogOptions::default();
        match self.hasty {
            true => CatalogOptions { confirmed_for: Duration::from_secs(5), ..usual },
            false => usual,
        }
    }

    /// How fronts push.
    pub(crate) fn push(&self) -> ClusterPushOptions {
        let usual = ClusterPushOptions::default();
        if self.hasty { ClusterPushOptions { deadline: PUSH_MAX_HASTY, ..usual } } else { usual }
    }

    /// How often fronts look for a roster that nobody told them of.
    pub(crate) fn front_polls_every(&self) -> Duration {
        Duration::from_secs(if self.unheard { 600 } else { 20 })
    }

    /// The age at which rows are published.
    pub(crate) fn cut_age(&self) -> Duration {
        Duration::from_secs(if self.unheard { 30 } else { 4 })
    }

    pub(crate) fn window(&self) -> Duration {
        self.plan.ingestion_window
    }
}

/// What a world has survived of what can happen only once.
#[derive(Debug, Default)]
struct Lost {
    disk: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    nodes: Vec<Node>,
    pub(crate) net: Mutex<Net>,
    pub(crate) dice: Arc<Dice>,
    pub(crate) trace: Trace,
    pub(crate) truth: Mutex<Truth>,
    pub(crate) plant: Plant,
    pub(crate) answers: AtomicU64,
    pub(crate) rules: Rules,
    pub(crate) store: Store,
    pub(crate) weather: Arc<Weather>,
    /// Machines that take part: the others are started later, or never.
    started: AtomicU64,
    lost: Mutex<Lost>,
    seed: u64,
}

/// Machines of each kind.
const INGESTERS: usize = 6;
const FRONTS: usize = 2;
const COMPACTORS: usize = 2;

impl World {
    pub(crate) fn new(seed: u64, plant: Plant, dir: &Path) -> Arc<Self> {
        let dice = Arc::new(Dice::new(seed));
        let rules = Rules::new(&dice);
        let options = StoreOptions { clock: Arc::new(SimClock::new()), ..StoreOptions::default() };
        let store = Store::open("memory:", options).expect("memory");
        let node = |at: usize| {
            let kind = match at {
                0..INGESTERS => Kind::Ingester,
                at if at < INGESTERS + FRONTS => Kind::Front,
                _ => Kind::Compactor,
            };
            let disk = FaultyDisk::new(seed.wrapping_mul(31).wrapping_add(at as u64) << 1);
            if plant == Plant::DiskLies {
                disk.lie();
            }
            Node::new(kind, at, DiskId(dice.wide()), disk, dir)
        };
        let nodes = (0..INGESTERS + FRONTS + COMPACTORS).map(node).collect();
        let first = (1 << rules.first) - 1;
        let world = Self {
            nodes,
            net: Mutex::default(),
            trace: Trace::new(),
            truth: Mutex::default(),
            plant,
            answers: AtomicU64::new(0),
            store,
            weather: Arc::default(),
            started: AtomicU64::new(first),
            lost: Mutex::default(),
            seed,
            rules,
            dice,
        };
        Arc::new(world)
    }

    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    pub(crate) fn said(&self, at: usize) -> &Said {
        &self.nodes[at].said
    }

    pub(crate) fn at_address(&self, address: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.address.to_string() == address)
    }

    pub(crate) fn at_name(&self, name: &InstanceId) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }

    pub(crate) fn life(&self, at: usize) -> Option<Arc<Life>> {
        self.nodes.get(at)?.life.lock().clone()
    }

    pub(crate) fn paused_until(&self, at: usize) -> Option<Instant> {
        self.nodes.get(at).and_then(|node| *node.paused_until.lock()).filter(|until| *until > Instant::now())
    }

    /// Whether gossip gets from one to the other.
    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        let net = self.net.lock();
        let stands = self.paused_until(from).or_else(|| self.paused_until(to)).is_some();
        let deaf = net.deaf.get(&to).is_some_and(|until| *until > Instant::now());
        !stands && !deaf && !net.cut.contains(&(from, to)) && !net.cut.contains(&(to, from))
    }

    /// Any front, dead or alive.
    fn any_front(&self) -> usize {
        INGESTERS + self.dice.below(FRONTS as u64) as usize
    }

    /// One that takes pushes, dead or alive.
    pub(crate) fn front_to_push(&self) -> usize {
        if self.rules.apart { INGESTERS } else { self.any_front() }
    }

    /// One that answers, dead or alive.
    pub(crate) fn front_to_ask(&self) -> usize {
        if self.rules.apart { INGESTERS + 1 } else { self.any_front() }
    }

    fn takes_part(&self, at: usize) -> bool {
        at >= INGESTERS || self.started.load(Ordering::Relaxed) & (1 << at) != 0
    }

    pub(crate) fn start(self: &Arc<Self>, at: usize) {
        let node = &self.nodes[at];
        if node.life.lock().is_some() || !self.takes_part(at) {
            return;
        }
        self.trace.note(&format!("{} starts", node.name));
        let life = start(self, at);
        *node.life.lock() = Some(life);
    }

    pub(crate) fn kill(&self, at: usize, power_cut: bool) {
        let node = &self.nodes[at];
        if kill(node, power_cut) {
            self.trace.note(&format!(
                "{} is killed{}",
                node.name,
                if power_cut { " by a power cut" } else { "" }
            ));
        }
    }

    pub(crate) fn start_all(self: &Arc<Self>) {
        (0..self.size()).for_each(|at| self.start(at));
    }

    fn any(&self) -> usize {
        self.dice.below(self.size() as u64) as usize
    }

    fn any_ingester(&self) -> usize {
        let count = self.started.load(Ordering::Relaxed).count_ones();
        self.dice.below(u64::from(count)) as usize
    }

    /// One thing goes wrong, or gets better.
    pub(crate) fn trouble(self: &Arc<Self>) {
        if self.rules.unheard && self.dice.chance(50) {
            return if self.dice.chance(60) { self.grow_or_shrink() } else { self.deafen(self.any_front()) };
        }
        match self.dice.below(20) {
            0 | 1 => self.kill(self.any_ingester(), self.dice.chance(60)),
            2 => self.kill(self.any(), self.dice.chance(60)),
            3 => self.start_all(),
            4 => {
                let at = self.any();
                self.kill(at, false);
                self.start(at);
            }
            5 => {
                let zone = self.dice.below(3) as usize;
                self.trace.note(&format!("zone {zone} dies"));
                (0..INGESTERS).filter(|at| at % 3 == zone).for_each(|at| self.kill(at, true));
            }
            6 => self.cut(),
            7 => {
                self.trace.note("the network is well");
                self.net.lock().heal();
            }
            8 => {
                let percent = self.dice.below(20);
                self.trace.note(&format!("{percent} % of messages are lost"));
                self.net.lock().loss_percent = percent;
            }
            9 => {
                let percent = [0, 10, 30, 100][self.dice.below(4) as usize];
                self.trace.note(&format!("{percent} % of calls to the store fail"));
                self.weather.percent.store(percent, Ordering::Relaxed);
            }
            10 => {
                let away = !*self.weather.away.borrow();
                self.trace.note(if away { "the store is away" } else { "the store is back" });
                self.weather.away.send_replace(away);
            }
            11 => {
                let at = self.any();
                let step_s =
                    self.dice.below(2 * self.rules.clock_off_s as u64 + 1) as i64 - self.rules.clock_off_s;
                self.trace.note(&format!("the wall clock of {} is {step_s} s off", self.nodes[at].name));
                self.nodes[at].clock.step(step_s * NS_PER_S);
            }
            12 => self.pause(),
            13 => self.grow_or_shrink(),
            14 => self.lose_disk(),
            15 => self.isolate(),
            16 => self.stop(self.any_ingester()),
            17 => self.deafen(self.any()),
            18 => self.fail_disk(),
            _ => self.fill_disk(),
        }
    }

    fn cut(&self) {
        let places = self.size() as u64 + 1;
        let place = |number: u64| if number + 1 == places { CLIENTS } else { number as usize };
        let (at, other) = (place(self.dice.below(places)), place(self.dice.below(places)));
        let both = self.dice.chance(60);
        self.trace.note(&format!("cut from {at} to {other}{}", if both { " and back" } else { "" }));
        let mut net = self.net.lock();
        net.cut.insert((at, other));
        if both {
            net.cut.insert((other, at));
        }
    }

    /// An ingester is seen by clients and by no other ingester.
    fn isolate(&self) {
        let at = self.any_ingester();
        self.trace.note(&format!("{} is cut off from the other ingesters", self.nodes[at].name));
        let mut net = self.net.lock();
        for other in (0..INGESTERS).filter(|other| *other != at) {
            net.cut.extend([(at, other), (other, at)]);
        }
    }

    /// Gossip does not get to a process; everything else does.
    fn deafen(&self, at: usize) {
        let s = 10 + self.dice.below(if self.rules.unheard { 120 } else { 30 });
        self.trace.note(&format!("{} hears no gossip for {s} s", self.nodes[at].name));
        self.net.lock().deaf.insert(at, Instant::now() + Duration::from_secs(s));
    }

    /// A process is told to stop, and started again, as when all are brought to a new version.
    fn stop(self: &Arc<Self>, at: usize) {
        let Some(life) = self.life(at) else { return };
        self.trace.note(&format!("{} is told to stop", self.nodes[at].name));
        let world = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = life.dead() => return,
                _ = tokio::time::timeout(STOP_MAX, life.stop()) => {}
            }
            world.kill(at, false);
            world.start(at);
        });
    }

    fn pause(&self) {
        let (at, ms) = (self.any(), 500 + self.dice.below(if self.dice.chance(20) { 60_000 } else { 6_000 }));
        self.trace.note(&format!("{} stands still for {ms} ms", self.nodes[at].name));
        *self.nodes[at].paused_until.lock() = Some(Instant::now() + Duration::from_millis(ms));
    }

    fn grow_or_shrink(self: &Arc<Self>) {
        let count = self.started.load(Ordering::Relaxed).count_ones() as usize;
        if count < INGESTERS && self.dice.chance(60) {
            self.started.fetch_or(1 << count, Ordering::Relaxed);
            self.start(count);
            return;
        }
        let at = self.any_ingester();
        if count > self.rules.plan.factor as usize
            && let Some(life) = self.life(at)
        {
            self.trace.note(&format!("{} wishes to leave", self.nodes[at].name));
            life.leave();
        }
    }

    /// Once, and only where two other copies remain.
    fn lose_disk(&self) {
        if self.rules.plan.factor < 3 || std::mem::replace(&mut self.lost.lock().disk, true) {
            return;
        }
        let at = self.any_ingester();
        self.kill(at, true);
        if self.dice.chance(50) {
            self.trace.note(&format!("a bit of the log of {} flips", self.nodes[at].name));
            return self.flip(&self.nodes[at].machine.lock().disk);
        }
        self.replace_disk(at);
    }

    /// In an old segment: at the end of the newest one it cannot be told from a write that a power cut tore.
    fn flip(&self, disk: &FaultyDisk) {
        let mut names = disk.names();
        names.pop();
        if names.is_empty() {
            return;
        }
        let name = &names[self.dice.below(names.len() as u64) as usize];
        let mut bytes = disk.bytes(name);
        if !bytes.is_empty() {
            let at = self.dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.dice.below(8);
            disk.plant(name, bytes);
        }
    }

    fn replace_disk(&self, at: usize) {
        self.trace.note(&format!("{} loses its disk", self.nodes[at].name));
        let empty = FaultyDisk::new(self.seed.wrapping_mul(37).wrapping_add(at as u64) << 1);
        let mut machine = self.nodes[at].machine.lock();
        let disk_id = match self.plant {
            Plant::EmptyDiskOfOldName => machine.disk_id,
            _ => DiskId(self.dice.wide()),
        };
        machine.lose_disk(disk_id, empty);
    }

    fn fill_disk(&self) {
        let at = self.any_ingester();
        let full = self.dice.chance(60);
        self.trace.note(&format!(
            "the disk of {} is {}",
            self.nodes[at].name,
            if full { "full" } else { "empty" }
        ));
        self.nodes[at].machine.lock().disk.set_free(if full { 0 } else { u64::MAX / 2 });
    }

    /// One call to the disk fails, soon.
    fn fail_disk(&self) {
        let at = self.any_ingester();
        if self.life(at).is_some() {
            self.trace.note(&format!("the disk of {} fails once", self.nodes[at].name));
            self.nodes[at].machine.lock().disk.fail_after(self.dice.below(30));
        }
    }

    /// Everything works from here on.
    pub(crate) fn heal(self: &Arc<Self>) {
        self.trace.note("all is well");
        self.net.lock().heal();
        self.weather.percent.store(0, Ordering::Relaxed);
        self.weather.away.send_replace(false);
        for (at, node) in self.nodes.iter().enumerate() {
            // As whoever looks after it does: a log that failed takes nothing more until the process is started anew.
            let failed = node.machine.lock().disk.mend();
            let failure = self.life(at).and_then(|life| life.failure());
            if let Some(why) = failure.or(failed.then(String::new)) {
                self.kill(at, false);
                if why.contains("move this data folder away") {
                    self.replace_disk(at);
                }
            }
            node.clock.step(0);
            *node.paused_until.lock() = None;
            node.machine.lock().disk.set_free(u64::MAX / 2);
        }
        self.start_all();
    }
}

impl World {
    /// Whether a copy was lost on the way, so that an answer may say so.
    pub(crate) fn may_have_lost(&self) -> bool {
        self.lost.lock().disk
    }
}

impl World {
    /// How all copies of cells are, for people.
    pub(crate) fn states(&self) -> String {
        let mut text = String::new();
        for at in 0..self.size() {
            let Some(life) = self.life(at) else { continue };
            let Some((process, _)) = life.ingester() else { continue };
            text.push_str(&format!("{}: {:?}\n", self.nodes[at].name, process.ingester.ready()));
            for (cell, status) in process.cells() {
                let names = |members: &BTreeSet<MemberId>| {
                    let name =
                        |member: &MemberId| format!("{}/{}", member.instance, &member.disk.to_string()[..4]);
                    members.iter().map(name).collect::<Vec<_>>().join(" ")
                };
                let Status { role, term, base, released, commit, durable_end, end, damaged, .. } = &status;
                text.push_str(&format!(
                    "    cell {}: {role:?} in term {}, {} <= {} <= {} <= {} <= {}, voters {}, learners {}{}, waits for '{}'\n",
                    cell.0,
                    term.0,
                    base.0,
                    released.0,
                    commit.0,
                    durable_end.0,
                    end.0,
                    names(&status.membership.voters),
                    names(&status.membership.learners),
                    if *damaged { ", damaged" } else { "" },
                    status.waits_for
                ));
            }
        }
        text
    }
}
