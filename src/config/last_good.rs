//! The last good config: the text of the config in force, kept in the data folder, so that a start that finds the file
//! refused need not stay down. It is the text as it was written, so no value that was filled in is in it, and one line
//! more at its end, a comment, which says of which file it is and since when it was in force.
//!
//! Whoever reads it must know where the data lies, which a file that cannot be read does not tell for certain:
//! [`find`] looks at every place that may be meant. It is taken only for the file that it was kept of.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sink_api::files::Patience;
use sink_api::{SinkKind, Timestamp};

use super::env::RealEnv;
use super::faults::Faults;
use super::load::{Overlooked, Place, load_dirs};
use super::reading::judged;
use super::written::{Written, folder_of};
use super::{Config, MAX_FILE, lenient};
use crate::journal::folder::{self, FolderError, NO_LINK};

/// Its name in the data folder.
pub const FILE: &str = "last-good.toml";
/// Its name while it is written.
const NEW: &str = "last-good.toml.new";
/// What stands between the text and the last line's facts.
const MARK: &str = "\n# kept by hookrelay: in force since ";
/// What stands between these: the time, and the file's path as a JSON string.
const OF: &str = ", of ";
/// Longest last line.
const MAX_LAST_LINE: u64 = 64 << 10;
/// systemd's name for the folders that it gives a service, with colons in between.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// Why a last good config cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The folder is not ours alone.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not what was kept.
    #[error("{path}: is not what was kept: its last line is missing", path = path.display())]
    Damaged {
        /// Where it lies.
        path: PathBuf,
    },
    /// It was kept of another file.
    #[error("{path}: is the last good config of another file, {file}", path = path.display())]
    OtherFile {
        /// Where it lies.
        path: PathBuf,
        /// The file that it is of.
        file: String,
    },
}

/// That there is no last good config.
#[derive(Debug)]
pub struct NoLastGood {
    /// The folders that were looked at.
    looked_in: Vec<PathBuf>,
    /// Those that there are, and why they cannot be taken.
    unusable: Vec<LastGoodError>,
}

impl fmt::Display for NoLastGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looked_in: Vec<String> = self.looked_in.iter().map(|dir| dir.display().to_string()).collect();
        write!(f, "there is no last good config to start from: looked in {}", looked_in.join(", "))?;
        for why in &self.unusable {
            write!(f, "\n  {why}")?;
        }
        Ok(())
    }
}

/// A last good config that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct LastGood {
    /// Where it lies.
    pub path: PathBuf,
    /// Since when it was in force, RFC 3339.
    pub since: String,
    dir: PathBuf,
    /// The file that it was kept of.
    file: String,
    written: Written,
}

/// Keeps the text of the config in force, which is of that file, in the data folder; durable when this returns.
///
/// # Errors
/// It cannot be written; then what was kept before is still there.
pub fn keep(dir: &Path, file: &Path, written: &Written, since: Timestamp) -> io::Result<()> {
    let new = dir.join(NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let done = write(&new, file, written, since).and_then(|()| fs::rename(&new, dir.join(FILE)));
    if done.is_err() {
        // It would be removed before the next try, too.
        let _ = fs::remove_file(&new);
    }
    done.and_then(|()| File::open(dir)?.sync_all())
}

fn write(new: &Path, file: &Path, written: &Written, since: Timestamp) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NO_LINK).open(new)?;
    let file = serde_json::to_string(&absolute(file).to_string_lossy())?;
    out.write_all(written.text().as_bytes())?;
    writeln!(out, "{MARK}{since}{OF}{file}")?;
    out.sync_all()
}

/// Looks for the last good config of a file: in the folder that the command line names, in the one that the file's text
/// seems to mean, and in those that systemd gives. `text` is empty where there is no file.
///
/// # Errors
/// Where it was looked for.
pub fn find(file: &Path, text: &str, named: Option<&Path>) -> Result<LastGood, NoLastGood> {
    let mut none = NoLastGood { looked_in: places(file, text, named), unusable: vec![] };
    for dir in &none.looked_in {
        match read(dir) {
            Ok(Some(found)) if is_same_file(Path::new(&found.file), file) => return Ok(found),
            Ok(Some(LastGood { path, file, .. })) => none.unusable.push(LastGoodError::OtherFile { path, file }),
            Ok(None) => {}
            Err(why) => none.unusable.push(why),
        }
    }
    Err(none)
}

/// Every folder in which the data of a config may lie.
fn places(file: &Path, text: &str, named: Option<&Path>) -> Vec<PathBuf> {
    let base = folder_of(file);
    let meant = match lenient::data_dir(text) {
        Some(dir) => base.join(dir),
        // A `${…}` in it, if it can be filled in at all.
        None if text.contains("${") => {
            let env = RealEnv::new(&base, Patience::new());
            load_dirs(text, file, &env).map_or_else(|_| base.join("data"), |dirs| dirs.data)
        }
        None => base.join("data"),
    };
    let given = std::env::var_os(STATE_DIRECTORY).unwrap_or_default();
    let given = std::env::split_paths(OsStr::new(&given)).filter(|dir| dir.is_absolute()).collect::<Vec<_>>();
    let all = named.map(absolute).into_iter().chain([meant]).chain(given);
    all.fold(vec![], |mut places, dir| {
        if !places.contains(&dir) {
            places.push(dir);
        }
        places
    })
}

