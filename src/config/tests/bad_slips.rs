//! What people write instead of what is meant: one fault each, with the mend, and nothing of what would follow from it.

use super::*;

/// A sink and a route to it.
macro_rules! rules {
    () => {
        "[sinks.archive]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = [\"archive\"]\n"
    };
}

pub(super) const BAD: &[Bad] = &[
    // [tracing]
    Bad(
        "[tracing]\notlp = \"127.0.0.1:4317\"\n",
        &[
            "3:8: error: [tracing] `otlp` is not an address, expected http:// or https:// and a host",
            "help: otlp = \"http://127.0.0.1:4318\"; 4318 is the port for OTLP over HTTP, 4317 is gRPC's",
        ],
    ),
    Bad("[tracing]\nsample = 2\n", &["3:10: error: [tracing] `sample` is out of bounds, expected a share from 0 to 1"]),
    Bad(
        "[tracing]\notlp = \"http://a:4318/v1/traces\"\n",
        &["3:8: error: [tracing] `otlp` names the path of traces", "help: otlp = \"http://a:4318\""],
    ),
    // a table for a list, and a list for a table
    Bad(
        "[sinks.archive]\nkind = \"stdout\"\n[routes]\nmatch = \"*\"\nto = \"archive\"\n[routes]\nmatch = \"x\"\n\
         to = \"archive\"\nname = \"b\"\n",
        &["4:1: error: `routes` is a table, expected tables [[routes]]", "help: write [[routes]] with two brackets"],
    ),
    Bad(
        "[sinks.archive]\nkind = \"stdout\"\n[routes.all]\nmatch = \"*\"\nto = \"archive\"\n",
        &["4:1: error: `routes` is a table, expected tables [[routes]]"],
    ),
    Bad(
        "[tests]\nname = \"t\"\nsinks = []\nbody = \"{}\"\n",
        &["2:1: error: `tests` is a table, expected tables [[tests]]"],
    ),
    Bad(
        "[[sinks]]\nname = \"archive\"\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"archive\"\n",
        &[
            "2:1: error: `sinks` is an array, expected tables with a name",
            "help: give it a name: write [sinks.archive]",
        ],
    ),
    Bad(
        "[sinks]\nkind = \"file\"\npath = \"x/{type}\"\nbatch = { max_events = 1 }\n[[routes]]\nmatch = \"*\"\n\
         to = \"file\"\n",
        &["2:1: error: [sinks] is the table of all sinks", "help: give it a name: write [sinks.file]"],
    ),
    Bad(
        "[[server]]\nlisten = \"127.0.0.1:1\"\n",
        &["2:1: error: `server` is an array, expected a table [server]", "help: there is one of it: write [server]"],
    ),
    Bad(
        "[[sinks.archive]]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = [\"archive\"]\n",
        &["2:1: error: `sinks.archive` is an array, expected a table [sinks.archive]"],
    ),
    // singulars
    Bad(
        "[sink.archive]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"archive\"\n",
        &["2:2: error: unknown key `sink`, expected `sinks`", "help: write [sinks.archive]"],
    ),
    Bad(
        "[source.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\n[sinks.a]\nkind = \"stdout\"\n\
         [[routes]]\nmatch = \"*\"\nsource = \"b\"\nto = \"a\"\n",
        &["2:2: error: unknown key `source`, expected `sources`", "help: write [sources.b]"],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[route]\nmatch = \"*\"\nto = \"a\"\n",
        &["4:2: error: unknown key `route`, expected `routes`", "help: write [[routes]]"],
    ),
    Bad(
        "[test]\nname = \"t\"\nsinks = []\nbody = \"{}\"\n",
        &["2:2: error: unknown key `test`, expected `tests`", "help: write [[tests]]"],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[[route]]\nmatch = \"*\"\nto = \"a\"\n",
        &["4:3: error: unknown key `route`, expected `routes`", "help: write [[routes]]"],
    ),
    // a key of the whole file below a table
    Bad(
        "[server]\ndata_dir = \"/var/lib/relay\"\n",
        &[
            "3:1: error: [server] `data_dir` is a key of the whole file and stands below [server]",
            "help: move it above the first [table]",
        ],
    ),
    Bad(
        concat!(rules!(), "data_dir = \"/var/lib/relay\"\n"),
        &["7:1: error: [routes] `data_dir` is a key of the whole file and stands below [routes]"],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\ndata_dir = \"x\"\n",
        &["4:1: error: [sinks.a] `data_dir` is a key of the whole file and stands below [sinks.a]", "help: move it"],
    ),
    Bad("[sinks]\ndata_dir = \"x\"\n", &["3:1: error: `data_dir` is a key of the whole file and stands below [sinks]"]),
    Bad(
        "[server]\njournal.max_size = \"1GiB\"\n",
        &["3:1: error: [server] `journal` is a key of the whole file", "help: write [journal], which begins a table"],
    ),
    // quotes
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = ${SECRET}\n[sever]\n",
        &[
            "5:10: error: `${SECRET}` stands outside quotes, expected a string",
            "help: put the whole value in quotes, such as \"${SECRET}\"",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"http\"\nurl = https://${HOST}/x\n",
        &["4:15: error: `${HOST}` stands outside quotes", "help: put the whole value in quotes"],
    ),
    Bad(
        "[journal]\nretention = 2026-01-01\n",
        &["3:13: error: [journal] `retention`: invalid type: a date", "help: put it in quotes: \"2026-01-01\""],
    ),
    // words of other tools
    Bad(
        "[sinks.crm]\nkind = \"webhook\"\nurl = \"http://x/\"\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n",
        &["3:8: error: [sinks.crm] unknown kind `webhook`, expected one of {kinds}", "help: did you mean `http`?"],
    ),
    Bad(
        "[sinks.db]\nkind = \"postgresql\"\nurl = \"x\"\ntable = \"t\"\n",
        &["3:8: error: [sinks.db] unknown kind `postgresql`", "help: did you mean `postgres`?"],
    ),
    Bad(
        "[sinks.a]\nkind = \"exec\"\ncommand = \"python3 x.py\"\n",
        &[
            "4:11: error: [sinks.a] `command`: invalid type: string, expected a list of the program and its arguments",
            "help: no shell takes it apart: write command = [\"python3\", \"x.py\"]",
        ],
    ),
    Bad(
        "[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"a\"\nwhere = 'data.x == \"y\"'\n",
        &[
            "7:10: error: [routes] key `where`: there is no filter `data` in jq",
            "help: a path into the body begins with a full stop: `.data.x`",
        ],
    ),
    Bad(
        "[server]\nlisten = 4000\n",
        &[
            "3:10: error: [server] `listen`: invalid type: integer `4000`",
            "help: write the address with the port: \"127.0.0.1:4000\"",
        ],
    ),
    // networks
    Bad(
        "[server]\ntrusted_proxies = [\"172.16.0.1/12\"]\n",
        &["3:20: error: [server] `trusted_proxies`: `172.16.0.1/12` has bits set behind its prefix, expected the \
             network \
             itself: \"172.16.0.0/12\""],
    ),
    Bad(
        "[server]\ntrusted_proxies = [\"10.0.0.0/33\"]\n",
        &["3:20: error: [server] `trusted_proxies`: `10.0.0.0/33` has the prefix `/33`, expected /0 to /32"],
    ),
    Bad(
        "[server]\ntrusted_proxies = [\"proxy.internal\"]\n",
        &["3:20: error: [server] `trusted_proxies`: `proxy.internal` is no address, expected one such as \"10.0.0.1\""],
    ),
    // lists and dates where a table is meant
    Bad(
        "[sinks.a]\nkind = \"stdout\"\nbatch = [3]\n",
        &["4:9: error: [sinks.a] `batch`: invalid type: sequence, expected a table such as { max_events = "],
    ),
    Bad(
        "[sinks.a]\nkind = \"http\"\nurl = \"http://x/\"\nsign = [\"whsec_x\"]\n",
        &["5:8: error: [sinks.a] `sign`: invalid type: sequence, expected a table such as { standard_webhooks = "],
    ),
    Bad(
        "[sinks.a]\nkind = \"http\"\nurl = \"http://x/\"\nheaders = 2026-01-01\n",
        &["5:11: error: [sinks.a] `headers`: invalid type: a date"],
    ),
    Bad(
        "[sources.b]\nkind = \"none\"\npath = \"/b\"\ntype = [[\"x-type\"]]\n",
        &["5:9: error: [sources.b] `type`: invalid type: sequence, expected "],
    ),
];

