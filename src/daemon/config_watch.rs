//! Sees when the config file becomes another one (`run --watch`). The file is looked at twice a second, as names, links
//! and mounts are replaced in more ways than the kernel reports; a file that is still being written is waited for.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often the file is looked at. A file that looks the same twice is complete.
const LOOK: Duration = Duration::from_millis(500);

/// Tells one file from another: device, inode, size, time of change in ns. Links are followed.
type Stamp = (u64, u64, u64, i128);

/// A file that is watched.
pub struct Watch {
    file: Option<PathBuf>,
    /// The file whose config is in force, or was refused.
    taken: Option<Stamp>,
    /// The file that was there at the last look.
    seen: Option<Stamp>,
}

impl Watch {
    /// Watches that file, where there is one.
    pub fn new(file: Option<PathBuf>) -> Self {
        let mut watch = Self { file, taken: None, seen: None };
        watch.taken = watch.stamp();
        watch.seen = watch.taken;
        watch
    }

    fn stamp(&self) -> Option<Stamp> {
        let meta = std::fs::metadata(self.file.as_ref()?).ok()?;
        let changed = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Some((meta.dev(), meta.ino(), meta.size(), changed))
    }

    /// Waits until another file is there, complete; for ever where no file is watched. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.file.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.stamp();
            let before = std::mem::replace(&mut self.seen, now);
            if self.seen.is_some() && self.seen == before && self.seen != self.taken {
                self.taken = self.seen;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rename_a_link_and_a_rewrite_are_seen_and_what_is_gone_or_growing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "1").unwrap();
        std::os::unix::fs::symlink(at("a"), at("config")).unwrap();
        let mut watch = Watch::new(Some(at("config")));
        let is_seen = async |watch: &mut Watch| tokio::time::timeout(LOOK * 5, watch.changed()).await.is_ok();
        assert!(!is_seen(&mut watch).await);
        std::fs::write(at("b"), "22").unwrap();
        std::fs::rename(at("b"), at("a")).unwrap();
        assert!(is_seen(&mut watch).await, "a rename behind the link");
        assert!(!is_seen(&mut watch).await, "once");
        std::fs::remove_file(at("config")).unwrap();
        assert!(!is_seen(&mut watch).await, "nothing to read");
        std::fs::write(at("c"), "333").unwrap();
        std::os::unix::fs::symlink(at("c"), at("config")).unwrap();
        assert!(is_seen(&mut watch).await, "another link");
        let grows = async {
            for n in 4..20 {
                std::fs::write(at("c"), "x".repeat(n)).unwrap();
                tokio::time::sleep(LOOK / 2).await;
            }
        };
        tokio::select! {
            biased;
            () = watch.changed() => panic!("half of it is written"),
            () = grows => {}
        }
        assert!(is_seen(&mut watch).await, "complete");
    }
}
