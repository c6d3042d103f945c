//! Where `${…}` gets its values: from the process's environment, from `env_file`, from the `.env` beside the config,
//! from secret files. All but the first are read each time the config is.
//!
//! The environment of the process is read, never changed.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use sink_api::files::{self, Patience};

use super::dot_env;

/// Largest secret file, largest `env_file` and largest `.env`.
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

    /// From now on the variables in that file count, too: before those of `.env`, after the process's own.
    ///
    /// # Errors
    /// As [`Self::read_file`]. A line that is no assignment is one of the [`Self::problems`].
    fn include(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether a variable is one of the process's own, which keep their values for as long as it runs.
    fn is_fixed(&self, _name: &str) -> bool {
        false
    }

    /// The file in which another value of that variable stands, which is not taken because the process has its own.
    fn passed_over(&self, _name: &str) -> Option<PathBuf> {
        None
    }

    /// What is wrong with the sources themselves: each is a fault of the config.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// The process's environment, then `env_file`, then `.env` in the config's folder.
pub struct RealEnv {
    /// Files with variables; the first that has a variable counts.
    variables: RefCell<Vec<Variables>>,
    problems: RefCell<Vec<Problem>>,
    /// Secret files that were read.
    files: RefCell<BTreeSet<PathBuf>>,
    patience: Patience,
}

/// A file with variables.
struct Variables {
    file: PathBuf,
    values: HashMap<String, String>,
}

impl RealEnv {
    /// Reads the `.env` in that folder, if there is one. A file that is a pipe, here or later, is waited for as long as
    /// `patience` lasts.
    pub fn new(config_dir: &Path, patience: Patience) -> Self {
        let (variables, problems, files) = Default::default();
        let env = Self { variables, problems, files, patience };
        let file = config_dir.join(".env");
        match files::read_text(&file, MAX_FILE, &env.patience) {
            Ok(text) => env.take(&file, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let help = (error.kind() == io::ErrorKind::InvalidData).then_some("save it as UTF-8");
                let problem = problem(&file, 1, format!("cannot be read: {error}"), help);
                env.problems.borrow_mut().push(problem);
            }
        }
        env
    }

    /// Puts the variables of a file before those of the others.
    fn take(&self, file: &Path, text: &str) {
        let (values, problems) = parse(text, file);
        self.variables.borrow_mut().insert(0, Variables { file: file.to_owned(), values });
        self.problems.borrow_mut().extend(problems);
    }

    /// The files that set a variable.
    pub fn variable_files(&self) -> Vec<PathBuf> {
        let variables = self.variables.borrow();
        variables.iter().filter(|file| !file.values.is_empty()).map(|file| file.file.clone()).collect()
    }

    /// The secret files that were read.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        self.files.borrow().iter().cloned().collect()
    }
}

impl Env for RealEnv {
    fn get(&self, name: &str) -> Option<String> {
        let in_files = || self.variables.borrow().iter().find_map(|file| file.values.get(name).cloned());
        std::env::var(name).ok().or_else(in_files)
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let text = files::read_text(path, MAX_FILE, &self.patience)?;
        self.files.borrow_mut().insert(path.to_owned());
        Ok(text)
    }

    fn read_public(&self, path: &Path) -> io::Result<String> {
        files::read_text(path, MAX_PUBLIC, &self.patience)
    }

    fn include(&self, path: &Path) -> io::Result<()> {
        let text = files::read_text(path, MAX_FILE, &self.patience)?;
        self.take(path, &text);
        Ok(())
    }

    fn is_fixed(&self, name: &str) -> bool {
        std::env::var(name).is_ok()
    }

    fn passed_over(&self, name: &str) -> Option<PathBuf> {
        let own = std::env::var(name).ok()?;
        let variables = self.variables.borrow();
        let (file, value) = variables.iter().find_map(|file| Some((&file.file, file.values.get(name)?)))?;
        (*value != own).then(|| file.clone())
    }

    fn problems(&self) -> Vec<Problem> {
        self.problems.borrow().clone()
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
        assert_eq!(env.passed_over("CARGO_MANIFEST_DIR"), Some(dir.path().join(".env")));
        assert!(env.is_fixed("CARGO_MANIFEST_DIR") && !env.is_fixed("HOOKRELAY_ONLY_BESIDE"));
        assert_eq!(env.passed_over("HOOKRELAY_ONLY_BESIDE"), None);
    }

    #[test]
    fn an_included_file_wins_over_the_dot_env_and_its_bad_lines_are_problems() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(dir.path().join(".env"), "HOOKRELAY_BOTH=beside\nHOOKRELAY_ONLY_BESIDE=yes\n").unwrap();
        std::fs::write(&file, "HOOKRELAY_BOTH=named\nno assignment\n").unwrap();
        let env = RealEnv::new(dir.path(), Patience::new());
        env.include(&file).unwrap();
        assert_eq!(env.get("HOOKRELAY_BOTH").as_deref(), Some("named"));
        assert_eq!(env.get("HOOKRELAY_ONLY_BESIDE").as_deref(), Some("yes"));
        let lines: Vec<_> = env.problems().into_iter().map(|problem| (problem.file, problem.line)).collect();
        assert_eq!(lines, [(file, 2)]);
        assert!(env.include(&dir.path().join("none")).is_err());
    }
}