#[test]
fn a_slip_is_told_once_with_its_mend_and_nothing_that_follows_from_it() {
    let mut several = Vec::new();
    for Bad(text, _) in BAD {
        let faults = read(&format!("{SOURCE}{text}"), &FakeEnv::default()).unwrap_err();
        if faults.0.len() != 1 {
            several.push(format!("{text}\n{faults}"));
        }
    }
    assert!(several.is_empty(), "{}", several.join("\n\n"));
}

#[test]
fn where_the_sources_are_a_list_only_that_is_told() {
    let text = "[[sources]]\nname = \"interakt\"\nkind = \"interakt\"\npath = \"/i\"\nsecret = \"s\"\n\
                [sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nsource = \"interakt\"\nto = \"a\"\n";
    let faults = read(text, &FakeEnv::default()).unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert!(faults.to_string().contains("help: give it a name: write [sources.interakt]"), "{faults}");
}

#[test]
fn a_misspelt_key_is_told_once_with_the_name_that_is_meant() {
    for (text, typo, meant) in [
        ("[sources.b]\nkind = \"github\"\npth = \"/b\"\nsecret = \"s\"\n", "pth", "path"),
        ("[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecrt = \"s\"\n", "secrt", "secret"),
        ("[sinks.a]\nkind = \"file\"\npth = \"x\"\n", "pth", "path"),
        ("[sinks.a]\nkind = \"http\"\nurl = \"http://h/\"\nbasic = { usr = \"u\", password = \"p\" }\n", "usr", "user"),
        ("[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmtch = \"*\"\nto = \"a\"\n", "mtch", "match"),
        ("[[tests]]\nnme = \"t\"\nsinks = []\nbody = \"{}\"\n", "nme", "name"),
    ] {
        let faults = read(&format!("{SOURCE}{text}"), &FakeEnv::default()).unwrap_err();
        let [fault] = faults.0.as_slice() else { panic!("{text}\n{faults}") };
        assert!(fault.message.contains(&format!("unknown key `{typo}`")), "{faults}");
        assert_eq!(fault.help.as_deref(), Some(format!("did you mean `{meant}`?").as_str()), "{faults}");
    }
    // The key of an inner table does not stand for one of the table itself, and neither for one that is not like it.
    let inner = "[sinks.a]\nkind = \"http\"\nbasic = { ur = \"u\", user = \"u\", password = \"p\" }\n";
    assert!(faults(&format!("{SOURCE}{inner}"), &FakeEnv::default()).contains("missing key `url`"));
    let other = "[[routes]]\nmatch = \"*\"\nsinks = [\"a\"]\n";
    assert!(faults(&format!("{SOURCE}{other}"), &FakeEnv::default()).contains("missing key `to`"));
}

