//! The page for people, and its files, as they are embedded in the binary. Knows nothing of the daemon.

/// A file of the page.
#[derive(Debug)]
pub struct File {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes, perhaps compressed by gzip.
    pub bytes: &'static [u8],
    /// What changes with the bytes, without quotes.
    pub etag: &'static str,
}

const INDEX: File = File {
    media_type: "text/html; charset=utf-8",
    bytes: b"<!doctype html><html lang=\"en\"><title>hookrelay</title><p>hookrelay</p></html>\n",
    etag: "0",
};

/// The file of that name; the empty name is the page itself.
pub fn file(path: &str) -> Option<&'static File> {
    path.is_empty().then_some(&INDEX)
}
