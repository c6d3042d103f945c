//! Bad rules for sending again; see `bad`.

use super::Bad;

pub(super) const BAD: &[Bad] = &[
    Bad(
        "[resend.a]\nmatch = \"*_failed\"\n",
        &["2:1: error: [resend.a] there is no sink that sends messages", "help: add"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*_failed\"\nto = \"b\"\n[sinks.b]\nkind = \"stdout\"\n",
        &["4:6: error: [resend.a] key `to`: sink `b` does not send messages: it is of kind `stdout`"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*_failed\"\nto = \"bb\"\n[sinks.b]\nkind = \"stdout\"\n",
        &["4:6: error: [resend.a] key `to`: unknown sink `bb`, expected one of `b`", "did you mean `b`?"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*_failed\"\nsource = \"interact\"\n",
        &["4:10: error: [resend.a] key `source`: unknown source `interact`", "did you mean `interakt`?"],
    ),
    Bad("[resend]\nmatch = \"*_failed\"\n", &["2:1: error: [resend] is the table of all rules", "write [resend.NAME]"]),
    Bad("[resends.a]\nmatch = \"*_failed\"\n", &["2:2: error: unknown key `resends`, expected `resend`", "[resend.a]"]),
    Bad(
        "[resend.a]\nto = \"b\"\nmach = \"x\"\nwith = \"copy\"\n",
        &["4:1: error: [resend.a] unknown key `mach`", "did you mean `match`?", "5:8: error: [resend.a]", "`same`"],
    ),
    Bad(
        "[resend.a]\nto = \"b\"\n",
        &["2:1: error: [resend.a] key `match`: expected at least one glob", "help: such as match ="],
    ),
    Bad(
        "[resend.a]\nmatch = [\"a{\", \"\"]\n",
        &[
            "3:10: error: [resend.a] key `match`: `a{` is not a glob",
            "3:16: error: [resend.a] key `match`: an empty glob",
        ],
    ),
    Bad("[resend.a]\nmatch = []\n", &["3:9: error: [resend.a] key `match`: expected at least one glob"]),
    Bad(
        "[resend.a]\nmatch = \"*\"\nmax_attempts = 0\nmax_age = \"8d\"\n",
        &[
            "4:16: error: [resend.a] `max_attempts` is 0, expected 1 to 100",
            "5:11: error: [resend.a] `max_age` is out of bounds",
        ],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nmax_age = \"1d\"\n\
         codes = { 131049 = { after = \"25h\", times = 1 }, 130429 = { after = \"1m\", times = 0 }, \
         \"13 10\" = \"never\" }\n",
        &[
            "5:20: error: [resend.a] `codes.131049`: `after` is longer than `max_age` (1day)",
            "5:59: error: [resend.a] `codes.130429`: `times` is 0",
            "for no further try write \"never\"",
            "`codes`: `13 10` is no code",
        ],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\n[resend.a.codes]\n131049 = \"nevr\"\n131026 = { after = \"1h\" }\n130429 = 5\n",
        &[
            "5:10: error: [resend.a] `codes.131049`: invalid value: string \"nevr\", expected \"never\" or a table",
            "6:10: error: [resend.a] `codes.131026`: missing key `times`",
            "help: such as 131026 = { after = \"24h\", times = 2 }",
            "7:10: error: [resend.a] `codes.130429`: invalid type: integer `5`, expected \"never\" or a table",
        ],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nwith = \"template\"\n",
        &["4:8: error: [resend.a] `with` is \"template\", and there is no `template`", "add template = {"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\ntemplate = { name = \"x\", languageCode = \"en\" }\n",
        &["4:12: error: [resend.a] `template` has no effect: `with` is \"same\"", "write with = \"template\""],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nwith = \"template\"\n\
         template = { name = \"\", languageCode = \"en\", buttonValues = { x = [\"y\"] } }\n",
        &["5:21: error: [resend.a] `template.name` is missing or empty", "`template.buttonValues`: `x` is no button"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nwith = \"template\"\ntemplate = { name = \"x\", language = \"en\" }\n",
        &["5:26: error: [resend.a] `template`: unknown key `language`", "did you mean `languageCode`?"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nquiet = { hours = \"9-21\", timezone = \"India\" }\n",
        &["4:19: error: [resend.a] hours `9-21` are no two times of day", "4:38: error: [resend.a] timezone `India`"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nquiet = { hours = \"00:00-24:00\" }\n",
        &["4:19: error: [resend.a] `quiet.hours` are all day: nothing would ever be sent"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nquiet = { hours = \"21:00-09:00\", timezone = \"Asia/Calcuta\" }\n",
        &["error: [resend.a] timezone `Asia/Calcuta` is not known", "did you mean"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nwith = \"template\"\ntemplate = { name = \"x\" }\n",
        &["5:12: error: [resend.a] `template.languageCode` is missing or empty", "help: such as template = {"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nmax_attempts = 1000\ncodes = { 131049 = { after = \"1h\", times = 1000 } }\n",
        &[
            "4:16: error: [resend.a] `max_attempts` is 1000, expected 1 to 100",
            "write max_attempts = 100 at most: it bounds all further tries of one message, whatever their codes",
            "`times` is 1000, expected 1 to 100",
            "write times = 100 at most; of all codes together no more than `max_attempts` are made",
        ],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nquiet = \"21:00-09:00\"\n",
        &["4:9: error: [resend.a] `quiet`: invalid type: string", "a table such as { hours = \"21:00-09:00\" }"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nquiet = { hours = \"21:00-09:00\", timezone = \"IST\" }\n",
        &["error: [resend.a] timezone `IST` is not known", "help: did you mean \"Asia/Kolkata\"?"],
    ),
    Bad(
        "[resend.a]\nmatch = \"*\"\nquiet = { timezone = \"customer\" }\n",
        &["4:9: error: [resend.a] `quiet`: missing key `hours`", "help: such as quiet = { hours = \"21:00-09:00\" }"],
    ),
    Bad(
        "[sinks.a]\nkind = \"interakt\"\n",
        &["2:1: error: [sinks.a] missing key `api_key`", "help: such as api_key = \"${INTERAKT_API_KEY}\""],
    ),
    Bad(
        "[sinks.a]\nkind = \"interakt\"\napi_key = \"a2V5\"\nmax_attempts = 1000\n",
        &[
            "5:16: error: [sinks.a] `max_attempts` is 1000, expected at most 100",
            "help: write max_attempts = 100 at most: it bounds all further messages for one first message",
        ],
    ),
    Bad("[resend.\"a b\"]\nmatch = \"*\"\n", &["2:9: error: `a b` cannot be a name in `resend`"]),
];