/// The last good config in a folder, if there is one.
fn read(dir: &Path) -> Result<Option<LastGood>, LastGoodError> {
    let path = dir.join(FILE);
    let failed = |error| LastGoodError::Io { path: dir.join(FILE), error };
    let file = match OpenOptions::new().read(true).custom_flags(NO_LINK).open(&path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if folder::is_link(&error) => return Err(folder::link(&path).into()),
        opened => opened.map_err(failed)?,
    };
    folder::inspect(dir)?;
    let mut text = String::new();
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(LastGoodError::Damaged { path });
    }
    file.take(MAX_FILE + MAX_LAST_LINE).read_to_string(&mut text).map_err(failed)?;
    let Some((written, (since, file))) = taken_apart(&text) else { return Err(LastGoodError::Damaged { path }) };
    let (since, written) = (since.to_owned(), Written::new(written));
    Ok(Some(LastGood { path, since, dir: dir.to_owned(), file, written }))
}

/// The text, since when it was in force, and the file it is of.
fn taken_apart(kept: &str) -> Option<(&str, (&str, String))> {
    let (text, line) = kept.strip_suffix('\n')?.rsplit_once(MARK)?;
    let (since, file) = line.split_once(OF)?;
    Some((text, (since, serde_json::from_str(file).ok()?)))
}

impl LastGood {
    /// The config, as it is read for `file`: relative paths start in that file's folder, and its variables count. What
    /// is wrong with the files of these is no fault as long as every value can be filled in.
    ///
    /// # Errors
    /// All faults, each with its place in what was kept.
    pub fn judge(&self, file: &Path, kinds: &[SinkKind]) -> Result<Config, Faults> {
        let config = self.judge_with(None, file, kinds)?;
        // A folder that was moved is where the data is, whatever the text says of it.
        let is_here = is_same_file(&config.data_dir, &self.dir);
        if is_here { Ok(config) } else { self.judge_with(Some(&self.dir), file, kinds) }
    }

    fn judge_with(&self, data_dir: Option<&Path>, file: &Path, kinds: &[SinkKind]) -> Result<Config, Faults> {
        let place = Place { name: &self.path, file, data_dir, overlooked: Overlooked::Variables };
        let env = RealEnv::new(&folder_of(file), Patience::new());
        judged(self.written.text(), &place, &env, kinds)
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether two paths lead to the same thing, which need not be there.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| absolute(path));
    absolute(one) == absolute(other) || real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const SINCE: &str = "2026-01-13T10:30:00Z";

    fn kept(dir: &Path, file: &Path, text: &str) {
        folder::make(dir).unwrap();
        keep(dir, file, &Written::new(text), SINCE.parse().unwrap()).unwrap();
    }

    #[test]
    fn what_is_kept_is_the_text_to_the_byte_and_for_our_eyes_alone() {
        let home = tempfile::tempdir().unwrap();
        let (dir, file) = (home.path().join("data"), home.path().join("a \"b\".toml"));
        let twice = "a = 1\n# kept by hookrelay: in force since x, of y\n";
        for text in ["", "a = 1", "a = 1\n", "\u{feff}a = 1\r\n\r\n", twice] {
            kept(&dir, &file, text);
            let found = find(&file, text, Some(&dir)).unwrap();
            assert_eq!((found.written.text(), found.since.as_str()), (text, SINCE));
            let mode = fs::metadata(dir.join(FILE)).unwrap().mode() & 0o7777;
            assert_eq!((mode, dir.join(NEW).exists()), (0o600, false));
        }
    }

    #[test]
    fn it_is_looked_for_wherever_the_data_may_lie() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        for (dir, text, named) in [
            ("data", "", None),
            ("data", "data_dir = \"data", None),
            ("other", "[[[\ndata_dir = \"other\"", None),
            ("third", "data_dir = \"elsewhere\"", Some("third")),
        ] {
            let dir = home.path().join(dir);
            kept(&dir, &file, "x = 1");
            let named = named.map(|named| home.path().join(named));
            assert!(find(&file, text, named.as_deref()).is_ok(), "{text}");
            fs::remove_dir_all(&dir).unwrap();
            let none = find(&file, text, named.as_deref()).map(drop).unwrap_err().to_string();
            assert!(none.contains(dir.to_str().unwrap()), "{none}");
        }
    }

    #[test]
    fn what_is_of_another_file_damaged_or_behind_a_link_is_not_taken() {
        let home = tempfile::tempdir().unwrap();
        let (dir, file) = (home.path().join("data"), home.path().join("config.toml"));
        let why = || find(&file, "", Some(&dir)).map(drop).unwrap_err().to_string();
        kept(&dir, &home.path().join("other.toml"), "x = 1");
        assert!(why().contains("of another file") && why().contains("other.toml"), "{}", why());
        fs::write(dir.join(FILE), "x = 1\n").unwrap();
        assert!(why().contains("not what was kept"), "{}", why());
        let victim = home.path().join("victim");
        kept(&dir, &file, "x = 1");
        fs::rename(dir.join(FILE), &victim).unwrap();
        symlink(&victim, dir.join(FILE)).unwrap();
        assert!(why().contains("symbolic link"), "{}", why());
        symlink(&victim, dir.join(NEW)).unwrap();
        kept(&dir, &file, "y = 1");
        assert!(find(&file, "", Some(&dir)).is_ok());
        assert!(fs::read_to_string(&victim).unwrap().starts_with("x = 1"), "nothing was written through the links");
    }
}
