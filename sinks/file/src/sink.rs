//! Opens the sink, hands each batch to a thread that may block, and keeps compression going beside that.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use rustix::fs::{Access, access};
use sink_api::{
    Batch, BuildError, Escape, Event, Fault, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target,
    async_trait, code,
};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::{FileConfig, PATH};
use crate::env::Env;
use crate::open::nearest_folder;
use crate::pack::Packer;
use crate::recover;
use crate::store::Store;
use crate::verdict::FileError;

#[async_trait]
impl SinkConfig for FileConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn target(&self, event: &Event) -> Result<Target, Reason> {
        Ok(Target::of(PATH, self.path.render(event, Escape::Path)?))
    }

    fn claims(&self) -> Vec<String> {
        vec![format!("file:{}", self.path.source())]
    }

    /// Beside the files written to: the lock, folders being flushed, and one file that is compressed into another.
    fn descriptors(&self, _calls: usize) -> usize {
        self.max_open.saturating_add(8)
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(FileSink::open(self, cx, Env::real()).await?))
    }
}

/// The sink at work.
pub(crate) struct FileSink {
    /// Held by the blocking task until it is through: a call dropped half-way is finished before the next one begins,
    /// and calls that wait hold no thread.
    pub(crate) store: Arc<Mutex<Store>>,
    packer: Arc<Packer>,
    packing: StdMutex<Option<JoinHandle<()>>>,
}

impl FileSink {
    /// Opens the sink's files.
    pub(crate) async fn open(config: &FileConfig, cx: &SinkContext, env: Env) -> Result<Self, BuildError> {
        let (config, cx) = (config.clone(), cx.clone());
        let broken = |_| BuildError::Unavailable(Reason::new(code::IO, "opening was broken off"));
        let store = spawn_blocking(move || recover::open(config, &cx, env)).await.map_err(broken)??;
        let packer = Arc::clone(&store.packer);
        Ok(Self { store: Arc::new(Mutex::new(store)), packer, packing: StdMutex::new(None) })
    }

    /// Starts compressing what has been put aside, where that is not under way already.
    fn pack(&self) {
        let mut packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.packer.is_due() && packing.as_ref().is_none_or(JoinHandle::is_finished) {
            let packer = Arc::clone(&self.packer);
            *packing = Some(spawn_blocking(move || packer.run()));
        }
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let mut store = Arc::clone(&self.store).lock_owned().await;
        let owned = batch.clone();
        let done = spawn_blocking(move || store.write(&owned)).await;
        self.pack();
        done.unwrap_or_else(|_| Report::all(batch, &Outcome::retry(code::IO, "the write was broken off")))
    }

    async fn probe(&self) -> Result<(), Reason> {
        let store = Arc::clone(&self.store).lock_owned().await;
        let looked = spawn_blocking(move || {
            if store.floor_reached() {
                return Err(Reason::new(code::DISK_FULL, FileError::Floor.to_string()));
            }
            // Making or entering the folder takes both rights on the nearest folder that is there.
            access(nearest_folder(&store.root).join("."), Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|e| Reason::new(code::IO, format!("the folder {}: {e}", store.root.display())))
        });
        looked.await.unwrap_or_else(|_| Err(Reason::new(code::IO, "the look was broken off")))
    }

    async fn close(self: Box<Self>) {
        self.packer.stop();
        let packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(packing) = packing {
            // Compression gives no answer, and logs its own failures.
            let _ = packing.await;
        }
        // A dropped call may still be writing: its lines are whole before the files are let go.
        self.store.lock().await.let_go();
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.packer.stop();
    }
}
