//! `hearth config`: the settings in force, or all keys with their defaults.

use std::io::Write;

use anyhow::Result;
use hearth_settings::Settings;

use super::args::ConfigArgs;
use crate::serve;

pub(super) fn run(args: &ConfigArgs) -> Result<()> {
    let settings =
        if args.defaults { Settings::default() } else { serve::load_settings(&args.serve)?.settings };
    Ok(std::io::stdout().lock().write_all(settings.to_yaml().as_bytes())?)
}
