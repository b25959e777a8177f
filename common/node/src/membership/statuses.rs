//! Asks ingesters how they are: all at once, each with a short deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use hearth_cluster::gossip::{Peers, Role};
use hearth_common::MemberId;
use hearth_internode::Reach;

use super::Status;

/// An ingester that does not answer by then is shown without its part.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Most ingesters asked at once.
const ASKED_AT_ONCE: usize = 64;
/// Most ingesters asked.
const ASKED_MAX: usize = 1_000;

/// What ingesters answered.
pub(crate) type Asked = BTreeMap<MemberId, Status>;

pub(super) async fn ask(reach: &dyn Reach, peers: &Peers) -> Asked {
    let ingesters = peers.role(Role::Ingester).take(ASKED_MAX);
    let whom: Vec<(MemberId, String)> =
        ingesters.filter_map(|peer| Some((peer.member()?, peer.said.cluster_addr.to_string()))).collect();
    let one = |(member, address): (MemberId, String)| async move {
        let status = match reach.ingester(&address) {
            Ok(client) => client.status(STATUS_TIMEOUT).await,
            Err(error) => Err(error),
        };
        let status = status.map_err(|error| hearth_common::error::chain(&error));
        // Another process may be at an address that gossip still names.
        let status = status.and_then(|status| {
            if status.member == member {
                Ok(status)
            } else {
                Err(format!("{} answers there", status.member.instance))
            }
        });
        (member, status)
    };
    futures::stream::iter(whom).map(one).buffer_unordered(ASKED_AT_ONCE).collect().await
}
