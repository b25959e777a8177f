//! The roster as JSON: the fields, in this order, of `docs/formats/roster.md`. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_common::{CellId, DiskId, InstanceId, LogId, MemberId, TenantId, TimestampNs};
use hearth_objstore::Envelope;
use serde::{Deserialize, Serialize};

use super::envelope;
use super::error::RosterError;
use super::types::{Cell, CellState, Loss, Member, MemberState, ROSTER_FORMAT, Roster, ScheduleEntry};

pub(crate) const ROSTER: Envelope = Envelope { magic: *b"HEARTHRS", format: ROSTER_FORMAT };

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RosterJson {
    version: u64,
    nonce: String,
    parent: String,
    cluster_id: String,
    factor: u32,
    members: Vec<MemberJson>,
    cells: Vec<CellJson>,
    schedule: Vec<EntryJson>,
    losses: Vec<LossJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberJson {
    id: String,
    zone: String,
    state: StateJson,
    joined_ns: i64,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum StateJson {
    Active,
    Leaving,
    Left,
    Dead,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellJson {
    id: String,
    log: String,
    founders: Vec<String>,
    wanted: Vec<String>,
    state: CellStateJson,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum CellStateJson {
    Open,
    Lingering,
    Drained,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryJson {
    effective_ns: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    announced: bool,
    cells: Vec<String>,
    shuffle_size: u32,
    shuffle_sizes: BTreeMap<String, u32>,
    shards: BTreeMap<String, BTreeMap<String, u32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LossJson {
    cell: String,
    log: String,
    since_ns: i64,
    text: String,
    accepted: bool,
}

/// Encodes a roster as it lies in the store.
pub fn encode_roster(roster: &Roster) -> Vec<u8> {
    let json = RosterJson {
        version: roster.version,
        nonce: hex(roster.nonce),
        parent: hex(roster.parent),
        cluster_id: roster.cluster_id.clone(),
        factor: roster.factor,
        members: roster.members.iter().map(member_json).collect(),
        cells: roster.cells.iter().map(cell_json).collect(),
        schedule: roster.schedule.iter().map(entry_json).collect(),
        losses: roster.losses.iter().map(loss_json).collect(),
    };
    let text = serde_json::to_vec(&json).expect("maps have texts as keys, and a buffer takes everything");
    ROSTER.wrap(&text)
}

/// Decodes and checks a roster; `key` is for the error.
pub fn decode_roster(key: &str, object: &[u8]) -> Result<Roster, RosterError> {
    let text = envelope::unwrap(ROSTER, key, object)?;
    let json: RosterJson = serde_json::from_slice(text)
        .map_err(|error| RosterError::Damaged { key: key.to_owned(), why: error.to_string() })?;
    let version = json.version;
    let roster = roster(json).ok_or_else(|| RosterError::Damaged {
        key: key.to_owned(),
        why: "an id in it is not in its text form".to_owned(),
    })?;
    roster.check().map_err(|source| RosterError::Invalid { version, source })?;
    Ok(roster)
}

fn roster(json: RosterJson) -> Option<Roster> {
    Some(Roster {
        version: json.version,
        nonce: parse_hex(&json.nonce)?,
        parent: parse_hex(&json.parent)?,
        cluster_id: json.cluster_id,
        factor: json.factor,
        members: json.members.into_iter().map(member).collect::<Option<_>>()?,
        cells: json.cells.into_iter().map(cell).collect::<Option<_>>()?,
        schedule: json.schedule.into_iter().map(entry).collect::<Option<_>>()?,
        losses: json.losses.into_iter().map(loss).collect::<Option<_>>()?,
    })
}

fn member_json(member: &Member) -> MemberJson {
    let state = match member.state {
        MemberState::Active => StateJson::Active,
        MemberState::Leaving => StateJson::Leaving,
        MemberState::Left => StateJson::Left,
        MemberState::Dead => StateJson::Dead,
    };
    MemberJson { id: id_text(&member.id), zone: member.zone.clone(), state, joined_ns: member.joined.0 }
}

fn member(json: MemberJson) -> Option<Member> {
    let state = match json.state {
        StateJson::Active => MemberState::Active,
        StateJson::Leaving => MemberState::Leaving,
        StateJson::Left => MemberState::Left,
        StateJson::Dead => MemberState::Dead,
    };
    Some(Member { id: parse_id(&json.id)?, zone: json.zone, state, joined: TimestampNs(json.joined_ns) })
}

fn cell_json(cell: &Cell) -> CellJson {
    let state = match cell.state {
        CellState::Open => CellStateJson::Open,
        CellState::Lingering => CellStateJson::Lingering,
        CellState::Drained => CellStateJson::Drained,
    };
    CellJson {
        id: cell.id.0.to_string(),
        log: hex(cell.log.0),
        founders: cell.founders.iter().map(id_text).collect(),
        wanted: cell.wanted.iter().map(id_text).collect(),
        state,
    }
}

fn cell(json: CellJson) -> Option<Cell> {
    let state = match json.state {
        CellStateJson::Open => CellState::Open,
        CellStateJson::Lingering => CellState::Lingering,
        CellStateJson::Drained => CellState::Drained,
    };
    Some(Cell {
        id: cell_id(json.id),
        log: LogId(parse_hex(&json.log)?),
        founders: json.founders.iter().map(|text| parse_id(text)).collect::<Option<_>>()?,
        wanted: json.wanted.iter().map(|text| parse_id(text)).collect::<Option<_>>()?,
        state,
    })
}

fn entry_json(entry: &ScheduleEntry) -> EntryJson {
    EntryJson {
        effective_ns: entry.effective.0,
        announced: entry.announced,
        cells: entry.cells.iter().map(|cell| cell.0.to_string()).collect(),
        shuffle_size: entry.shuffle_size,
        shuffle_sizes: entry.shuffle_sizes.iter().map(|(tenant, size)| (tenant.to_string(), *size)).collect(),
        shards: entry
            .shards
            .iter()
            .map(|(tenant, services)| (tenant.to_string(), services.clone()))
            .collect(),
    }
}

fn entry(json: EntryJson) -> Option<ScheduleEntry> {
    let tenant = |text: String| TenantId::parse(&text).ok();
    Some(ScheduleEntry {
        effective: TimestampNs(json.effective_ns),
        announced: json.announced,
        cells: json.cells.into_iter().map(cell_id).collect(),
        shuffle_size: json.shuffle_size,
        shuffle_sizes: json
            .shuffle_sizes
            .into_iter()
            .map(|(text, size)| Some((tenant(text)?, size)))
            .collect::<Option<_>>()?,
        shards: json
            .shards
            .into_iter()
            .map(|(text, services)| Some((tenant(text)?, services)))
            .collect::<Option<_>>()?,
    })
}

fn loss_json(loss: &Loss) -> LossJson {
    LossJson {
        cell: loss.cell.0.to_string(),
        log: hex(loss.log.0),
        since_ns: loss.since.0,
        text: loss.text.clone(),
        accepted: loss.accepted,
    }
}

fn loss(json: LossJson) -> Option<Loss> {
    Some(Loss {
        cell: cell_id(json.cell),
        log: LogId(parse_hex(&json.log)?),
        since: TimestampNs(json.since_ns),
        text: json.text,
        accepted: json.accepted,
    })
}

fn id_text(id: &MemberId) -> String {
    format!("{}/{}", id.instance, id.disk)
}

fn parse_id(text: &str) -> Option<MemberId> {
    let (instance, disk) = text.split_once('/')?;
    Some(MemberId { instance: InstanceId(Arc::from(instance)), disk: DiskId::from_hex(disk)? })
}

fn cell_id(text: String) -> CellId {
    CellId(InstanceId(Arc::from(text)))
}

fn hex(value: u128) -> String {
    format!("{value:032x}")
}

fn parse_hex(text: &str) -> Option<u128> {
    DiskId::from_hex(text).map(|id| id.0)
}
