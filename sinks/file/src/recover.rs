//! Opens the sink's files as the last run left them: the manifest read, torn lines of ours cut, half-made compressed
//! files removed. Blocks.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use sink_api::{BuildError, Reason, SinkContext, code};

use crate::config::{Compress, FileConfig};
use crate::env::Env;
use crate::manifest::{Change, Manifest, ManifestError, NO_LINK, State};
use crate::open::{cut_torn_line, existing, remove};
use crate::pack::{Packer, temporary};
use crate::store::Store;

/// Opens the store.
pub(crate) fn open(config: FileConfig, cx: &SinkContext, env: Env) -> Result<Store, BuildError> {
    let unavailable =
        |what: &str, e: &io::Error| BuildError::Unavailable(Reason::new(code::IO, format!("{what}: {e}")));
    let path = cx.state_dir.join("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_LINK);
    let lock = options.open(path).map_err(|e| unavailable("opening the state folder", &e))?;
    if lock.try_lock().is_err() {
        let busy = "another instance of this sink is still at work on its files";
        return Err(BuildError::Unavailable(Reason::new(code::IO, busy)));
    }
    let manifest = Manifest::open(&cx.state_dir).map_err(|error| match error {
        ManifestError::Io(e) => unavailable("reading the manifest", &e),
        other @ ManifestError::Version { .. } => BuildError::Refused(format!(
            "{} {other}; run the version that wrote it, or move it away to start afresh (the files it lists then count \
             as foreign: `keep` and `max_total` leave them alone)",
            cx.state_dir.join("manifest").display()
        )),
    })?;
    if manifest.damaged() > 0 {
        tracing::error!(
            sink = cx.name,
            lines = manifest.damaged(),
            aside = %cx.state_dir.join("manifest.damaged").display(),
            "the manifest has damaged lines, moved aside: the files they listed count as foreign, `keep` and \
             `max_total` leave them alone"
        );
    }
    let packer = Packer::new(cx.name.clone(), cx.base_dir.clone(), manifest);
    let compress = config.rotate.as_ref().is_some_and(|r| r.compress == Compress::Zstd);
    let store = Store::new(config, env, cx.floor, packer, lock);
    recover(&store, compress).map_err(|e| unavailable("putting in order what the last run left", &e))?;
    Ok(store)
}

fn recover(store: &Store, compress: bool) -> io::Result<()> {
    let ours: BTreeMap<String, State> =
        store.packer.manifest().entries().map(|(path, entry)| (path.to_owned(), entry.state)).collect();
    let mut gone: Vec<Change> = Vec::new();
    for (path, state) in &ours {
        match state {
            // A file that cannot be opened now is looked at again before it is next written to.
            State::Open => {
                if let Ok(Some(open)) = existing(&store.full(path)) {
                    cut_torn_line(&open.file)?;
                }
            }
            State::Rotated => {
                remove_if_there(store, &temporary(path))?;
                let packed = format!("{path}.zst");
                if ours.get(&packed) == Some(&State::Packed) && store.full(&packed).is_file() {
                    // The packed file got its name when it was whole: the original is not needed any more.
                    remove_if_there(store, path)?;
                    gone.push((path.clone(), None));
                } else if compress {
                    store.packer.set_due();
                }
            }
            State::Packed => {}
        }
    }
    store.packer.manifest().record(&gone)
}

/// Removes a file of ours; where its folder cannot be reached now, that is left for another time.
fn remove_if_there(store: &Store, path: &str) -> io::Result<()> {
    match remove(&store.full(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(()),
        removed => removed,
    }
}
