//! The push RPC (api-semantics §3.1).

use std::sync::Arc;

use hearth_proto::push::v1::{PushRequest, PushResponse};
use hearth_rpc::{RequestContext, RpcError};

use super::say_delay;
use crate::Distributor;
use crate::distributor::{DistributeError, PushSeries};
use crate::scratch::in_turn;

/// Takes profiles; annotations of clients are dropped.
pub(crate) async fn push(
    distributor: Arc<Distributor>,
    context: RequestContext,
    request: PushRequest,
) -> Result<PushResponse, RpcError> {
    let tenant = context.tenants.single()?;
    let turn = distributor.turn(tenant).await;
    let prepared = {
        let series: Vec<PushSeries<'_>> = request
            .series
            .iter()
            .map(|series| PushSeries {
                labels: series.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect(),
                samples: series.samples.iter().map(|s| (&s.raw_profile[..], s.id.as_str())).collect(),
            })
            .collect();
        let bytes = series.iter().flat_map(|series| &series.samples).map(|(raw, _)| raw.len()).sum();
        in_turn(&turn, bytes, || distributor.prepare(tenant, &series)).map_err(DistributeError::from)?
    };
    drop((turn, request));
    say_delay(&context, distributor.send(tenant, prepared).await?);
    Ok(PushResponse {})
}
