//! Progress bars on standard error. Where that is no terminal, nothing is drawn.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for so much work, drawn by this template, which is a constant of ours.
pub(super) fn bar(total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A bar for bytes that are read; how many there are is said later.
pub(super) fn bar_of_bytes() -> ProgressBar {
    bar(1, "{bar:40} {bytes} of {total_bytes} ({eta} to go)")
}