#[test]
fn a_bad_key_hides_no_other_fault_of_its_table_and_makes_none() {
    for (text, found) in [
        ("[server]\nlisen = \"[::]:1\"\nmax_body = 0\n", &["3:1", "4:12: error: [server] max_body must be"][..]),
        (
            "[server]\nmax_body = true\nlisten = \"nowhere\"\n",
            &[
                "3:12",
                "4:10: error: [server] listen address \
            `nowhere`",
            ],
        ),
        (
            "[journal]\nretention = 1\nsegment_size = \"1KiB\"\n",
            &["3:13", "4:16: error: [journal] `segment_size` is out"],
        ),
        ("[dead_letters]\nmax_age = 1\nmax_size = \"1KiB\"\n", &["3:11", "4:12: error: [dead_letters] `max_size`"]),
        ("[admin]\ntokn = \"x\"\nlisten = \"nowhere\"\n", &["3:1", "4:10: error: [admin] `listen` is `nowhere`"]),
        (
            "[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmtch = \"[\"\nto = \"b\"\nwhere = \"foo\"\nfinal = 1\n",
            &[
                "5:1",
                "5:8: error: [routes] key `match`: `[` is not a glob",
                "6:6: error: [routes] key `to`: unknown sink",
                "7:10",
                "8:9",
            ],
        ),
        (
            "[[tests]]\nname = \"t\"\nsinks = [\"b\"]\nbdy = \"{}\"\n",
            &["4:10: error: [tests] `sinks`: unknown sink `b`", "5:1"],
        ),
        // What would follow from the bad key alone.
        ("[admin]\nlisten = \"127.0.0.1:1\"\ntoken = 1\n", &["4:9"]),
        (
            "[server]\nmax_body = true\nmax_inflight_bytes = \"512KiB\"\n[journal]\n\
          overflow_max = \"700KiB\"\n",
            &["3:12"],
        ),
        ("[[tests]]\nname = \"t\"\nsinks = []\nbody = 1\n", &["5:8"]),
    ] {
        let faults = read(&format!("{SOURCE}{text}"), &FakeEnv::default()).unwrap_err();
        let message = faults.to_string();
        assert_eq!(faults.0.len(), found.len(), "{text}\n{message}");
        for part in found {
            assert!(message.contains(&format!("config.toml:{part}")), "{part} for\n{text}\n{message}");
        }
    }
}
