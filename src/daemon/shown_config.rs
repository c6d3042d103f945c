//! The config in force and the one on disk, as they may be shown.

use std::path::Path;

use sink_api::files::{self, Patience};

use super::config_state::ConfigState;
use super::refusals::unable;
use crate::admin::Refusal;
use crate::admin::running::ConfigView;
use crate::admin::status::ConfigStatus;
use crate::config::{MAX_FILE, shown, syntax_fault};

/// What stands in the place of a text that cannot be shown, as it cannot be read as TOML.
const NOT_SHOWN: &str = "# not shown: it is no TOML, so that it is not known what is a secret in it\n";

/// Both.
///
/// # Errors
/// The thread that reads the file has failed.
pub(super) async fn view(state: &ConfigState) -> Result<ConfigView, Refusal> {
    let config = state.in_force();
    let ConfigStatus { state, path, since, fault } = state.status();
    let shown = tokio::task::spawn_blocking(move || {
        let text = |text: &str| shown(text, &config.masks).unwrap_or_else(|| NOT_SHOWN.to_owned());
        let on_disk = read(&config.file).filter(|on_disk| on_disk != config.written.text());
        let on_disk_fault = on_disk.as_deref().and_then(syntax_fault);
        let on_disk = on_disk.as_deref().map(text);
        ConfigView {
            path,
            running: text(config.written.text()),
            on_disk,
            on_disk_fault,
            state,
            since,
            fault,
            read_only: config.admin.read_only,
        }
    });
    shown.await.map_err(unable)
}

/// The file's text; nothing where it is a pipe or the like, which can be read once.
fn read(file: &Path) -> Option<String> {
    let is_file = std::fs::metadata(file).is_ok_and(|meta| meta.is_file());
    is_file.then(|| files::read_text(file, MAX_FILE, &Patience::new()).ok()).flatten()
}
