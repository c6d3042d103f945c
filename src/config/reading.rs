//! Reads a config file, and judges it. These are two steps, so that of a file that is refused, too, it is known which
//! text was refused.

use std::path::Path;

use sink_api::SinkKind;
use sink_api::files::{self, Patience};

use super::env::RealEnv;
use super::faults::Faults;
use super::load::{Dirs, Overlooked, Place, load_admin, load_admin_at, load_at, load_dirs, load_zone_at};
use super::written::{Digest, digest, folder_of};
use super::{Config, MAX_FILE, exposed, lenient};
use crate::admin::AdminConfig;
use crate::times::Zone;

/// A config file that was read, and is not judged yet.
pub struct Reading<'f> {
    file: &'f Path,
    bytes: Vec<u8>,
    /// Pipes among all files of a config are waited for no longer than [`files::PATIENCE`] in total.
    patience: Patience,
}

impl<'f> Reading<'f> {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(file: &'f Path) -> Result<Self, Faults> {
        let patience = Patience::new();
        match files::read(file, MAX_FILE, &patience) {
            Ok(bytes) => Ok(Self { file, bytes, patience }),
            Err(error) => Err(Faults::of_file(file, format!("cannot be read: {error}"))),
        }
    }

    /// The digest of what was read.
    pub fn digest(&self) -> Digest {
        digest(&self.bytes)
    }

    /// What was read; what is not UTF-8 is replaced.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The config, with the process's environment and the files with variables.
    ///
    /// # Errors
    /// All faults.
    pub fn judge(self, kinds: &[SinkKind]) -> Result<Config, Faults> {
        let (file, text, env) = self.text_and_env()?;
        judged(&text, &Place::of(file), &env, kinds)
    }

    fn text_and_env(self) -> Result<(&'f Path, String, RealEnv), Faults> {
        let text = String::from_utf8(self.bytes).map_err(|error| not_text(self.file, &error))?;
        let env = RealEnv::new(self.file.parent().unwrap_or(Path::new("")), self.patience);
        Ok((self.file, text, env))
    }
}

/// The config, with warnings about its files that others may read.
pub(super) fn judged(text: &str, place: &Place<'_>, env: &RealEnv, kinds: &[SinkKind]) -> Result<Config, Faults> {
    let mut config = load_at(text, place, env, kinds)?;
    config.warnings.extend(exposed::warnings(place.name, text, env, &config.masks));
    Ok(config)
}

/// Reads a config file, with the process's environment and the `.env` beside the file.
///
/// # Errors
/// All faults; a file that cannot be read is one.
pub fn read(file: &Path, kinds: &[SinkKind]) -> Result<Config, Faults> {
    Reading::of(file)?.judge(kinds)
}

/// Reads what a live verb needs of a config file: `data_dir` and `[admin]`. Faults of other tables do not matter, nor
/// does a `${…}` in them that cannot be filled in, nor a file with variables that cannot be read. Where the file is no
/// TOML, as much is read as can be: the daemon may run on its last good config, and is to be reached.
///
/// # Errors
/// The faults of these two; faults of syntax where nothing can be told of them.
pub fn read_admin(file: &Path) -> Result<AdminConfig, Faults> {
    let reading = Reading::of(file)?;
    let lossy = reading.lossy();
    let strict = reading.text_and_env().and_then(|(file, text, env)| load_admin(&text, file, &env));
    strict.or_else(|faults| {
        let data_dir = lenient::data_dir(&lossy).map(|dir| folder_of(file).join(dir));
        let place = Place { overlooked: Overlooked::Syntax, data_dir: data_dir.as_deref(), ..Place::of(file) };
        let env = RealEnv::new(file.parent().unwrap_or(Path::new("")), Patience::new());
        load_admin_at(&lossy, &place, &env).map_err(|_| faults)
    })
}

/// Reads the daemon's folders from a config file; other tables do not matter.
///
/// # Errors
/// The faults of `data_dir` and `[journal]`, and faults of syntax.
pub fn read_dirs(file: &Path) -> Result<Dirs, Faults> {
    let (file, text, env) = Reading::of(file)?.text_and_env()?;
    load_dirs(&text, file, &env)
}

/// Reads by whose clock times are read and shown; other keys do not matter, and where the file is no TOML, as much is
/// read as can be.
///
/// # Errors
/// The faults of `timezone`; the file cannot be read.
pub fn read_zone(file: &Path) -> Result<Zone, Faults> {
    let place = Place { overlooked: Overlooked::Syntax, ..Place::of(file) };
    let env = RealEnv::new(file.parent().unwrap_or(Path::new("")), Patience::new());
    load_zone_at(&Reading::of(file)?.lossy(), &place, &env)
}

/// The fault of a file that is not UTF-8, at its first bad byte.
fn not_text(file: &Path, error: &std::string::FromUtf8Error) -> Faults {
    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let good = String::from_utf8_lossy(good);
    let mut faults =
        Faults::of_file(file, "is not UTF-8 from here on, as TOML must be: save the file in that encoding");
    for fault in &mut faults.0 {
        fault.line = good.matches('\n').count() + 1;
        fault.column = good.chars().rev().take_while(|c| *c != '\n').count() + 1;
    }
    faults
}
