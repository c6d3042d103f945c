//! The host's name, which the daemon tells of itself.

/// Where the system keeps the host's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The name; `localhost` where the system has none.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
