//! What a membership counts.

use hearth_cluster::gossip::{PeerState, Peers, Role};
use hearth_cluster::roster::{MemberState, Note, Roster};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Zero from the start.
/// Roles of a cluster; a process with all of them is in none.
const ROLES: [Role; 4] = [Role::Distributor, Role::Ingester, Role::Querier, Role::Compactor];
/// In the roster and not heard.
const UNHEALTHY: &str = "Unhealthy";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RingMember {
    name: &'static str,
    state: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// The newest roster that is known here.
    pub(super) roster_version: Gauge,
    changes: Counter,
    failures: Counter,
    note_count: Gauge,
    factor: Gauge,
    members: Family<RingMember, Gauge>,
    /// What the planner said last.
    pub(super) notes: Mutex<Vec<Note>>,
}

impl Metrics {
    pub(super) fn register(&self, role: Role, registry: &mut Registry) {
        let help =
            "Processes by role and state, as this one sees them; Unhealthy: in the roster and not heard";
        registry.register("pyroscope_ring_members", help, self.members.clone());
        let copies = "On how many disks each profile is kept, as the roster says";
        if role == Role::Distributor {
            registry.register("pyroscope_distributor_replication_factor", copies, self.factor.clone());
        }
        let registry = registry.sub_registry_with_prefix("hearth_membership");
        registry.register(
            "roster_version",
            "Version of the roster that this process knows",
            self.roster_version.clone(),
        );
        registry.register("changes", "Changes of the roster that this process made", self.changes.clone());
        let help = "Times that this process could not change the roster";
        registry.register("change_failures", help, self.failures.clone());
        registry.register(
            "notes",
            "What the planner waits for or warns of; see /ring",
            self.note_count.clone(),
        );
        registry.register("replication_factor", copies, self.factor.clone());
    }

    pub(super) fn changed(&self, steps: usize) {
        self.changes.inc_by(steps as u64);
    }

    /// Takes who is there.
    pub(super) fn saw(&self, peers: &Peers, roster: Option<&Roster>) {
        for role in ROLES {
            for (state, name) in [
                (PeerState::Active, "ACTIVE"),
                (PeerState::Joining, "JOINING"),
                (PeerState::Leaving, "LEAVING"),
            ] {
                let there = peers.alive().filter(|peer| peer.said.role == role && peer.said.state == state);
                self.set(role, name, there.count());
            }
            let members = roster.filter(|_| role == Role::Ingester).map_or(&[][..], |roster| &roster.members);
            let wanted = members
                .iter()
                .filter(|member| matches!(member.state, MemberState::Active | MemberState::Leaving));
            self.set(role, UNHEALTHY, wanted.filter(|member| peers.by_member(&member.id).is_none()).count());
        }
        self.factor.set(roster.map_or(0, |roster| i64::from(roster.factor)));
    }

    fn set(&self, role: Role, state: &'static str, count: usize) {
        let member = RingMember { name: role.as_str(), state };
        self.members.get_or_create(&member).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// Keeps what the planner says; new notes are logged.
    pub(super) fn noted(&self, notes: Vec<Note>) {
        let mut before = self.notes.lock();
        for note in notes.iter().filter(|note| !before.contains(note)) {
            tracing::warn!(%note, "the planner of the roster says");
        }
        self.note_count.set(i64::try_from(notes.len()).unwrap_or(i64::MAX));
        *before = notes;
    }
}
