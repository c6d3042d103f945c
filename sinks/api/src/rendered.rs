//! Renderings of an event that are the same for many sinks, made once and kept with the event. Plain data.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is kept of an event's renderings: its CloudEvents object, and only where the event is shared by several sinks.
/// It is no part of the event: events are equal whatever is kept with them, and with a copy nothing is kept yet.
///
/// An event is not changed any more once it is shared, so what is kept cannot fall behind it.
#[derive(Default)]
pub struct Rendered {
    is_shared: AtomicBool,
    structured: OnceLock<Box<[u8]>>,
}

impl Rendered {
    /// From now on several sinks have the event: what is rendered of it is kept.
    pub fn share(&self) {
        // Looked at first: a write would take the line from the other processors' caches each time.
        if !self.is_shared.load(Relaxed) {
            self.is_shared.store(true, Relaxed);
        }
    }

    /// The CloudEvents object, as `render` appends it: kept, or appended to `out` anew where the event is one sink's.
    pub(crate) fn structured(&self, out: &mut Vec<u8>, render: impl Fn(&mut Vec<u8>)) {
        if !self.is_shared.load(Relaxed) {
            render(out);
            return;
        }
        let kept = self.structured.get_or_init(|| {
            let mut fresh = Vec::new();
            render(&mut fresh);
            fresh.into_boxed_slice()
        });
        out.extend_from_slice(kept);
    }
}

impl Clone for Rendered {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Rendered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rendered {}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rendered")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_several_sinks_have_is_rendered_once_and_what_one_has_is_not_kept() {
        let (rendered, times) = (Rendered::default(), Cell::new(0));
        let ask = |rendered: &Rendered| {
            let mut out = b"before ".to_vec();
            rendered.structured(&mut out, |out| {
                times.set(times.get() + 1);
                out.extend_from_slice(b"{}");
            });
            assert_eq!(out, b"before {}");
            times.get()
        };
        assert_eq!([ask(&rendered), ask(&rendered)], [1, 2]);
        assert!(rendered.structured.get().is_none());
        rendered.share();
        assert_eq!([ask(&rendered), ask(&rendered)], [3, 3]);
        assert_eq!(ask(&rendered.clone()), 4, "a copy may be changed");
    }
}
