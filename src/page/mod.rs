//! The page for people: its files, embedded in the binary. Knows nothing of the daemon; the admin listener serves
//! them, and the page asks the admin API.
//!
//! Plain ES modules, which a browser loads as they stand here: nothing is built. `app.js` is who is signed in and what
//! stands around every room; then a file a room (`overview`, `events`, `messages`, `dead`, `sinks`, `rules`), and
//! beneath them `resends` (what is sent again), `parts` (what rooms are made of), `api` (asks the daemon), `acts` (what
//! the buttons do), `route` (links that can be shared) and pure ones (`format`, `json`, `diff`). Libraries lie in
//! `vendor/`, with their versions and licences.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A file of the page.
#[derive(Debug)]
pub struct File {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes, compressed by gzip.
    pub bytes: &'static [u8],
    /// What changes with the bytes, without quotes.
    pub etag: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, media type and bytes of every file. The empty name is the page itself.
const FILES: &[(&str, &str, &[u8])] = &[
    ("", HTML, include_bytes!("index.html")),
    ("acts.js", SCRIPT, include_bytes!("acts.js")),
    ("api.js", SCRIPT, include_bytes!("api.js")),
    ("app.js", SCRIPT, include_bytes!("app.js")),
    ("chart.js", SCRIPT, include_bytes!("chart.js")),
    ("dead.js", SCRIPT, include_bytes!("dead.js")),
    ("diff.js", SCRIPT, include_bytes!("diff.js")),
    ("events.js", SCRIPT, include_bytes!("events.js")),
    ("flow.js", SCRIPT, include_bytes!("flow.js")),
    ("format.js", SCRIPT, include_bytes!("format.js")),
    ("hooks.mjs", SCRIPT, include_bytes!("vendor/hooks.mjs")),
    ("htm.mjs", SCRIPT, include_bytes!("vendor/htm.mjs")),
    ("icon.svg", SVG, include_bytes!("icon.svg")),
    ("json.js", SCRIPT, include_bytes!("json.js")),
    ("lib.js", SCRIPT, include_bytes!("lib.js")),
    ("list.js", SCRIPT, include_bytes!("list.js")),
    ("messages.js", SCRIPT, include_bytes!("messages.js")),
    ("overview.js", SCRIPT, include_bytes!("overview.js")),
    ("parts.js", SCRIPT, include_bytes!("parts.js")),
    ("preact.mjs", SCRIPT, include_bytes!("vendor/preact.mjs")),
    ("rates.js", SCRIPT, include_bytes!("rates.js")),
    ("resends.js", SCRIPT, include_bytes!("resends.js")),
    ("route.js", SCRIPT, include_bytes!("route.js")),
    ("rules.js", SCRIPT, include_bytes!("rules.js")),
    ("sinks.js", SCRIPT, include_bytes!("sinks.js")),
    ("style.css", CSS, include_bytes!("style.css")),
    ("theme.js", SCRIPT, include_bytes!("theme.js")),
    ("uPlot.iife.min.js", SCRIPT, include_bytes!("vendor/uPlot.iife.min.js")),
    ("uPlot.min.css", CSS, include_bytes!("vendor/uPlot.min.css")),
];

/// The same, ready to be sent. What is compressed lives as long as the process.
static READY: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    let ready = |&(name, media_type, bytes): &(&'static str, &'static str, &'static [u8])| {
        let etag = hex::encode(Sha256::digest(bytes)).chars().take(16).collect::<String>();
        // Writing to memory does not fail; if it did, the file would go as it is.
        let bytes = compressed(bytes).map_or(bytes, |packed| Vec::leak(packed));
        (name, File { media_type, bytes, etag: String::leak(etag) })
    };
    FILES.iter().map(ready).collect()
});

/// The file of that name; the empty name is the page itself. All files are compressed when the first one is asked for.
pub fn file(path: &str) -> Option<&'static File> {
    READY.iter().find(|(name, _)| *name == path).map(|(_, file)| file)
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    packer.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Bytes on the wire until the first room stands, by the page's promise; the daemon's answers take the rest.
    const MOST_BYTES: usize = 300 * 1024;

    fn text(name: &str) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(file(name).unwrap().bytes).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn every_file_is_there_and_only_what_is_there_is_named() {
        let folder = |path: &str| std::fs::read_dir(format!("{}/src/page{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let names = folder("").chain(folder("/vendor")).map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served = names.filter(|name| [".js", ".mjs", ".css", ".svg"].iter().any(|ending| name.ends_with(ending)));
        let mut served: Vec<_> = served.chain([String::new()]).collect();
        served.sort();
        assert_eq!(served, FILES.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
        // What a file loads is there, too.
        for (name, ..) in FILES {
            let text = text(name);
            let loads = ["from \"./", "from\"./", "import(\"./", "\"/page/"].iter().flat_map(|mark| {
                text.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
            });
            loads.for_each(|loaded| assert!(file(&loaded).is_some(), "{name} loads {loaded}"));
        }
        assert!(file("mod.rs").is_none() && file("README.md").is_none());
    }

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        let bytes: usize = READY.iter().map(|(_, file)| file.bytes.len()).sum();
        assert!(bytes < MOST_BYTES / 2, "{bytes}");
        let index = text("");
        assert!(!index.contains("<style") && !index.contains("style=") && !index.contains("<script>"), "{index}");
        // Links within code are names of standards.
        for (name, ..) in FILES {
            let text = text(name);
            let elsewhere = |mark: &str| text.match_indices(mark).count();
            let outside =
                elsewhere("src=\"http") + elsewhere("href=\"http") + elsewhere("url(http") + elsewhere("@import");
            assert_eq!(outside, 0, "{name}");
        }
    }
}
