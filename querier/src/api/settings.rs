//! settings.v1.SettingsService (api-semantics §10.1).

use hearth_proto::settings::v1 as wire;
use hearth_rpc::RpcError;

use super::Call;
use crate::tenant_settings::{Setting, SettingsError};

fn wire_setting(name: String, setting: Setting) -> wire::Setting {
    wire::Setting { name, value: setting.value, modified_at: setting.modified_at_ms }
}

pub(super) async fn get(
    call: Call,
    _request: wire::GetSettingsRequest,
) -> Result<wire::GetSettingsResponse, RpcError> {
    let all = call.querier.0.settings.all(call.tenant()?).await?;
    let settings = all.into_iter().map(|(name, setting)| wire_setting(name, setting)).collect();
    Ok(wire::GetSettingsResponse { settings })
}

pub(super) async fn set(
    call: Call,
    request: wire::SetSettingsRequest,
) -> Result<wire::SetSettingsResponse, RpcError> {
    let tenant = call.tenant()?;
    let wire::Setting { name, value, modified_at } = request.setting.ok_or(SettingsError::NoSetting)?;
    let setting = Setting { value, modified_at_ms: modified_at };
    let stored = call.querier.0.settings.set(tenant, name.clone(), setting, call.now).await?;
    Ok(wire::SetSettingsResponse { setting: Some(wire_setting(name, stored)) })
}

pub(super) async fn delete(
    call: Call,
    request: wire::DeleteSettingsRequest,
) -> Result<wire::DeleteSettingsResponse, RpcError> {
    call.querier.0.settings.delete(call.tenant()?, &request.name, call.now).await?;
    Ok(wire::DeleteSettingsResponse {})
}
