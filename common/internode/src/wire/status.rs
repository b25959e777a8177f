//! How a member is.

use hearth_cluster::roster::Volume;
use hearth_common::{LogId, Position, TenantId};

use super::{Malformed, cell, cell_text, id, id_bytes, member, member_to, must, pb, short};
use crate::api::{CellStatus, MemberStatus, PeerStatus};

pub(crate) fn encode(status: &MemberStatus) -> pb::StatusResponse {
    pb::StatusResponse {
        cluster_id: status.cluster_id.clone(),
        member: Some(member_to(&status.member)),
        roster_version: status.roster_version,
        state: status.state.clone(),
        cells: status.cells.iter().map(cell_status_to).collect(),
        volumes: status.volumes.iter().map(volume_to).collect(),
        wall_ns: status.wall_ns,
    }
}

pub(crate) fn decode(status: pb::StatusResponse) -> Result<MemberStatus, Malformed> {
    short(status.cells.len(), "cells")?;
    short(status.volumes.len(), "services")?;
    Ok(MemberStatus {
        cluster_id: status.cluster_id,
        member: member(&must(status.member, "member")?)?,
        roster_version: status.roster_version,
        state: status.state,
        cells: status.cells.into_iter().map(cell_status).collect::<Result<_, _>>()?,
        volumes: status.volumes.iter().map(volume).collect::<Result<_, _>>()?,
        wall_ns: status.wall_ns,
    })
}

fn volume_to(volume: &Volume) -> pb::ServiceVolume {
    pb::ServiceVolume {
        tenant: volume.tenant.as_str().to_owned(),
        service_hash: volume.service_hash,
        bytes_per_second: volume.bytes_per_second,
    }
}

fn volume(volume: &pb::ServiceVolume) -> Result<Volume, Malformed> {
    let tenant = TenantId::parse(&volume.tenant).map_err(|error| Malformed(error.to_string()))?;
    let pb::ServiceVolume { service_hash, bytes_per_second, .. } = *volume;
    Ok(Volume { tenant, service_hash, bytes_per_second })
}

fn cell_status_to(status: &CellStatus) -> pb::CellStatus {
    let peer = |peer: &PeerStatus| pb::PeerStatus {
        member: Some(member_to(&peer.member)),
        voter: peer.voter,
        matched: peer.matched.0,
        last_heard_ms: peer.last_heard_ms,
    };
    pb::CellStatus {
        cell: cell_text(&status.cell),
        log: id_bytes(status.log.0),
        role: status.role.clone(),
        term: status.term,
        leader: status.leader.as_ref().map(member_to),
        durable_end: status.durable_end.0,
        committed: status.committed.0,
        covered: status.covered.0,
        released: status.released.0,
        base: status.base.0,
        peers: status.peers.iter().map(peer).collect(),
        waits_for: status.waits_for.clone(),
        standing: status.standing.clone(),
        damaged: status.damaged,
    }
}

fn cell_status(status: pb::CellStatus) -> Result<CellStatus, Malformed> {
    short(status.peers.len(), "peers")?;
    let peer = |peer: pb::PeerStatus| -> Result<PeerStatus, Malformed> {
        Ok(PeerStatus {
            member: member(&must(peer.member, "member")?)?,
            voter: peer.voter,
            matched: Position(peer.matched),
            last_heard_ms: peer.last_heard_ms,
        })
    };
    Ok(CellStatus {
        cell: cell(&status.cell)?,
        log: LogId(id(&status.log)?),
        role: status.role,
        term: status.term,
        leader: status.leader.as_ref().map(member).transpose()?,
        durable_end: Position(status.durable_end),
        committed: Position(status.committed),
        covered: Position(status.covered),
        released: Position(status.released),
        base: Position(status.base),
        peers: status.peers.into_iter().map(peer).collect::<Result<_, _>>()?,
        waits_for: status.waits_for,
        standing: status.standing,
        damaged: status.damaged,
    })
}
