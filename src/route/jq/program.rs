//! Compiles a program's text, or finds its fault and where in the text that is. Pure.
//!
//! Programs have jq's standard library, without the functions that read more than the event or write anything: `env`,
//! `$ENV`, `input`, `debug`, `stderr`, `halt`. `now` is the event's time. `error` notes what it was called with, so
//! that a failure that a rule raised itself can be recognised.

use std::cell::RefCell;
use std::collections::HashSet;
use std::iter::Peekable;
use std::rc::Rc;
use std::str::CharIndices;
use std::sync::LazyLock;

use jaq_core::load::parse::Def;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{self, Fun};
use jaq_core::{Compiler, Ctx, DataT, Lut, Vars};
use jaq_json::Val;
use sink_api::fault::nearest;
use sink_api::{At, Fault};

use super::failure;

/// Longest text of a program, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Most operators and brackets of a program. Each may be one level of the recursion that reads it and runs it, and
/// running out of stack ends the process.
const MAX_LEVELS: usize = 4_000;
/// The stack, in bytes, that reading and running a program takes at most. A level was seen to take 2 to 4 KiB.
pub const STACK: usize = 64 << 20;
/// Names of jq that programs cannot use.
const OFF: &[&str] = &[
    "env",
    "$ENV",
    "$__prog_args",
    "input",
    "inputs",
    "debug",
    "stderr",
    "input_filename",
    "input_line_number",
    "halt",
    "halt_error",
    "get_search_list",
    "modulemeta",
    "$__loc__",
];
/// Definitions and functions that are left out of the library: those behind the names in [`OFF`], and those that are
/// replaced by our own.
const LEFT_OUT: &[&str] =
    &["env", "now", "error_empty", "debug", "stderr", "debug_empty", "stderr_empty", "halt", "halt_error"];
/// The message about `include` and `import`.
const NO_MODULES: &str = "modules cannot be included or imported: a rule stands in the config as a whole";

/// The data that programs run on: JSON values, and what [`Beside`] holds.
pub enum Data {}

/// What programs have beside their values: the compiled terms, the event's time, and what `error` was last called with.
#[derive(Clone)]
pub struct Beside<'a> {
    lut: &'a Lut<Data>,
    /// Seconds since 1970.
    now: f64,
    raised: Rc<RefCell<Option<Val>>>,
}

impl DataT for Data {
    type V<'a> = Val;
    type Data<'a> = Beside<'a>;
}

impl<'a> jaq_core::data::HasLut<'a, Data> for Beside<'a> {
    fn lut(&self) -> &'a Lut<Data> {
        self.lut
    }
}

/// A compiled program, and its text.
pub struct Filter(jaq_core::Filter<Data>, String);

impl Filter {
    /// Everything that the program yields for an input, one after the other. The message of a failure holds no value of
    /// input or event, except for what the program itself puts into an `error(…)`.
    pub fn run<'a>(&'a self, input: Val, event: Val, now: f64) -> impl Iterator<Item = Result<Val, String>> + 'a {
        let raised = Rc::default();
        let beside = Beside { lut: &self.0.lut, now, raised: Rc::clone(&raised) };
        let context = Ctx::<Data>::new(beside, Vars::new([event]));
        let kind = failure::kind(&input);
        self.0.id.run((context, input)).map(move |output| {
            // The only other exception is made by `halt`, which is left out of the library.
            output.map_err(|exception| match exception.get_err() {
                Ok(error) => failure::message(error, kind, raised.borrow().as_ref(), &self.1),
                Err(_) => "halted".to_owned(),
            })
        })
    }
}

fn functions() -> impl Iterator<Item = Fun<Data>> {
    let now: native::Filter<jaq_core::RunPtr<Data>> =
        ("now", native::v(0), |cv| native::bome(Ok(Val::from(cv.0.data().now))));
    // jq's `error` and `error(…)` are defined by this function.
    let error: native::Filter<jaq_core::RunPtr<Data>> = ("error_empty", native::v(0), |cv| {
        cv.0.data().raised.replace(Some(cv.1.clone()));
        native::bome(Err(jaq_core::Error::new(cv.1)))
    });
    let library = jaq_core::funs::<Data>().chain(jaq_std::funs()).chain(jaq_json::funs());
    library.filter(|(name, _, _)| !LEFT_OUT.contains(name)).chain([now, error].map(native::run::<Data>))
}

