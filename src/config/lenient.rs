//! What can be told of a config that is refused, even where it is no TOML: the folder in which its data lies. Pure.

use toml::de::DeTable;

const KEY: &str = "data_dir";

/// The `data_dir` that a text means: what stands on the first line that sets the key, whatever is wrong with the lines
/// around it, and with the quotes on this one. `None` where no line sets it, or a `${…}` is to be filled in.
pub(super) fn data_dir(text: &str) -> Option<String> {
    let value = text.trim_start_matches('\u{feff}').lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(KEY)?;
        rest.trim_start().strip_prefix('=').map(str::trim)
    })?;
    let line = format!("{KEY} = {value}");
    let read = DeTable::parse(&line).ok();
    let read = read.and_then(|table| Some(table.get_ref().get(KEY)?.get_ref().as_str()?.to_owned()));
    let bare = || value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned();
    Some(read.unwrap_or_else(bare)).filter(|dir| !dir.is_empty() && !dir.contains("${"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_found_whatever_is_wrong_around_it() {
        for text in [
            "data_dir = \"/var/lib/x\"",
            "\u{feff}data_dir='/var/lib/x' # here\r\n[server",
            "][\n\n  data_dir = \"/var/lib/x\"\nsecret = \"open\n",
            "[server]\ndata_dir = \"/var/lib/x\"",
            "data_dir = \"/var/lib/x\ndata_dir = \"/elsewhere\"",
            "data_dir = /var/lib/x # no quotes",
        ] {
            assert_eq!(data_dir(text).as_deref(), Some("/var/lib/x"), "{text:?}");
        }
        for text in ["", "data_dir", "data_dirs = \"x\"", "# data_dir = \"x\"", "data_dir = ", "data_dir = \"${X}\""] {
            assert_eq!(data_dir(text), None, "{text:?}");
        }
    }
}
