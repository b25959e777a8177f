//! `hearth serve`: settings, logs, all roles, one port, and the way down.

use anyhow::Result;
use hearth_settings::{Layers, Loaded};

use crate::cli::ServeArgs;

/// Settings from all layers.
pub(crate) fn load_settings(args: &ServeArgs) -> Result<Loaded> {
    let mut flags: Vec<(String, String, String)> = Vec::new();
    let mut flag =
        |name: &str, key: &str, value: String| flags.push((name.to_owned(), key.to_owned(), value));
    if let Some(listen) = &args.listen {
        flag("--listen", "listen", listen.clone());
    }
    if let Some(dir) = &args.data_dir {
        flag("--data-dir", "data_dir", dir.to_string_lossy().into_owned());
    }
    if args.multitenancy {
        flag("--multitenancy", "multitenancy", "true".to_owned());
    }
    if let Some(url) = &args.object_store {
        flag("--object-store", "object_store", url.clone());
    }
    if let Some(level) = &args.log_level {
        flag("--log-level", "log.level", level.clone());
    }
    if let Some(format) = &args.log_format {
        flag("--log-format", "log.format", format.clone());
    }
    for pair in &args.set {
        let Some((key, value)) = pair.split_once('=') else {
            anyhow::bail!("--set {pair}: write KEY=VALUE");
        };
        flag("--set", key, value.to_owned());
    }
    let layers = Layers { file: args.config.clone(), environment: std::env::vars().collect(), flags };
    Ok(layers.load()?)
}

pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let _ = load_settings(args)?;
    anyhow::bail!("not wired yet")
}