/// The library's definitions, parsed once.
static DEFINITIONS: LazyLock<Vec<Def<&'static str>>> = LazyLock::new(|| {
    // This text is ours and a test reads it, so that it has no fault.
    let own = load::parse(include_str!("library.jq"), |parser| parser.defs()).unwrap_or_default();
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(own);
    all.filter(|def| !LEFT_OUT.contains(&def.name)).collect()
});

/// Every function of the library, with the number of its arguments.
#[cfg(test)]
pub fn names() -> Vec<(String, usize)> {
    let native = functions().map(|(name, arguments, _)| (name.to_owned(), arguments.len()));
    native.chain(DEFINITIONS.iter().map(|def| (def.name.to_owned(), def.args.len()))).collect()
}

/// Checks whether a text is a program, on a thread whose stack is large enough for the deepest one.
///
/// # Errors
/// The faults of [`read`].
pub fn check(key: &str, text: &str) -> Result<(), Fault> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("jq-check".to_owned()).stack_size(STACK);
        let reader = reader.spawn_scoped(scope, || read(key, text).map(drop));
        let reader =
            reader.map_err(|error| Fault::at_key(key, format!("key `{key}`: no thread to read it: {error}")))?;
        reader.join().unwrap_or_else(|_| Err(unplaced(key)))
    })
}

/// Compiles a program. Takes up to [`STACK`] bytes of stack.
///
/// # Errors
/// A fault at the key, with its offset in the text.
pub fn read(key: &str, text: &str) -> Result<Filter, Fault> {
    if text.len() > MAX_TEXT {
        return Err(Fault::at_key(key, format!("key `{key}`: the program is longer than {MAX_TEXT} bytes")));
    }
    let levels = levels(text);
    if levels > MAX_LEVELS {
        let message =
            format!("key `{key}`: {levels} operators and brackets, more than a program may have ({MAX_LEVELS})");
        return Err(Fault::at_key(key, message)
            .help("a long list of texts fits in one regular expression: `.x | test(\"^(one|two|three)$\")`"));
    }
    let arena = Arena::default();
    let loader = Loader::new(DEFINITIONS.iter().cloned());
    let modules = loader.load(&arena, File { code: text, path: () }).map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(|| unplaced(key), |(file, error)| syntax(key, file.code, error))
    })?;
    // Data files cannot be imported: their `$name` would have no value.
    load::import(&modules, |_| Err(String::new())).map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(|| unplaced(key), |(file, error)| syntax(key, file.code, error))
    })?;
    let compiler: Compiler<&str, Data> = Compiler::default();
    let compiled = compiler.with_funs(functions()).with_global_vars(["$event"]).compile(modules);
    compiled.map(|filter| Filter(filter, text.to_owned())).map_err(|errors| {
        let found = errors.into_iter().flat_map(|(file, all)| all.into_iter().map(move |one| (file.code, one))).next();
        found.map_or_else(|| unplaced(key), |(code, (name, what))| undefined(key, code, name, &what))
    })
}

/// An upper bound of how deeply a program's terms are nested: counts everything that can nest, outside strings.
fn levels(text: &str) -> usize {
    /// The words that can nest.
    const WORDS: [&str; 13] =
        ["and", "or", "as", "if", "elif", "else", "try", "reduce", "foreach", "def", "label", "import", "include"];
    let mut count = 0;
    // For each string that we are in an interpolation of: how many brackets are open in the code around that string.
    let mut around: Vec<usize> = Vec::new();
    let mut brackets = 0_usize;
    let mut chars = text.char_indices().peekable();
    let (mut in_string, mut last) = (false, None);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if in_string => {
                if let Some((_, '(')) = chars.next() {
                    around.push(std::mem::take(&mut brackets));
                    in_string = false;
                    count += 1;
                }
            }
            '"' => in_string = !in_string,
            _ if in_string => {}
            '#' => skip_comment(&mut chars),
            ')' if brackets == 0 && !around.is_empty() => {
                brackets = around.pop().unwrap_or_default();
                in_string = true;
            }
            '(' => {
                brackets += 1;
                count += 1;
            }
            ')' => brackets = brackets.saturating_sub(1),
            'a'..='z' | 'A'..='Z' | '_' => {
                while chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_').is_some() {}
                let end = chars.peek().map_or(text.len(), |(at, _)| *at);
                count += usize::from(text.get(at..end).is_some_and(|word| WORDS.contains(&word)));
            }
            ']' | '}' | '.' | '$' | '@' | ';' | ':' => {}
            // This is the second sign of an operator such as `==`.
            '=' if last.is_some_and(|c| "=!<>|+-*/%".contains(c)) => {}
            c if c.is_ascii_punctuation() => count += 1,
            _ => {}
        }
        last = Some(c);
    }
    // The library may see strings elsewhere than this function does, so nested brackets count wherever they stand.
    count.max(deepest_bracket(text))
}

