//! The web page's settings of each tenant: opaque texts by name, one small object a tenant (api-semantics §10.1).

use std::collections::BTreeMap;

use hearth_common::{Classify, ErrorKind, TenantId, TimestampNs};
use hearth_objstore::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// Most bytes of one tenant's settings.
const SETTINGS_MAX_BYTES: usize = 1 << 20;
/// Version of the object's format.
const FORMAT: u32 = 1;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) value: String,
    pub(crate) modified_at_ms: i64,
}

type All = BTreeMap<String, Setting>;

#[derive(Debug, Serialize, Deserialize)]
struct Object {
    format: u32,
    settings: All,
}

/// Why settings cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object is not what was written.
    #[error("the settings object '{key}' is damaged")]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a newer version.
    #[error("the settings object '{key}' has format {found}, this version knows {FORMAT}; upgrade Hearth")]
    NewerFormat {
        /// Its key.
        key: String,
        /// Its format.
        found: u32,
    },
    /// Somebody was faster.
    #[error("newer update already written")]
    Newer,
    /// Nothing to set.
    #[error("no setting values provided")]
    NoSetting,
    /// Nothing to delete.
    #[error("no setting name provided")]
    NoName,
    /// Too much.
    #[error("the settings would take {bytes} bytes, the limit is {SETTINGS_MAX_BYTES}: delete some first")]
    TooLarge {
        /// How much.
        bytes: usize,
    },
}

impl Classify for SettingsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::NewerFormat { .. } => ErrorKind::FailedPrecondition,
            Self::Newer => ErrorKind::AlreadyExists,
            Self::NoSetting | Self::NoName => ErrorKind::InvalidArgument,
            Self::TooLarge { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

/// Reads and writes settings. In one process changes are made one after the other; of two processes the last wins.
#[derive(Debug)]
pub(crate) struct TenantSettings {
    store: Store,
    changing: tokio::sync::Mutex<()>,
}

impl TenantSettings {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, changing: tokio::sync::Mutex::new(()) }
    }

    /// All settings, by name.
    pub(crate) async fn all(&self, tenant: &TenantId) -> Result<All, SettingsError> {
        let key = key(tenant);
        // A little more than is ever written: the envelope.
        let bytes = match self.store.get(&key, 2 * SETTINGS_MAX_BYTES as u64).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(All::new()),
            Err(error) => return Err(error.into()),
        };
        let object: Object = serde_json::from_slice(&bytes)
            .map_err(|source| SettingsError::Damaged { key: key.clone(), source })?;
        match object.format {
            FORMAT => Ok(object.settings),
            found => Err(SettingsError::NewerFormat { key, found }),
        }
    }

    /// Sets one; a time of 0 or less means now. Equal times overwrite.
    pub(crate) async fn set(
        &self,
        tenant: &TenantId,
        name: String,
        mut setting: Setting,
        now: TimestampNs,
    ) -> Result<Setting, SettingsError> {
        if setting.modified_at_ms <= 0 {
            setting.modified_at_ms = now.as_ms();
        }
        let _turn = self.changing.lock().await;
        let mut all = self.all(tenant).await?;
        if all.get(&name).is_some_and(|stored| stored.modified_at_ms > setting.modified_at_ms) {
            return Err(SettingsError::Newer);
        }
        all.insert(name, setting.clone());
        self.write(tenant, all).await?;
        Ok(setting)
    }

    /// Deletes one; an unknown name is fine.
    pub(crate) async fn delete(
        &self,
        tenant: &TenantId,
        name: &str,
        now: TimestampNs,
    ) -> Result<(), SettingsError> {
        if name.is_empty() {
            return Err(SettingsError::NoName);
        }
        let _turn = self.changing.lock().await;
        let mut all = self.all(tenant).await?;
        match all.get(name) {
            None => Ok(()),
            Some(stored) if stored.modified_at_ms > now.as_ms() => Err(SettingsError::Newer),
            Some(_) => {
                all.remove(name);
                self.write(tenant, all).await
            }
        }
    }

    async fn write(&self, tenant: &TenantId, settings: All) -> Result<(), SettingsError> {
        let key = key(tenant);
        let bytes = serde_json::to_vec(&Object { format: FORMAT, settings })
            .map_err(|source| SettingsError::Damaged { key: key.clone(), source })?;
        if bytes.len() > SETTINGS_MAX_BYTES {
            return Err(SettingsError::TooLarge { bytes: bytes.len() });
        }
        Ok(self.store.put(&key, bytes).await?)
    }
}

/// Apart from the folders of tenants' data, so that a tenant with settings only is no tenant with data.
fn key(tenant: &TenantId) -> String {
    format!("settings/{tenant}.json")
}
