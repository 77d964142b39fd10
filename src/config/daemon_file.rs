//! `rekeyd.toml`: settings of the daemon as a whole.

use std::time::Duration;

use super::reader::Reader;
use super::report::Report;
use super::settings::DaemonSettings;
use super::values::{Bounds, duration};

/// Reads the file; what is wrong keeps its default and is in the report.
pub(super) fn read(mut root: Reader<'_>, report: &mut Report<'_>) -> DaemonSettings {
    let mut settings = DaemonSettings::default();
    let daemon = root.table("daemon", "[daemon]", report);
    root.finish(report);
    if let Some(mut daemon) = daemon {
        let bounds = Bounds { least: Duration::from_secs(1), most: settings.stop_timeout };
        let timeout = daemon.text("stop-timeout", "stop-timeout = \"60s\"", report, |text| duration(text, bounds));
        if let Some(timeout) = timeout {
            settings.stop_timeout = timeout.into_inner();
        }
        daemon.finish(report);
    }
    settings
}