/// Skips to the end of the line. As in jaq, a backslash at its end makes the next line part of the comment.
fn skip_comment(chars: &mut Peekable<CharIndices<'_>>) {
    let mut backslashes = 0;
    while let Some((_, c)) = chars.next_if(|(_, c)| *c != '\n' || backslashes % 2 == 1) {
        match c {
            '\\' => backslashes += 1,
            '\r' => {}
            _ => backslashes = 0,
        }
    }
}

/// The largest number of brackets that are open at once.
fn deepest_bracket(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn unplaced(key: &str) -> Fault {
    Fault::at_key(key, format!("key `{key}`: not a jq program"))
}

fn placed(key: &str, code: &str, part: &str, message: &str) -> Fault {
    let offset = load::span(code, part).start;
    Fault { at: At::Inside(key.to_owned(), offset), message: format!("key `{key}`: {message}"), help: None }
}

fn syntax(key: &str, code: &str, error: load::Error<&str>) -> Fault {
    let found = |part: &str| match part.chars().next() {
        None => "the end".to_owned(),
        Some(_) => format!("`{}`", part.chars().take(20).collect::<String>()),
    };
    match error {
        load::Error::Lex(errors) => errors.into_iter().next().map(|(expected, part)| {
            placed(key, code, part, &format!("not a jq program: expected {}, found {}", lexed(&expected), found(part)))
        }),
        load::Error::Parse(errors) => errors.into_iter().next().map(|(expected, part)| {
            let expected = expected.as_str();
            placed(key, code, part, &format!("not a jq program: expected {expected}, found {}", found(part)))
        }),
        load::Error::Io(errors) => errors.into_iter().next().map(|(path, _)| placed(key, code, path, NO_MODULES)),
    }
    .unwrap_or_else(|| unplaced(key))
}

/// What the lexer expected. (Its own `as_str` panics for a delimiter that it does not know.)
fn lexed(expected: &load::lex::Expect<&str>) -> &'static str {
    match expected {
        load::lex::Expect::Delim("(") => "closing parenthesis",
        load::lex::Expect::Delim("[") => "closing bracket",
        load::lex::Expect::Delim("{") => "closing brace",
        load::lex::Expect::Delim(_) => "closing quote",
        other => other.as_str(),
    }
}

fn undefined(key: &str, code: &str, name: &str, what: &jaq_core::compile::Undefined) -> Fault {
    if OFF.contains(&name) {
        let fault = placed(key, code, name, &format!("`{name}` is off in rules"));
        return fault.help("a rule sees the body as its input and the event's attributes as `$event`");
    }
    let kind = what.as_str();
    let fault = placed(key, code, name, &format!("there is no {kind} `{name}` in jq"));
    let near = match what {
        jaq_core::compile::Undefined::Filter(_) => {
            let functions: Vec<&str> = functions().map(|(name, _, _)| name).collect();
            let names: HashSet<&str> = DEFINITIONS.iter().map(|d| d.name).chain(functions).collect();
            if names.contains(name) {
                return fault.help(format!("`{name}` takes another number of arguments"));
            }
            if let Some(path) = path_without_stop(code, name) {
                return fault.help(format!("a path into the body begins with a full stop: `.{path}`"));
            }
            nearest(name, names.into_iter().filter(|n| n.len() > 1))
        }
        _ => nearest(name, ["$event"]),
    };
    match near {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}

/// The path into the body that is probably meant by a word that names no function: `data.x`, `data[0]`, or a single
/// word that is compared or has a default.
fn path_without_stop<'c>(code: &'c str, name: &str) -> Option<&'c str> {
    let span = load::span(code, name);
    let rest = code.get(span.end..)?;
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '"');
    let more = rest.find(|c| !is_of_path(c)).unwrap_or(rest.len());
    let is_operand = ["==", "!=", "//", "<", ">"].iter().any(|sign| rest.trim_start().starts_with(sign));
    let is_path = rest.starts_with(['.', '[']) || is_operand;
    code.get(span.start..span.end + more).filter(|_| is_path)
}
