//! Flags that every binary has, and from flags to settings.

use std::path::{Path, PathBuf};

use clap::Args;
use hearth_settings::{Layers, Loaded};

use crate::error::NodeError;

/// A flag's name for errors, the key that it sets, and its text.
pub(crate) type Assignment = (String, String, String);

/// Settings come from defaults, then the file, then variables `HEARTH_…`, then these flags.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Address and port to listen on [default: 127.0.0.1:4040]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Folder for everything that must survive a restart [default: hearth-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Tell tenants apart by the header X-Scope-OrgID
    #[arg(long)]
    pub multitenancy: bool,
    /// YAML file with settings; `hearth config --defaults` prints one with all keys
    #[arg(long, value_name = "FILE", env = "HEARTH_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where published blocks live: file:///path, s3://bucket/prefix, gs://…, az://… [default: DIR/store]
    #[arg(long, value_name = "URL")]
    pub object_store: Option<String>,
    /// error, warn, info, debug, trace, or module=level pairs [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Any setting by its key, such as limits.ingestion_rate_mb=100; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl CommonArgs {
    /// Settings from all layers: file, environment, flags.
    pub fn load(&self) -> Result<Loaded, NodeError> {
        self.load_with(Vec::new())
    }

    /// With further flags; `--set` wins over all of them.
    pub(crate) fn load_with(&self, further: Vec<Assignment>) -> Result<Loaded, NodeError> {
        let path = |path: &PathBuf| Path::to_string_lossy(path).into_owned();
        let mut flags = assignments([
            ("--listen", "listen", self.listen.clone()),
            ("--data-dir", "data_dir", self.data_dir.as_ref().map(path)),
            ("--multitenancy", "multitenancy", self.multitenancy.then(|| "true".to_owned())),
            ("--object-store", "object_store", self.object_store.clone()),
            ("--log-level", "log.level", self.log_level.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
        ]);
        flags.extend(further);
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| NodeError::Set(pair.clone()))?;
            flags.push(("--set".to_owned(), key.to_owned(), value.to_owned()));
        }
        let layers = Layers { file: self.config.clone(), environment: std::env::vars().collect(), flags };
        Ok(layers.load()?)
    }
}

/// The flags that were given.
pub(crate) fn assignments<const N: usize>(named: [(&str, &str, Option<String>); N]) -> Vec<Assignment> {
    let given =
        named.into_iter().filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value?)));
    given.collect()
}
