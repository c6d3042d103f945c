//! Bad configs, each with what the fault must say and where. A `^` line is not asked for; the place is.

use super::*;

const BAD: &[Bad] = &[
    // syntax
    Bad("a = \n", &["2:5: error:"]),
    Bad("[server\nlisten = \"x\"\n", &["2:8: error: unclosed table, expected `]`"]),
    Bad("x = 'a\ny 1\n", &["2:7: error:", "3:"]),
    Bad(
        "data_dir = \"a\"\ndata_dir = \"b\"\n[sever]\n",
        &["3:1: error: duplicate key", "4:2: error: unknown key `sever`"],
    ),
    // the top level
    Bad(
        "[sever]\n",
        &["2:2: error: unknown key `sever`, expected one of `data_dir`, `env_file`", "help: did you mean `server`?"],
    ),
    Bad("[completely]\n", &["2:2: error: unknown key `completely`"]),
    Bad("data_dir = 3\n", &["2:12: error: `data_dir` is not a path"]),
    Bad("server = \"127.0.0.1:4000\"\n", &["2:10: error: `server` is a string, expected a table [server]"]),
    Bad("[routes]\nmatch = \"*\"\n", &["2:1: error: `routes` is a table, expected tables [[routes]]", "two brackets"]),
    Bad(
        "[sinks]\narchive = \"file\"\n",
        &["3:11: error: `sinks.archive` is a string, expected a table [sinks.archive]"],
    ),
    // [server] and [journal]
    Bad(
        "[server]\nlisen = \"x\"\nmax_body = \"1 apple\"\n",
        &[
            "3:1: error: [server] unknown key `lisen`, expected one of `listen`",
            "did you mean `listen`?",
            "4:12: error: [server] `max_body`: invalid value: string \"1 apple\", expected a size such as \"64MiB\"",
        ],
    ),
    Bad(
        "[server]\nlisten = \"localhost\"\n",
        &["3:10: error: [server] listen address `localhost`: expected HOST:PORT"],
    ),
    Bad(
        "[server]\nlisten = 4000\n",
        &["3:10: error: [server] `listen`: invalid type: integer `4000`, expected a string or a list of strings"],
    ),
    Bad("[server]\ntls = { cert = \"c\" }\n", &["3:7: error: [server] `tls`: missing key `key`"]),
    Bad(
        "[server]\nlisten = \"tls://127.0.0.1:4443\"\n",
        &["3:10: error: [server] `listen`: an address begins with tls://, and there is no `tls`", "help: add tls = {"],
    ),
    Bad(
        "[server]\nlisten = \"tls://0.0.0.0:4443\"\ntls = { cert = \"c.pem\", key = \"k.pem\", \
         client_ca = \"a.pem\" }\n",
        &[
            "4:16: error: [server] `tls.cert`: /etc/relay/c.pem cannot be read",
            "4:31: error: [server] `tls.key`: /etc/relay/k.pem cannot be read",
            "4:52: error: [server] `tls.client_ca`: /etc/relay/a.pem cannot be read",
            "help: the daemon's user has to be able to read it",
        ],
    ),
    Bad(
        "[server]\ntls = { cert = \"c.pem\", key = \"k.pem\" }\n",
        &["3:7: error: [server] no address of `listen` begins with tls://", "nothing is encrypted"],
    ),
    Bad("[server]\nlisten = \"unix:\"\n", &["3:10: error: [server] listen address `unix:`: names no path"]),
    Bad(
        "[server]\nlisten = [\"tls://a:1\", \"a:1\", \"unix:a\", \"unix:a\"]\n",
        &["listen address `a:1` stands there twice", "listen address `unix:a` stands there twice"],
    ),
    Bad(
        "[server]\nlisten = \"unix:./x.sock\"\n[admin]\nlisten = \"unix:x.sock\"\n",
        &[
            "3:10: error: [server] listen address `unix:/etc/relay/./x.sock` is the admin listener's",
            "help: give [admin]",
        ],
    ),
    Bad(
        "[server]\nhealth = \"healthz\"\n",
        &["3:10: error: [server] health path `healthz` must start with `/`", "help: such as health = \"/healthz\""],
    ),
    Bad(
        "[server]\nhealth = \"/webhooks/interakt\"\n",
        &["3:10: error: [server] health path `/webhooks/interakt` is source `interakt`'s already"],
    ),
    Bad("[server]\nheader_timeout = 10\n", &["3:18: error:", "expected a time span such as \"500ms\""]),
    Bad(
        "[server]\nmax_body = \"65MiB\"\n",
        &[
            "3:12: error: [server] max_body must be between 1 byte and 64MiB",
            "3:12: error: `overflow_max` of [journal]",
        ],
    ),
    Bad(
        "[journal]\nsegment_size = \"1KiB\"\n",
        &["3:16: error: [journal] `segment_size` is out of bounds, expected \"1MiB\""],
    ),
    Bad("[journal]\nmax_size = \"100MiB\"\n", &["3:12: error: [journal] `max_size` has no room for two segments"]),
    Bad(
        "[journal]\noverflow_max = \"1KiB\"\n",
        &["3:16: error: `overflow_max` of [journal] is smaller than `max_body`"],
    ),
    Bad(
        "[journal]\nwhen_full = \"drop\"\n",
        &["3:13: error: [journal] `when_full`: unknown value `drop`, expected `drop_oldest` or `refuse`"],
    ),
    // sources
    Bad(
        "[sources.b]\nkind = \"interact\"\npath = \"/b\"\nsecret = \"s\"\n",
        &[
            "3:8: error: [sources.b] `kind`: unknown value `interact`, expected one of `interakt`, `meta`, `github`",
            "did you mean `interakt`?",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"interakt\"\n",
        &["2:1: error: [sources.b] missing key `path`", "2:1: error: [sources.b] missing key `secret`"],
    ),
    Bad(
        "[sources.b]\nkind = \"interakt\"\npath = \"b\"\nsecret = \"\\n\"\n",
        &["4:8: error: [sources.b] path `b` must start with `/`", "5:10: error: [sources.b] secret is empty"],
    ),
    Bad(
        "[sources.b]\nkind = \"interakt\"\npath = \"/webhooks/interakt\"\nsecret = \"s\"\n",
        &["4:8: error: [sources.b] path `/webhooks/interakt` is source `interakt`'s already"],
    ),
    Bad(
        "[sources.\"a b\"]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"s\"\n",
        &["2:10: error: `a b` cannot be a name in `sources`"],
    ),
    Bad(
        "[sources.hookrelay]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"s\"\n",
        &["2:1: error: [sources.hookrelay] the name `hookrelay` is kept"],
    ),
    Bad(
        "[sources.b]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"s\"\ndedupe = \"never\"\n",
        &["6:10: error: [sources.b] `dedupe`: invalid value: string \"never\", expected \"off\" or a time span such \
             as \"10m\""],
    ),
    // ${…}
    Bad(
        "[sources.b]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"${NO_SUCH}\"\n",
        &[
            "5:10: error: [sources.b] the variable `NO_SUCH` is not set",
            "help: set NO_SUCH in the environment, or write NO_SUCH=",
            ".env",
        ],
    ),
    Bad("data_dir = \"${open\"\n", &["2:12: error: `${` has no `}`", "`$${`"]),
    Bad("data_dir = \"${a b}\"\n", &["2:12: error: `${a…}` does not name a variable"]),
    Bad("data_dir = \"${file:key}\"\n", &["2:12: error: the secret file /etc/relay/key cannot be read"]),
    // sinks
    Bad("[sinks.a]\npath = \"x/{type}\"\n", &["2:1: error: [sinks.a] missing key `kind`, expected one of {kinds}"]),
    Bad(
        "[sinks.a]\nkid = \"file\"\npath = \"x/{type}\"\n",
        &["2:1: error: [sinks.a] missing key `kind`", "`kid` is there: did you mean `kind`?"],
    ),
    Bad(
        "[sinks.a]\nkind = \"files\"\n",
        &["3:8: error: [sinks.a] unknown kind `files`, expected one of {kinds}", "did you mean `file`?"],
    ),
    Bad("[sinks.a]\nkind = 1\n", &["3:8: error: [sinks.a] `kind` is an integer, expected one of {kinds}"]),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"x/{type}\"\nconcurency = 2\n",
        &["5:1: error: [sinks.a] unknown key `concurency`", "help: did you mean `concurrency`?"],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"x/{type}\"\nzzzzzz = 2\n",
        &["5:1: error:", "help: keys that every sink has: enabled, start"],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"x/{tpe}\"\n",
        &["4:8: error: [sinks.a] `path`: `{tpe}` is not known in templates", "did you mean `{type}`?"],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"x/{type}\"\nkeep = \"0s\"\nconcurrency = 0\n\
         retry = { initial = \"9s\", max = \"1s\" }\n",
        &[
            "5:8: error: [sinks.a] `keep` is 0",
            "6:15: error: [sinks.a] `concurrency` is out of bounds, expected 1 to 1024",
            "7:33: error: [sinks.a] `retry.max` is shorter than `retry.initial`",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[sinks.a.batch]\nmax_events = 0\nlinger = \"1d\"\nmax_byte = 1\n",
        &["7:1: error: [sinks.a] `batch`: unknown key `max_byte`", "did you mean `max_bytes`?"],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\nbatch.max_events = 0\nbatch.linger = \"1d\"\ntimeout = \"0s\"\nrate = \"5\"\n",
        &[
            "4:20: error: [sinks.a] `batch.max_events` is out of bounds",
            "5:16: error: [sinks.a] `batch.linger` is out of bounds",
            "6:11: error: [sinks.a] `timeout` is out of bounds",
            "7:8: error: [sinks.a] `rate` is not a rate, expected a count and a unit such as \"300/min\", or \"off\"",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\nenabled = \"yes\"\nordering = \"keys\"\nstart = 1\n",
        &[
            "4:11: error: [sinks.a] `enabled`: invalid type: string \"yes\", expected a boolean",
            "5:12: error: [sinks.a] `ordering`: unknown value `keys`, expected `key` or `none`",
            "6:9: error: [sinks.a] `start`: invalid type, expected a string",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"x/{type}\"\n[sinks.b]\nkind = \"file\"\npath = \"x/{type}\"\n",
        &["5:1: error: [sinks.b] [sinks.a] and [sinks.b] both want"],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"d/{type}\"\n[sinks.b]\nkind = \"file\"\npath = \"./d/{type}\"\n\
         [sinks.c]\nkind = \"file\"\npath = \"x/y/../.././d//{type}\"\n\
         [sinks.d]\nkind = \"file\"\npath = \"/etc/relay/../relay/d/{type}\"\n\
         [sinks.e]\nkind = \"file\"\npath = \"../../../../etc/relay/d/{type}\"\n",
        &[
            "5:1: error: [sinks.b] [sinks.a] and [sinks.b] both want `./d/{type}`, and only one may",
            "8:1: error: [sinks.c] [sinks.a] and [sinks.c] both want `x/y/../.././d//{type}`",
            "11:1: error: [sinks.d] [sinks.a] and [sinks.d] both want `/etc/relay/../relay/d/{type}`",
            "14:1: error: [sinks.e] [sinks.a] and [sinks.e] both want `../../../../etc/relay/d/{type}`",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"sqlite\"\ndatabase = \":memory:\"\ntable = \"t\"\n",
        &["4:12: error: [sinks.a] `database`: `:memory:` would be lost"],
    ),
    Bad("[sinks.a]\nkind = \"http\"\nurl = \"crm.example\"\n", &["4:7: error: [sinks.a]"]),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\nenabled = \"yes\"\n[sinks.a.batch]\nlinger = 1\n",
        &["4:11: error: [sinks.a] `enabled`: invalid type", "6:10: error: [sinks.a] `batch.linger`: invalid type"],
    ),
    // routes
    Bad("[[routes]]\nto = \"a\"\n", &["2:1: error: [routes] missing key `match`"]),
    Bad(
        "[sinks.archive]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = [\"archiv\"]\n",
        &["6:6: error: [routes] key `to`: unknown sink `archiv`, expected one of `archive`", "did you mean `archive`?"],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = [\"[\"]\nto = \"a\"\nsource = \"interact\"\n",
        &[
            "5:9: error: [routes] key `match`: `[` is not a glob",
            "7:10: error: [routes] key `source`: unknown source `interact`",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"a\"\nwhere = \".x\\n| {\"\n\
         transform = \"api_lg\"\n",
        &[
            "7:17: error: [routes] key `where`: not a jq program: expected closing brace, found the end",
            "8:14: error: [routes] key `transform`: there is no filter `api_lg` in jq",
            "did you mean `api_log`?",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"a\"\ntransform = '''\n.data\n| mapp(.x)\n\
         '''\nwhere = '$ENV.X'\n",
        &[
            "9:3: error: [routes] key `transform`: there is no filter `mapp` in jq",
            "did you mean `map`?",
            "11:10: error: [routes] key `where`: `$ENV` is off in rules",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\npath = \"x/{type}\"\n[sinks.a.rotate]\nsize = \"1MiB\"\ncompress = \"gzip\"\n",
        &["7:12: error: [sinks.a] `rotate.compress`: unknown value `gzip`"],
    ),
    // what would otherwise be found out at run time
    Bad(
        "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n[journal]\nmin_free = \"999999999999GiB\"\n\
         [sources.b]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"${NOPE:-${E}}\"\n",
        &[
            "listen address `127.0.0.1:1` stands there twice",
            "5:12: error: [journal] `min_free`: invalid value: string \"999999999999GiB\", expected a size of at most \
             \"1EiB\"",
            "9:10: error: [sources.b] `${NOPE:-${E}`: a default cannot hold another `${…}`",
        ],
    ),
    // a table where something else stands
    Bad(
        "[sinks.a]\nkind = \"http\"\nurl = \"http://x/\"\nretry = \"5m\"\nbatch = 9\nbreaker = true\nsign = \"s\"\n\
         basic = \"u:p\"\n\
         [sinks.b]\nkind = \"file\"\npath = \"x\"\nrotate = \"1d\"\n",
        &[
            "5:9: error: [sinks.a] `retry`: invalid type: string \"5m\", expected a table such as { initial = ",
            "6:9: error: [sinks.a] `batch`: invalid type: integer `9`, expected a table such as { max_events = ",
            "7:11: error: [sinks.a] `breaker`: invalid type: boolean `true`, expected a table such as { probe = ",
            "8:8: error: [sinks.a] `sign`: invalid type: string \"***\", expected a table such as { standard_webhooks \
             = ",
            "9:9: error: [sinks.a] `basic`: invalid type: string \"***\", expected a table such as { user = ",
            "13:10: error: [sinks.b] `rotate`: invalid type: string \"1d\", expected a table such as { size = ",
        ],
    ),
    // many faults of one table, at any depth
    Bad(
        "[server]\nlisten = [1, \"127.0.0.1:0\", true]\nmax_bdy = 1\nheader_timeout = 10\n\
         trusted_proxies = [\"x\", \"::1\", 3]\n",
        &[
            "3:11: error: [server] `listen`: invalid type",
            "3:29: error: [server] `listen`: invalid type",
            "4:1: error: [server] unknown key `max_bdy`",
            "5:18: error: [server] `header_timeout`: invalid type",
            "6:20: error: [server] `trusted_proxies`: `x` is no address",
            "6:32: error: [server] `trusted_proxies`: invalid type",
        ],
    ),
    Bad(
        "[journal]\ndir = 1\nretention = \"x\"\nwhen_full = \"drop\"\nmin_fre = 1\n",
        &[
            "3:7: error: [journal] `dir`: invalid type",
            "4:13: error: [journal] `retention`: invalid value",
            "5:13: error: [journal] `when_full`: unknown value",
            "6:1: error: [journal] unknown key `min_fre`",
        ],
    ),
    Bad(
        "[sources.b]\npth = \"/b\"\nack_deadline = 1\nkeep_headers = [\"a\", 1, 2]\n",
        &[
            "2:1: error: [sources.b] missing key `kind`",
            "3:1: error: [sources.b] unknown key `pth`",
            "4:16: error: [sources.b] `ack_deadline`: invalid type",
            "5:22: error: [sources.b] `keep_headers`: invalid type",
            "5:25: error: [sources.b] `keep_headers`: invalid type",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"file\"\nbatch = { max_events = \"x\", linger = 3 }\n\
         retry = { initial = 1, attempts = 0 }\n\
         [sinks.a.rotate]\nsize = \"x\"\nevry = 1\ncompress = \"gzip\"\n",
        &[
            "2:1: error: [sinks.a] missing key `path`",
            "4:24: error: [sinks.a] `batch.max_events`: invalid type",
            "4:38: error: [sinks.a] `batch.linger`: invalid type",
            "5:21: error: [sinks.a] `retry.initial`: invalid type",
            "5:35: error: [sinks.a] `retry.attempts`: invalid value",
            "7:8: error: [sinks.a] `rotate.size`: invalid value",
            "8:1: error: [sinks.a] `rotate`: unknown key `evry`",
            "9:12: error: [sinks.a] `rotate.compress`: unknown value `gzip`",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"http\"\nbasic = {}\nsign = { key = \"x\" }\n",
        &[
            "2:1: error: [sinks.a] missing key `url`",
            "4:9: error: [sinks.a] `basic`: missing key `user`",
            "4:9: error: [sinks.a] `basic`: missing key `password`",
            "5:8: error: [sinks.a] `sign`: missing key `standard_webhooks`",
            "5:10: error: [sinks.a] `sign`: unknown key `key`",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"sqlite\"\non_conflict = \"x\"\n",
        &[
            "2:1: error: [sinks.a] missing key `database`",
            "2:1: error: [sinks.a] missing key `table`",
            "4:15: error: [sinks.a] `on_conflict`: unknown value",
        ],
    ),
    Bad(
        "[[routes]]\nname = 1\nfinal = \"x\"\n[[routes]]\nmtch = \"*\"\n",
        &[
            "2:1: error: [routes] missing key `match`",
            "2:1: error: [routes] missing key `to`",
            "3:8: error: [routes] `name`: invalid type",
            "4:9: error: [routes] `final`: invalid type",
            "5:1: error: [routes] missing key `to`",
            "6:1: error: [routes] unknown key `mtch`",
        ],
    ),
    // tests
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[[tests]]\nname = \"t\"\nbody = \"{}\"\nsource = \"interact\"\n\
         sinks = [\"b\"]\ndeliveries = [{ sink = \"a\" }]\n",
        &[
            "7:10: error: [tests] unknown source `interact`, expected one of `interakt`",
            "8:10: error: [tests] `sinks`: unknown sink `b`, expected one of `a`",
            "`a` is not among `sinks` of this test",
        ],
    ),
    // what comes later still has a shape
    Bad(
        "[[tests]]\nevent = 1\n",
        &["2:1: error: [tests] missing key `name`", "2:1: error: [tests] missing key `sinks`", "3:9: error:"],
    ),
    Bad(
        "[delivery]\nmemory = \"1MiB\"\n",
        &["3:10: error: [delivery] `memory` is out of bounds, expected \"8MiB\" to "],
    ),
    Bad("[delivery]\nmax_memory = \"64MiB\"\n", &["3:1: error: [delivery] unknown key `max_memory`"]),
    Bad(
        "[admin]\nlisten = 1\n[dead_letters]\nmax_sise = \"1GiB\"\n",
        &[
            "3:10: error: [admin] `listen`: invalid type: integer `1`, expected a string",
            "5:1: error: [dead_letters] unknown key `max_sise`",
        ],
    ),
    Bad(
        "[[tests]]\nname = \"t\"\nsinks = []\nbody = \"{}\"\n\
         headers = { x-a = \"b\", \"x b\" = \"c\", x-d = \"e\\nf\" }\n",
        &[
            "6:32: error: [tests] `headers.x b` with this value cannot be a request header",
            "6:43: error: [tests] `headers.x-d` with this value cannot be a request header",
        ],
    ),
    Bad(
        "[[tests]]\nname = \"t\"\nsinks = []\n[[tests]]\nname = \"u\"\nbody = \"{}\"\nsinks = []\n\
         deliveries = [{ topic = \"x\" }]\n",
        &[
            "2:1: error: [tests] expected one of the keys `event` and `body`",
            "9:15: error: [tests] `deliveries`: missing key `sink`",
        ],
    ),
];

/// Those of all tables.
fn bad_ones() -> impl Iterator<Item = &'static Bad> {
    BAD.iter().chain(bad_journal::BAD).chain(bad_sources::BAD).chain(bad_slips::BAD).chain(bad_resends::BAD)
}

/// What stands for `{kinds}` above.
fn kinds() -> String {
    KINDS.iter().map(|kind| format!("`{}`", kind.name)).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_bad_config_names_the_place_the_key_and_what_was_expected() {
    let mut lacking = Vec::new();
    for Bad(text, parts) in bad_ones() {
        let message = faults(&format!("{SOURCE}{text}"), &FakeEnv::default());
        for part in *parts {
            let place =
                part.starts_with(|c: char| c.is_ascii_digit()).then(|| format!("/etc/relay/config.toml:{part}"));
            let wanted = place.as_deref().unwrap_or(part).replace("{kinds}", &kinds());
            if !message.contains(&wanted) {
                lacking.push(format!("no {wanted:?} for\n{text}\nin\n{message}"));
            }
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n\n"));
}

/// Set to write the golden messages anew, to be looked through.
const WRITE: &str = "HOOKRELAY_WRITE_CONFIG_FAULTS";

#[test]
fn every_bad_config_has_its_golden_message() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/bad.txt");
    let mut all = String::new();
    for Bad(text, _) in bad_ones() {
        // A kind more is no other message.
        let message = faults(&format!("{SOURCE}{text}"), &FakeEnv::default()).replace(&kinds(), "{kinds}");
        all.push_str(&format!("==== line 2 on\n{text}---- faults\n{message}\n"));
    }
    assert!(all.matches("==== ").count() >= 60);
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(std::path::Path::new(golden).parent().unwrap()).unwrap();
        std::fs::write(golden, &all).unwrap();
    }
    let kept = std::fs::read_to_string(golden).unwrap();
    let differs = all.lines().zip(kept.lines()).find(|(now, then)| now != then);
    assert!(all == kept, "{differs:?}; {WRITE}=1 writes them anew");
}

#[test]
fn a_fault_is_printed_with_its_line_a_caret_and_the_way_out() {
    let text = format!("{SOURCE}[sinks.crm]\nkind = 'x' # \u{e9}\n\turl = 1\n[server]\n\tlisen = '[::]:1' # \u{e9}\n");
    let kinds = kinds();
    let expected = format!(
        "\
/etc/relay/config.toml:3:8: error: [sinks.crm] unknown kind `x`, expected one of {kinds}
3 | kind = 'x' # é
  |        ^^^
/etc/relay/config.toml:6:2: error: [server] unknown key `lisen`, expected one of `listen`, `tls`, \
`health`, `max_body`, `header_timeout`, `body_timeout`, `max_header_bytes`, \
`max_connections`, `max_inflight_bytes`, `dedupe_max`, `drain`, `trusted_proxies`
6 |  lisen = '[::]:1' # é
  |  ^^^^^
  help: did you mean `listen`?"
    );
    assert_eq!(faults(&text, &FakeEnv::default()), expected);
    let list = read(&text, &FakeEnv::default()).unwrap_err();
    let json: serde_json::Value = serde_json::to_value(&list).unwrap();
    assert_eq!((&json[0]["line"], &json[0]["column"], &json[0]["table"]), (&3.into(), &8.into(), &"sinks.crm".into()));
    assert_eq!(json[1]["help"], "did you mean `listen`?");
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let long = "x".repeat(5_000);
    let text = format!("{SOURCE}[server]\nlisten = [\"{long}:1\", 3, \"{long}\"]\n");
    let message = faults(&text, &FakeEnv::default());
    assert!(message.lines().skip(1).all(|line| line.chars().count() < 400), "{message}");
    assert!(message.contains("…") && message.contains("^"), "{message}");
}

#[test]
fn no_faults_but_those_of_syntax_are_told_of_a_file_the_parser_could_not_follow() {
    let message = faults("[sources.a]\nkind = [1,\n[sever]\nx = 1\n", &FakeEnv::default());
    assert!(!message.contains("unknown key") && !message.contains("missing key"), "{message}");
}
