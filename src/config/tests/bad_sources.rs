//! Bad `[sources.*]`, beside those in `bad`. Each table begins on line 2, its keys on line 3.

use super::Bad;

pub(super) const BAD: &[Bad] = &[
    // keys of other kinds
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nprefix = \"sha1=\"\nquery = \"t\"\n",
        &[
            "6:10: error: [sources.b] key `prefix` does not belong to kind `github`, expected `secret`, \
             `previous_secret`",
            "help: kind = \"hmac\" takes it, with all of the scheme spelled out",
            "7:9: error: [sources.b] key `query` does not belong to kind `github`",
            "help: it belongs to kind token",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"s\"\ntype = { body = \".t\" }\n",
        &["6:8: error: [sources.b] key `type` does not belong to kind `interakt`"],
    ),
    Bad(
        "[sources.b]\nkind = \"none\"\npath = \"/b\"\nsecret = \"s\"\n",
        &["5:10: error: [sources.b] key `secret` does not belong to kind `none`", "kind = \"none\" believes everybody"],
    ),
    Bad(
        "[sources.b]\nkind = \"standard_webhooks\"\npath = \"/b\"\nsecret = \"whsec_AAAA\"\nid = { header = \"x\" }\n",
        &["6:6: error: [sources.b] key `id` does not belong to kind `standard_webhooks`"],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nverify_token = \"t\"\n",
        &["6:16: error: [sources.b] key `verify_token` does not belong to kind `github`", "it belongs to kind meta"],
    ),
    // one bad key does not hide another
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"a b\"\nalgorithm = \"md5\"\n",
        &["6:10: error: [sources.b] header: `a b` is not a header name", "7:13: error: [sources.b] `algorithm`"],
    ),
    Bad(
        "[sinks.s]\nkind = \"http\"\nurl = \"ftp://x/\"\nconnect_timeout = \"soon\"\n",
        &["4:7: error: [sinks.s]", "5:19: error: [sinks.s]"],
    ),
    // what a kind cannot be without
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\n",
        &["2:1: error: [sources.b] missing key `secret`", "help: the key the provider signs with"],
    ),
    Bad(
        "[sources.b]\nkind = \"meta\"\npath = \"/b\"\nsecret = \"s\"\n",
        &["2:1: error: [sources.b] missing key `verify_token`", "help: the \"Verify token\" of the app's dashboard"],
    ),
    Bad(
        "[sources.b]\nkind = \"meta\"\npath = \"/b\"\nsecret = \"s\"\nverify_token = \" \"\n",
        &["6:16: error: [sources.b] verify_token is empty"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\n",
        &["2:1: error: [sources.b] missing key `header`", "such as header = \"x-signature\""],
    ),
    Bad(
        "[sources.b]\nkind = \"token\"\npath = \"/b\"\nsecret = \"s\"\n",
        &["2:1: error: [sources.b] missing key `header`", "or query = \"token\""],
    ),
    Bad(
        "[sources.b]\nkind = \"token\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\nquery = \"t\"\n",
        &["7:9: error: [sources.b] a token is in one place, expected one of the keys `header` and `query`"],
    ),
    Bad(
        "[sources.b]\nkind = \"token\"\npath = \"/b\"\nsecret = \"s\"\nprefix = \"Bearer \"\nquery = \"t\"\n",
        &["6:10: error: [sources.b] prefix belongs to a token in a header"],
    ),
    // how a feed is watched
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nfailure_budget = false\n\
         answer_within = \"0s\"\nsilence = \"0s\"\n",
        &[
            "6:18: error: [sources.b] `failure_budget`: invalid type: boolean `false`, expected \"off\" or {",
            "7:17: error: [sources.b] `answer_within` is out of bounds, expected more than nothing",
            "8:11: error: [sources.b] `silence.after` is out of bounds, expected \"1s\" to",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\n\
         failure_budget = { failures = 0, within = \"2days\" }\n",
        &[
            "6:31: error: [sources.b] `failure_budget.failures` is 0, expected 1 to 1000",
            "6:43: error: [sources.b] `failure_budget.within` is out of bounds, expected \"1s\" to \"1day\"",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nanswer_within = \"3s\"\n",
        &[
            "6:17: error: [sources.b] answer_within has no use without a `failure_budget`",
            "help: add failure_budget = {",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nsilence = \"soon\"\n",
        &["6:11: error: [sources.b] `silence`: invalid value: string \"soon\", expected \"off\", a time span such as"],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\n\
         silence = { after = \"30m\", timezone = \"Asia/Kolkatta\" }\n",
        &["6:39: error: [sources.b] timezone `Asia/Kolkatta` is not known", "help: did you mean \"Asia/Kolkata\"?"],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\n\
         silence = { after = \"30m\", days = \"weekdays\" }\n",
        &["6:35: error: [sources.b] days `weekdays`: `weekdays` is no day, expected days of mon"],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nsilence = { hours = \"9-21\" }\n",
        &[
            "6:11: error: [sources.b] `silence`: missing key `after`",
            "6:21: error: [sources.b] hours `9-21` are no two times of day, expected such as",
        ],
    ),
    // values
    Bad(
        "[sources.b]\nkind = \"standard_webhooks\"\npath = \"/b\"\nsecret = \"hush-hush\"\n",
        &["5:10: error: [sources.b] secret does not begin with `whsec_`, expected `whsec_` and the key in base64"],
    ),
    Bad(
        "[sources.b]\nkind = \"standard_webhooks\"\npath = \"/b\"\nsecret = \"whsec_AAAA\"\n\
         previous_secret = \"whsec_?\"\n",
        &["6:19: error: [sources.b] previous_secret is not base64"],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\nstatus = 302\n",
        &["6:10: error: [sources.b] status 302 is no success, expected 200 to 299"],
    ),
    Bad(
        "[sources.b]\nkind = \"interakt\"\npath = \"/b\"\nsecret = \"s\"\nstatus = 204\n",
        &["6:10: error: [sources.b] status must be 200: Interakt takes any other for a failure"],
    ),
    Bad(
        "[sources.b]\nkind = \"stripe\"\npath = \"/b\"\nsecret = \"s\"\ntolerance = \"0s\"\ndedupe = \"0s\"\n",
        &[
            "6:13: error: [sources.b] tolerance must be more than 0",
            "7:10: error: [sources.b] dedupe must be more than 0",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\nalgorithm = \"md5\"\n\
         encoding = \"base46\"\n",
        &[
            "7:13: error: [sources.b] `algorithm`: unknown value `md5`, expected one of `sha1`, `sha256`, `sha512`",
            "8:12: error: [sources.b] `encoding`: unknown value `base46`, expected `hex` or `base64`",
            "did you mean `base64`?",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = [\"x\", \"a b\"]\nsigned = \"{time}\"\n",
        &[
            "6:10: error: [sources.b] header: `a b` is not a header name",
            "7:10: error: [sources.b] signed `{time}` must hold {body} once",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\nsigned = \"{time}.{body}\"\n",
        &["7:10: error: [sources.b] signed holds {time}, expected the key `time` to say where that is"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\nsigned = \"{stamp}.{body}\"\n",
        &["7:10: error: [sources.b] signed holds unknown `{stamp}`, expected {body}, {time} or {id}"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\ntolerance = \"5m\"\n",
        &["7:13: error: [sources.b] tolerance needs a time, expected the key `time`"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\ntolerance = \"5m\"\n\
         time = { header = \"x-time\" }\n",
        &["7:13: error: [sources.b] tolerance has no use: the time is not signed", "signed = \"{time}.{body}\""],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\ntolerance = \"5m\"\n\
         pairs = { signature = \"v1\", time = \"t\" }\n",
        &["7:13: error: [sources.b] tolerance has no use: the time is not signed"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\nsigned = \"{id}{body}\"\n\
         id = { header = \"x-id\" }\n",
        &["7:10: error: [sources.b] signed `{id}{body}` has nothing between two of its parts"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\ntime = { value = \"1\" }\n",
        &["7:8: error: [sources.b] time cannot be a `value`"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\npairs = { signature = \"v1\" }\n\
         prefix = \"v0=\"\n",
        &["8:10: error: [sources.b] prefix has no place beside `pairs`"],
    ),
    Bad(
        "[sources.b]\nkind = \"hmac\"\npath = \"/b\"\nsecret = \"s\"\nheader = \"x\"\npairs = { sgnature = \"v1\" }\n",
        &["7:11: error: [sources.b] `pairs`: unknown key `sgnature`", "did you mean `signature`?"],
    ),
    // places
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\ntype = { hedder = \"x\" }\nsubject = \".a\"\n",
        &[
            "6:10: error: [sources.b] `type`: unknown key `hedder`",
            "did you mean `header`?",
            "7:11: error: [sources.b] `subject`: invalid type: string \".a\", expected { header = \"…\" }, { body = \
             \".path\" }",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"s\"\ntype = { header = \"x\", body = \".t\" }\n\
         subject = {}\nid = []\n",
        &[
            "6:8: error: [sources.b] type: a place is exactly one of `header`, `body` and `value`",
            "7:11: error: [sources.b] subject: a place is exactly one of",
            "8:6: error: [sources.b] id is an empty list",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"none\"\npath = \"/b\"\ntype = { body = \"data.type\" }\n\
         subject = [{ body = \".a[x]\" }]\nid = { header = \"a b\" }\n",
        &[
            "5:8: error: [sources.b] type: `data.type` is not a path into the body: it begins with a full stop; \
             expected such as `.data.id`",
            "6:11: error: [sources.b] subject: `.a[x]` is not a path into the body: an index is a number from 0",
            "7:6: error: [sources.b] id: `a b` is not a header name",
        ],
    ),
    Bad(
        "[sources.b]\nkind = \"none\"\npath = \"/b\"\ntype = { body = \".a-b\" }\nsubject = { value = \"\" }\n",
        &[
            "5:8: error: [sources.b] type: `.a-b` is not a path",
            "in quotes",
            "6:11: error: [sources.b] subject: value is empty",
        ],
    ),
];
