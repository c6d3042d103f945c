//! Where `${…}` gets its values: from the process's environment, from the `.env` beside the config, from secret files.
//!
//! The environment of the process is read, never changed.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use sink_api::files::{self, Patience};

use super::dot_env;

/// Largest secret file, and largest `.env`.
const MAX_FILE: u64 = 64 << 10;
/// Largest file of certificates: the authorities of a whole system are 250 KiB.
const MAX_PUBLIC: u64 = 1 << 20;

/// Something wrong with a source of values, not with the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong; never holds a value.
    pub message: String,
    /// The mend.
    pub help: Option<String>,
}

/// The outside world, as far as a config may look into it.
pub trait Env {
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<String>;

    /// A file's text, of at most 64 KiB.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is not UTF-8.
    fn read_file(&self, path: &Path) -> io::Result<String>;

    /// The text of a file that holds no secret.
    ///
    /// # Errors
    /// As [`Self::read_file`]; certificates of many authorities may be larger.
    fn read_public(&self, path: &Path) -> io::Result<String> {
        self.read_file(path)
    }

    /// What is wrong with the sources themselves: each is a fault of the config.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// The process's environment, then `.env` in the config's folder.
pub struct RealEnv {
    file: PathBuf,
    dot_env: HashMap<String, String>,
    problems: Vec<Problem>,
    /// Secret files that were read.
    files: RefCell<BTreeSet<PathBuf>>,
    patience: Patience,
}

impl RealEnv {
    /// Reads the `.env` in that folder, if there is one. A file that is a pipe, here or later, is waited for as long as
    /// `patience` lasts.
    pub fn new(config_dir: &Path, patience: Patience) -> Self {
        let file = config_dir.join(".env");
        let (dot_env, problems) = match files::read_text(&file, MAX_FILE, &patience) {
            Ok(text) => parse(&text, &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (HashMap::new(), vec![]),
            Err(error) => (HashMap::new(), vec![problem(&file, 1, format!("cannot be read: {error}"), None)]),
        };
        Self { file, dot_env, problems, files: RefCell::default(), patience }
    }

    /// The path of the `.env`, if that sets anything.
    pub fn dot_env(&self) -> Option<&Path> {
        (!self.dot_env.is_empty()).then_some(&self.file)
    }

    /// The secret files that were read.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        self.files.borrow().iter().cloned().collect()
    }
}

impl Env for RealEnv {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.dot_env.get(name).cloned())
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let text = files::read_text(path, MAX_FILE, &self.patience)?;
        self.files.borrow_mut().insert(path.to_owned());
        Ok(text)
    }

    fn read_public(&self, path: &Path) -> io::Result<String> {
        files::read_text(path, MAX_PUBLIC, &self.patience)
    }

    fn problems(&self) -> Vec<Problem> {
        self.problems.clone()
    }
}

fn problem(file: &Path, line: usize, message: String, help: Option<&str>) -> Problem {
    Problem { file: file.to_owned(), line, message, help: help.map(str::to_owned) }
}

/// The variables of a `.env`, and a problem for each line that sets none. Of several lines for one name the last
/// counts.
fn parse(text: &str, file: &Path) -> (HashMap<String, String>, Vec<Problem>) {
    let (variables, bad) = dot_env::parse(text);
    let help = "write NAME=value, the value in single quotes where it holds blanks, quotes or backslashes";
    let problems = bad.into_iter().map(|line| problem(file, line, "not an assignment".into(), Some(help)));
    (variables, problems.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_env_is_read_as_it_stands() {
        let text = "\u{feff}# c\nA=1\nexport B='x # y'\nC=\"two\nlines\"\nD=p@$$w0rd#x\nE='$A'\nF=\"\\$A\"\nG=\nA=2\n";
        let (values, problems) = parse(text, Path::new(".env"));
        assert_eq!(problems, []);
        let expected =
            [("A", "2"), ("B", "x # y"), ("C", "two\nlines"), ("D", "p@$$w0rd#x"), ("E", "$A"), ("F", "$A"), ("G", "")];
        assert_eq!(values.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(values.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn each_bad_line_is_named_by_number_without_its_text() {
        let text = "A=1\nhunter2 hunter3\n# c\nB=hunter2 hunter3\nC=ok\nD=\"open\n";
        let (values, problems) = parse(text, Path::new(".env"));
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 4, 6]);
        assert!(!format!("{problems:?}").contains("hunter"), "{problems:?}");
        assert_eq!(values.get("C").map(String::as_str), Some("ok"));
    }

    #[test]
    fn files_are_bounded_and_a_missing_dot_env_is_no_problem() {
        let dir = tempfile::tempdir().unwrap();
        let env = RealEnv::new(dir.path(), Patience::new());
        assert_eq!((env.problems(), env.get("HOOKRELAY_NO_SUCH_VARIABLE")), (vec![], None));
        let file = dir.path().join("key");
        std::fs::write(&file, vec![b'x'; 64 << 10]).unwrap();
        assert_eq!(env.read_file(&file).unwrap().len(), 64 << 10);
        std::fs::write(&file, vec![b'x'; (64 << 10) + 1]).unwrap();
        assert!(env.read_file(&file).unwrap_err().to_string().contains("64 KiB"));
    }

    #[test]
    fn the_process_environment_wins_over_the_dot_env() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "CARGO_MANIFEST_DIR=beside\nHOOKRELAY_ONLY_BESIDE=yes\n").unwrap();
        let env = RealEnv::new(dir.path(), Patience::new());
        assert_eq!(env.get("CARGO_MANIFEST_DIR"), std::env::var("CARGO_MANIFEST_DIR").ok());
        assert_eq!(env.get("HOOKRELAY_ONLY_BESIDE").as_deref(), Some("yes"));
    }
}
